"""What is not ours where a step is going to write: the run is refused before any work, and nothing is touched."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from system.runner.flows import FakeParallel, files, parallel_flow, run, statuses
from unit.runner.builders import Flow

from batchflow.errors import RefusedError, StepFailedError
from batchflow.runner import run_workflow
from batchflow.runner.values import RunOptions

WORKFLOW = """\
schema = 1
[steps.a]
run = "touch ran; echo 1 > ${outputs.o}/x"
outputs.o = "out/"
"""


def test_a_folder_of_the_user_is_not_removed_because_of_its_name(tmp_path: Path) -> None:
    workflow = Flow(tmp_path).run("a", "touch ran; echo 1 > ${outputs.o}/x", outputs={"o": "out2/"}).build()
    mine = tmp_path / "out2.partial/mine.txt"
    mine.parent.mkdir()
    mine.write_text("precious")
    for options in ({}, {"force_all": True}):
        with pytest.raises(RefusedError, match=r"/out2\.partial is in the way: no interrupted run of this workflow"):
            run(workflow, **options)
    assert (mine.read_text(), (tmp_path / "ran").exists()) == ("precious", False)
    mine.parent.rename(tmp_path / "kept")
    assert statuses(run(workflow)) == {"a": "done"}
    mine.parent.mkdir()
    mine.write_text("precious again")
    with pytest.raises(RefusedError, match="is in the way"):
        run(workflow, force_all=True)
    assert statuses(run(workflow)) == {"a": "up_to_date"}
    assert mine.read_text() == "precious again"


def test_what_an_interrupted_step_left_is_known_and_replaced(tmp_path: Path) -> None:
    workflow = parallel_flow(tmp_path).build()
    failing = run_workflow(workflow, RunOptions(), run_parallel=FakeParallel(StepFailedError("no")))
    assert statuses(failing) == {"predict": "failed"}
    assert "build/rows.csv.partial" in files(tmp_path)
    assert statuses(run_workflow(workflow, RunOptions(), run_parallel=FakeParallel())) == {"predict": "done"}


def test_rows_of_somebody_else_are_not_taken_for_ours(tmp_path: Path) -> None:
    workflow = parallel_flow(tmp_path).build()
    (tmp_path / "build").mkdir()
    (tmp_path / "build/rows.csv.partial").write_text("precious")
    with pytest.raises(RefusedError, match=r"rows\.csv\.partial is in the way"):
        run_workflow(workflow, RunOptions(), run_parallel=FakeParallel())
    assert (tmp_path / "build/rows.csv.partial").read_text() == "precious"


def test_a_mount_point_is_refused_before_any_work(tmp_path: Path) -> None:
    (tmp_path / "workflow.toml").write_text(WORKFLOW)
    (tmp_path / "out").mkdir()
    mount = ["unshare", "--mount", "sh", "-ec"]
    command = 'mount -t tmpfs none out; exec "$0" -m batchflow run'
    if subprocess.run([*mount, "mount -t tmpfs none out"], cwd=tmp_path, capture_output=True, check=False).returncode:
        pytest.skip("nothing can be mounted here")
    ended = subprocess.run(
        [*mount, command, sys.executable], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60
    )
    assert ended.returncode == 6
    assert "output o is a mount point, and a mounted folder cannot be replaced" in ended.stderr
    assert f"hint: declare a folder inside it, as {tmp_path}/out/o/" in ended.stderr
    assert not (tmp_path / "ran").exists()
