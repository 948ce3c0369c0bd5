"""Failures are counted once, and thresholds are of the whole step, however often it was interrupted or tried again."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path
from typing import Any

from system.cli.terminals import TIMEOUT_S
from system.cli.test_interrupted_runs import killed_at
from system.cli.test_real_runs import BATCHFLOW
from system.runner.processes import wait_until

WORKFLOW = """\
schema = 1
[datasets.files]
files = "data/"
[steps.score]
inputs = { files = "${datasets.files}" }
outputs = { rows = "rows.txt" }
[steps.score.parallel]
entry_script = "score.py"
mini_batch_size = SIZE
workers = 1
append_row_to = "rows"
error_threshold = -1
"""
SCRIPT = """\
import os, time
BAD = BADS
def run(mini_batch):
    numbers = [int(os.path.basename(path)) for path in mini_batch]
    while WAITS and numbers == [BAD[-1]] and not os.path.exists("go"):
        open("waiting", "w").close()
        time.sleep(0.01)
    if any(number in BAD for number in numbers) and not os.path.exists("healed"):
        raise ValueError("bad")
    return numbers
"""


def make(folder: Path, keys: str, bad: list[int], *, count: int, size: int = 10, waits: bool = False) -> Path:
    """``waits``: while the last of the bad items is tried alone, until there is a file named ``go``."""
    (folder / "data").mkdir(parents=True)
    for item in range(count):
        (folder / f"data/{item:03}").touch()
    (folder / "workflow.toml").write_text(WORKFLOW.replace("SIZE", str(size)) + keys)
    (folder / "score.py").write_text(SCRIPT.replace("BADS", repr(bad)).replace("WAITS", repr(waits)))
    return folder


def call(folder: Path, verb: str = "run") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*BATCHFLOW, verb], cwd=folder, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
    )


def counted(folder: Path) -> tuple[int, int, int]:
    """Items and mini-batches that failed, of so many mini-batches."""
    receipt: dict[str, Any] = json.loads((folder / ".batchflow/workflow/steps/score/receipt.json").read_text())
    return receipt["failed"], receipt["failed_mini_batches"], receipt["mini_batches"]


def listed(folder: Path) -> list[tuple[str, int]]:
    lines = (folder / ".batchflow/workflow/steps/score/failed.jsonl").read_text().splitlines()
    return [(Path(entry["item"]).name, entry["mini_batch"]) for entry in map(json.loads, lines)]


def test_a_percentage_is_one_of_the_whole_step_when_a_killed_run_goes_on(tmp_path: Path) -> None:
    keys = 'mini_batch_error_threshold = "30%"\nisolate_failures = false\nrun_max_try = 1\n'
    for name in ("killed", "not"):
        folder = make(tmp_path / name, keys, [61, 72, 83], count=100)
        if name == "killed":
            killed_at("after_commit:4", folder)
        done = call(folder)
        assert done.returncode == 0, done.stderr
        assert ("goes on: " in done.stderr) == (name == "killed")
        assert counted(folder) == (30, 3, 10)


def test_a_mini_batch_that_fails_in_a_retry_too_has_failed_once(tmp_path: Path) -> None:
    keys = "mini_batch_error_threshold = 2\nallowed_failed_percent = 50\n"
    folder = make(tmp_path, keys, [11, 13, 16, 31, 38], count=40)
    expected = [("011", 1), ("013", 1), ("016", 1), ("031", 3), ("038", 3)]
    for verb in ("run", "retry", "retry", "run"):
        done = call(folder, verb)
        assert done.returncode == 0, done.stderr
        assert counted(folder) == (5, 2, 4)
        assert listed(folder) == expected


def test_a_mini_batch_whose_search_is_interrupted_has_failed_once(tmp_path: Path) -> None:
    folder = make(tmp_path, "mini_batch_error_threshold = 1\n", [2, 15], count=20, size=20, waits=True)
    with subprocess.Popen([*BATCHFLOW, "run"], cwd=folder, stderr=subprocess.PIPE, text=True) as process:
        wait_until((folder / "waiting").exists)
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGTERM)  # at once
        process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 128 + signal.SIGTERM
    assert listed(folder) == [("002", 0)]
    (folder / "go").touch()
    done = call(folder)
    assert done.returncode == 0, done.stderr
    assert "goes on: " in done.stderr
    assert (counted(folder), listed(folder)) == ((2, 1, 1), [("002", 0), ("015", 0)])


def test_where_all_that_was_done_has_failed_it_stays_failed_as_long_as_that_is_tolerated(tmp_path: Path) -> None:
    keys = "isolate_failures = false\nrun_max_try = 1\n"
    folder = make(tmp_path, keys, [0, 10], count=40)
    killed_at("after_commit:1", folder)
    (folder / "healed").touch()
    done = call(folder)
    assert done.returncode == 0, done.stderr
    assert ("goes on: " in done.stderr, "tried again" in done.stderr) == (True, False)
    assert counted(folder) in ((10, 1, 4), (20, 2, 4))  # as many as were committed together
    assert listed(folder)[0] == ("000", 0)
