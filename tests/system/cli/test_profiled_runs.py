"""``--profile-run`` from the command line: what is shown, and the same as data."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

import pytest
from system.cli.test_real_runs import batchflow, make_project

SCRIPT = """\
import os, time
# All calls together take longer than the start, however slow the machine is.
PAUSE_S = max(0.1, (time.monotonic() - float(os.environ.get("BEGAN_S", "inf"))) / 4)
def init():
    time.sleep(0.15)
def run(mini_batch):
    time.sleep(PAUSE_S)
    if os.path.exists("broken"):
        raise ValueError("broken")
    return [os.path.basename(path) for path in mini_batch]
"""
TABLE = re.compile(
    r"^where the time of step score went \(2 workers, 20 mini-batches, [\d.]+ s, workers [\d.]+ s of CPU\)\n"
    r"  driver      prepare [\d.]+ m?s · list [\d.]+ m?s · .*start [\d.]+ s \(init\(\) [\d.]+ m?s\) · dispatch .*\n"
    r"  dispatch    feed .* · waiting for workers [\d.]+ s · .*\n"
    r"  workers     wait \d+ % · decode \d+ % · run\(\) (\d+) % · encode .* \(of 2 × [\d.]+ s\)\n"
    r"  bottleneck  .+: \d+ % of the .+ time; .+\n"
    r"outside of steps: [\d.]+ m?s \(plan and records\)\n",
    re.MULTILINE,
)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return make_project(tmp_path, SCRIPT)


def test_a_table_after_the_run_and_the_same_in_json_receipt_and_events(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BEGAN_S", str(time.monotonic()))
    done = batchflow(project, "run", "--profile-run", "--json", "--events", "events")
    assert done.returncode == 0, done.stderr
    assert TABLE.search(done.stderr), done.stderr
    step = json.loads(done.stdout)["steps"]["score"]
    profile = step["profile"]
    spent = profile["workers_s"]
    assert spent["run"] >= 20 * 0.1
    assert spent["run"] > spent["decode"] + spent["encode"] + spent["publish"]
    assert sum(profile["phases_s"].values()) == pytest.approx(step["elapsed_s"])
    inner = step["receipt"]["details"]["profile"]
    assert inner["workers_s"] == profile["workers_s"]
    # The receipt looks at the clock a moment after the profile.
    assert -0.001 < step["receipt"]["elapsed_s"] - sum(inner["phases_s"].values()) < 1
    events = [json.loads(line) for line in (project / "events").read_text().splitlines()]
    assert [one["profile"] for one in events if one["event"] == "StepProfiled"] == [profile]
    assert batchflow(project, "verify").returncode == 0


def test_without_it_nothing_is_said(project: Path) -> None:
    done = batchflow(project, "run", "--json")
    assert "where the time" not in done.stderr
    step = json.loads(done.stdout)["steps"]["score"]
    assert step["profile"] is None
    assert "profile" not in step["receipt"]["details"]


def test_a_run_that_fails_shows_how_far_it_came_before_what_is_wrong(project: Path) -> None:
    (project / "broken").touch()
    done = batchflow(project, "run", "--profile-run")
    assert done.returncode == 1
    table, error = done.stderr.index("where the time of step score went"), done.stderr.index("error: step score failed")
    assert table < error


def test_a_retry_takes_it_too_and_what_is_up_to_date_has_nothing_to_tell(project: Path) -> None:
    assert batchflow(project, "run").returncode == 0
    done = batchflow(project, "run", "--profile-run")
    assert re.match(r"no step has run\noutside of steps: [\d.]+ m?s \(plan and records\)\nnothing to do", done.stderr)
    assert batchflow(project, "retry", "--profile-run").returncode == 0
