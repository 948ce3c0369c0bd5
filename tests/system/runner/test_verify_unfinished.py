"""``verify`` on a step that was killed: what it has committed and its script has made, beside its last success."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from system.runner.processes import wait_until
from system.runner.test_verify import CHECKSUM, contents, flip, lines, make_project

from batchflow.runner import last_status
from batchflow.workflow import load_workflow


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return make_project(tmp_path / "project")


HELD = """\
import time
def run(mini_batch):
    while not mini_batch[0].endswith("00.txt"):  # all but the first of them never end
        time.sleep(0.1)
    return [{"name": "x", "length": 1}] * len(mini_batch)
"""


def kill_when_something_is_committed(folder: Path) -> None:
    process = subprocess.Popen([sys.executable, "-m", "batchflow", "run", "-q"], cwd=folder)
    try:
        workflow = load_workflow(folder / "workflow.toml")

        def has_committed() -> bool:
            partial = folder / "build/rows.csv.partial"
            return partial.exists() and partial.stat().st_size > 0

        wait_until(has_committed)
        wait_until(lambda: "of 20 items" in "".join(unfinished(workflow.path.parent)))
    finally:
        process.kill()
        process.wait()


def unfinished(folder: Path) -> list[str]:
    committed = last_status(load_workflow(folder / "workflow.toml"))["score"].committed
    return [] if committed is None or not committed.done else [committed.describe()]


def test_what_an_interrupted_step_has_committed_is_verified_beside_its_last_success(project: Path) -> None:
    (project / "score.py").write_text(HELD)
    kill_when_something_is_committed(project)
    before = contents(project)
    (told,) = lines(project, "score")[:-1]
    assert told.startswith("score: unfinished: ")
    assert " of 20 items = " in told
    assert told.endswith(", ok; only seen to be there: build/parts.partial")
    partial = project / "build/rows.csv.partial"
    with partial.open("ab") as file:
        file.write(b"garbage of the run that was killed")
    assert lines(project, "score")[-1] == "what was read is as it was written"
    assert contents(project).keys() == before.keys()
    (project / "build/parts.partial").rename(project / "away")
    assert lines(project, "score")[1] == "  build/parts.partial: it is missing"
    (project / "away").rename(project / "build/parts.partial")
    flip(partial, 13)
    (problem,) = [line for line in lines(project, "score") if "damaged" in line]
    assert problem.startswith("  build/rows.csv.partial, offset=12: the rows of items ")
    flip(partial, 13)
    flip(project / "build/rows.csv", 13)
    (problem,) = [line for line in lines(project, "score") if line.startswith("  ")]
    assert problem.startswith(f"  build/rows.csv, offset=0: the checksum is wrong, expected={CHECKSUM}, found=")
