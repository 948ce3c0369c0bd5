"""Every case runs at its quick size, and every side of it gives right results or is said to be missing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
TIMEOUT_S = 300


def measured(tmp_path, *arguments):
    """The record of a quick run."""
    command = [sys.executable, "-m", "benchmarks", *arguments, "--quick", "--runs", "1"]
    command += ["--out", str(tmp_path / "out"), "--data", str(tmp_path / "data")]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    assert ended.returncode == 0, ended.stderr
    for suffix in (".md", ".png", ".svg"):
        assert (tmp_path / "out" / f"quick{suffix}").stat().st_size > 0
    return json.loads((tmp_path / "out" / "quick.json").read_text())


LIGHT = ("latency", "gather", "frames", "splitting")
HEAVY = ("dispatch", "directory", "memory", "startup", "commit", "listing", "growth")


@pytest.mark.parametrize("case", [*LIGHT, *(pytest.param(name, marks=pytest.mark.slow) for name in HEAVY)])
def test_a_quick_run_measures_every_side_and_finds_it_right(case, tmp_path):
    record = measured(tmp_path, case)
    assert {scenario["case"] for scenario in record["scenarios"]} == {case}
    for scenario in record["scenarios"]:
        for variant in scenario["variants"]:
            assert variant["wrong"] == 0
            assert variant["missing"] or variant["counted"] == 1
            assert variant["peer"] != "batchflow" or not variant["missing"]
