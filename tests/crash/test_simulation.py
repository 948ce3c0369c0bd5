"""The simulation: a few hundred seeds hold, the same seed is the same run, and every known bug is found."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

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
    report = _run("--seeds", "50", "--start", "1", "--bug", "refused-requests-forgotten")
    assert (report["seeds"], report["violations"]) == (50, len(report["found"]))
    first = report["found"][0]
    assert first["what"].endswith(" is nowhere")
    assert first["replay"].startswith("python -m tests.crash.simulation --seeds 1 ")
    _, _, _, *words = first["replay"].split()
    assert _run(*words)["found"] == [first]


def _run(*words: str) -> dict[str, Any]:
    """The line of totals of a run that has found something."""
    command = [sys.executable, "-m", "tests.crash.simulation", *words]
    root = Path(__file__).parents[2]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    assert report["seconds"] >= 0
    return report
