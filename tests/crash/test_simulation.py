"""The simulation: a few hundred seeds hold, the same seed is the same run, and every known bug is found."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.crash.simulation.bugs import BUGS
from tests.crash.simulation.run import simulate

pytestmark = pytest.mark.crash
SEEDS_MAX = 2_000
"""Within so many seeds a bug must be found."""


def test_all_holds() -> None:
    violations = {seed: what for seed in range(1, 501) if (what := simulate(seed)) is not None}
    assert violations == {}


@pytest.mark.parametrize("bug", BUGS)
def test_a_known_bug_is_found_and_the_seed_finds_it_again(bug: str) -> None:
    with BUGS[bug]():
        found = next((seed for seed in range(1, SEEDS_MAX + 1) if simulate(seed) is not None), None)
        assert found is not None
        assert simulate(found) == simulate(found)
    assert simulate(found) is None


def test_a_violation_comes_with_the_line_that_replays_it() -> None:
    root = Path(__file__).parents[2]
    command = [
        *["-m", "tests.crash.simulation", "--seeds", "10", "--start", "1", "--bug"],
        "refused-requests-forgotten",
    ]
    done = subprocess.run([sys.executable, *command], cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    report = json.loads(done.stdout)
    assert (report["seeds"], report["violations"] > 0, report["seconds"] > 0) == (10, True, True)
    first = report["found"][0]
    assert first["what"] == "item 6 is nowhere"
    _, *words = first["replay"].split()
    again = subprocess.run([sys.executable, *words], cwd=root, capture_output=True, text=True, check=False)
    assert json.loads(again.stdout)["found"][0] == first
