"""What the command line offers to type next: it drops nothing that was kept, and is no more than what helps."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from unit.cli.cli_fakes import FakeRooms

from batchflow.cli.main import main
from batchflow.errors import ResourceError
from batchflow.runner.values import Reason, RunRecord, StepPlan, StepRecord, WorkflowPlan
from batchflow.workflow.diagnostics import Diagnostic
from batchflow.workflow.values import Position


@pytest.fixture(autouse=True)
def at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["batchflow"])


def test_check_warns_of_a_dataset_that_matches_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rooms = FakeRooms(tmp_path)
    position = Position(tmp_path / "workflow.toml", 3, 9)
    rooms.warnings = (Diagnostic("BF071", "dataset `images` matches no file", position, "in is empty"),)
    assert main(["check"], rooms) == 0
    out, err = capsys.readouterr()
    assert out == "workflow.toml: 3 steps, no problems\n"
    assert "warning[BF071]: dataset `images` matches no file" in err
    assert "in is empty" in err
    assert main(["check", "--json"], rooms) == 0
    assert json.loads(capsys.readouterr().out)["warnings"][0]["code"] == "BF071"


def test_what_continues_drops_nothing_that_was_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["run", "f.toml", "predict", "-fF", "--restart", "-R", "predict", "-C", "limit=3", "-c", "2", "-vk"]
    main(words, FakeRooms(tmp_path, error=ResourceError("disk full")))
    expected = "to continue: batchflow run f.toml --set limit=3 --cores 2 --keep-going predict"
    assert capsys.readouterr().err.splitlines()[-1] == expected
    record = RunRecord(
        "r1", tmp_path / "workflow.toml", 130, 2.0, {"predict": StepRecord("predict", "interrupted", 1.0, {})}
    )
    for verb in ("run", "retry"):
        main(
            [verb, *words[1:3], "-k", *(["--accept-changes", "-F"] if verb == "run" else [])],
            FakeRooms(tmp_path, record),
        )
        expected = f"to continue: batchflow {verb} f.toml --keep-going predict"
        assert capsys.readouterr().err.splitlines()[-1] == expected


def test_retry_is_a_run_of_what_failed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rooms = FakeRooms(tmp_path)
    assert main(["retry", "flow.toml", "predict"], rooms) == 0
    assert rooms.ran_with is not None and rooms.options is not None
    assert (rooms.ran_with.retry, rooms.ran_with.targets) == (True, ("predict",))
    assert rooms.options == replace(rooms.ran_with, retry=False), "what a run would do is told"
    assert capsys.readouterr().err == (
        "nothing to retry: no failed or missing items (0.08 s)\n"
        "predict, evaluate are not up to date: batchflow run flow.toml predict\n"
    )
    assert main(["run", "--restart"], rooms) == 0
    assert (rooms.options.retry, rooms.options.restart) == (False, True)
    assert main(["plan", "--accept-changes"], rooms) == 0
    assert rooms.options.accept_changes


def test_a_retry_without_anything_to_do_is_planned_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rooms = FakeRooms(tmp_path)
    monkeypatch.setattr(rooms, "plan", lambda workflow, options: WorkflowPlan(()))
    nothing = "nothing to retry: no failed or missing items\n"
    assert main(["retry", "-n"], rooms) == 0
    assert capsys.readouterr().out == nothing
    stale = WorkflowPlan((StepPlan("predict", (Reason("code_changed", "score.py"),)), StepPlan("prepare", ())))
    monkeypatch.setattr(rooms, "plan", lambda workflow, options: WorkflowPlan(()) if options.retry else stale)
    assert main(["retry", "-n"], rooms) == 0
    assert capsys.readouterr().out == f"{nothing}predict is not up to date: batchflow run\n"
