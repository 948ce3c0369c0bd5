"""Every way a command can end, with rooms below that only pretend."""

from __future__ import annotations

import errno
import json
import signal
from pathlib import Path
from typing import Any

import pytest
import tomli
from unit.cli.cli_fakes import FakeRooms, make_receipt

from batchflow.cli.backend import Rooms
from batchflow.cli.main import main, typed_command
from batchflow.errors import (
    BatchflowError,
    ChangedStepError,
    InternalError,
    InterruptedRunError,
    RefusedError,
    ResourceError,
    StepFailedError,
    UsageError,
    WorkflowError,
)
from batchflow.model import StepFinished, StepStarted
from batchflow.output.audit import Problem
from batchflow.runner.values import RunOptions, RunRecord, StepRecord
from batchflow.runner.verify import StepReport
from batchflow.workflow import Diagnostic, WorkflowFileError
from batchflow.workflow.values import Position


@pytest.fixture(autouse=True)
def at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["batchflow"])
    return tmp_path


def done_record(folder: Path) -> RunRecord:
    output = folder / "build" / "predict.csv"
    predict = StepRecord("predict", "done", 7.5, {"predictions": output}, make_receipt(str(output)))
    return RunRecord("r1", folder / "workflow.toml", 0, 8.0, {"predict": predict})


def test_a_run_tells_its_story_on_standard_error_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    events = (StepStarted("predict", "parallel", "never run", 10_000), StepFinished("predict", 7.5, (), make_receipt()))
    rooms = FakeRooms(tmp_path, done_record(tmp_path), events=events)
    assert main(["run"], rooms) == 0
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "predict: started, 10,000 items (never run)",
        "predict: done in 7.5 s, 10,000 items, 0 failed",
        "outputs:",
        "  predictions  build/predict.csv  (10,000 rows)",
        "done in 8.0 s: 1 step done, 10,000 items, 0 failed",
    ]


def test_the_command_line_reaches_the_rooms_below(tmp_path: Path) -> None:
    rooms = FakeRooms(tmp_path)
    words = "run flow.toml predict -c 3 --set limit=5 --params p.toml -R prepare -F -f -k -qq"
    assert main(words.split(), rooms) == 0
    assert rooms.loaded == [(Path("flow.toml"), Path("p.toml"), ("limit=5",))]
    assert rooms.options is not None
    options = rooms.options
    assert (options.targets, options.cores, options.force_steps) == (("predict",), 3, ("prepare",))
    assert (options.force_all, options.force_targets, options.keep_going) == (True, True, True)


def test_without_a_file_the_working_directory_is_searched(tmp_path: Path) -> None:
    rooms = FakeRooms(tmp_path)
    main(["run", "-q"], rooms)
    assert rooms.loaded[0][0] == tmp_path / "workflow.toml"


def test_json_is_the_record_on_standard_output(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--json", "-qq"], FakeRooms(tmp_path, done_record(tmp_path))) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert json.loads(out)["steps"]["predict"]["receipt"]["rows_out"] == 10_000


def test_events_are_appended_as_json_lines(tmp_path: Path) -> None:
    rooms = FakeRooms(tmp_path, events=(StepStarted("predict", "parallel", "never run", 7),))
    for _ in range(2):
        assert main(["run", "--events", "e.jsonl", "-q"], rooms) == 0
    first, second = [json.loads(line) for line in (tmp_path / "e.jsonl").read_text().splitlines()]
    assert first["event"] == second["event"] == "StepStarted"
    assert first["item_count"] == 7
    assert first["time"].endswith("+00:00")


def test_an_events_file_that_cannot_be_written_is_found_before_the_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rooms = FakeRooms(tmp_path)
    assert main(["run", "--events", "missing/e.jsonl"], rooms) == 2
    assert "cannot write events to missing/e.jsonl: No such file" in capsys.readouterr().err
    assert rooms.options is None


@pytest.mark.parametrize(
    ("error", "code", "last_line"),
    [
        (UsageError("no step named 'x'", hint="steps: a"), 2, "hint: steps: a"),
        (WorkflowError("error[BF012]: unknown key"), 3, "error[BF012]: unknown key"),
        (StepFailedError("exit code 7"), 1, "to continue: batchflow run 'my flow.toml'"),
        (ResourceError("disk full"), 4, "to continue: batchflow run 'my flow.toml'"),
        (InternalError("ring is torn"), 5, "to continue: batchflow run 'my flow.toml'"),
        (RefusedError("held by pid=7"), 6, "error: held by pid=7"),
        (InterruptedRunError("stopped", signal_number=15), 143, "to continue: batchflow run 'my flow.toml'"),
        (OSError(errno.ENOSPC, "No space left on device"), 4, "to continue: batchflow run 'my flow.toml'"),
        (MemoryError(), 4, "to continue: batchflow run 'my flow.toml'"),
        (PermissionError(errno.EPERM, "no"), 5, "to continue: batchflow run 'my flow.toml'"),
        (KeyError("lost"), 5, "to continue: batchflow run 'my flow.toml'"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)
def test_every_error_has_its_exit_code_and_last_line(
    error: BaseException, code: int, last_line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "my flow.toml"], FakeRooms(tmp_path, error=error)) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines()[-1] == last_line
    assert ("Traceback" in err) == (code == 5 and not isinstance(error, BatchflowError))


@pytest.mark.fault("E9")
def test_a_bug_asks_for_a_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["run"], FakeRooms(tmp_path, error=KeyError("lost")))
    assert "this is a bug in batchflow, please report it" in capsys.readouterr().err


def test_the_record_decides_the_exit_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    failed = StepRecord("predict", "failed", 1.0, {}, error="ValueError: bad", hint=None)
    record = RunRecord("r1", tmp_path / "workflow.toml", 1, 2.0, {"predict": failed})
    assert main(["run"], FakeRooms(tmp_path, record)) == 1
    assert capsys.readouterr().err.splitlines()[-2:] == ["  ValueError: bad", "to continue: batchflow run"]


@pytest.mark.fault("O1")
def test_the_first_failed_items_are_shown_with_the_file_of_all(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    entries: list[Any] = [
        {"kind": "exception", "item": "a\x1b.png", "mini_batch": 0, "error_type": "ValueError", "message": "bad\nmore"},
        {"kind": "shortfall", "mini_batch": 3, "missing_count": 1, "candidates": []},
        {"kind": "died", "mini_batch": 4, "error_type": "WorkerDiedError", "message": "signal 9"},
        {"kind": "exception", "item": "d.png", "error_type": "E", "message": "m"},
    ]
    path = tmp_path / ".batchflow" / "workflow" / "steps" / "predict" / "failed.jsonl"
    path.parent.mkdir(parents=True)
    path.write_text("torn {\n" + "\n".join(json.dumps(entry) for entry in entries))
    predict = StepRecord("predict", "done", 7.5, {}, make_receipt(failed=4))
    main(["run"], FakeRooms(tmp_path, RunRecord("r1", tmp_path / "workflow.toml", 0, 8.0, {"predict": predict})))
    assert capsys.readouterr().err.splitlines()[:-1] == [
        "4 items of step predict failed (all in .batchflow/workflow/steps/predict/failed.jsonl):",
        "  a\\x1b.png: ValueError: bad",
        "  mini_batch_index=3: 1 item without a result",
        "  mini_batch_index=4: WorkerDiedError: signal 9",
        "to try the failed items again: batchflow retry",
    ]


def test_a_step_that_has_changed_is_answered_with_one_of_two_commands(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    error = ChangedStepError("step predict has changed:\n  code changed score.py", hint="keep it or drop it")
    assert main(["run", "my flow.toml", "--", "-odd"], FakeRooms(tmp_path, error=error)) == 6
    assert capsys.readouterr().err.splitlines() == [
        "error: step predict has changed:",
        "    code changed score.py",
        "to keep what is done (the output will hold rows of both versions):"
        " batchflow run --accept-changes 'my flow.toml' -- -odd",
        "to drop it and begin the step anew: batchflow run --restart 'my flow.toml' -- -odd",
    ]
    error.can_be_kept = False
    assert main(["run", "--accept-changes", "-k"], FakeRooms(tmp_path, error=error)) == 6
    assert capsys.readouterr().err.splitlines()[2:] == [
        "to drop what is done and begin the step anew: batchflow run --restart -k"
    ]
    error.can_be_kept = True
    assert main(["retry", "-k"], FakeRooms(tmp_path, error=error)) == 6
    assert (
        "to keep what is done (the output will hold rows of both versions): batchflow run --accept-changes -k\n"
        in capsys.readouterr().err
    )


def test_verify_ends_with_6_if_there_is_a_problem(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rooms = FakeRooms(tmp_path)
    rooms.reports["predict"] = StepReport("predict", "succeeded", output_count=2)
    assert main(["verify", "flow.toml", "predict"], rooms) == 0
    assert rooms.verified == ("predict",)
    assert capsys.readouterr().out == "predict: 2 outputs as recorded, ok\neverything is as it was written\n"
    rooms.reports["predict"].problems.append(Problem(tmp_path / "a.csv", "it is missing"))
    rooms.reports["prepare"] = StepReport("prepare", "succeeded", output_count=1)
    rooms.reports["prepare"].problems.append(Problem(tmp_path / "b.csv", "its content is not what the step wrote"))
    assert main(["verify", "flow.toml", "predict", "prepare"], rooms) == 6
    # The plan has an output of predict that is missing, and nothing about prepare.
    assert rooms.options == RunOptions(targets=("predict", "prepare"))
    assert capsys.readouterr().out.splitlines()[-3:] == [
        "2 problems found, nothing was changed",
        "batchflow run flow.toml predict prepare makes predict again",
        "to make prepare anew: batchflow run prepare -f --restart",
    ]
    del rooms.reports["prepare"]
    assert main(["verify", "--json"], rooms) == 6
    found = json.loads(capsys.readouterr().out)
    assert (found["version"], found["ok"]) == (1, False)
    assert found["steps"]["predict"]["problems"][0]["message"] == "it is missing"


def test_signal_handlers_are_as_before_after_a_run(tmp_path: Path) -> None:
    before = [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    main(["run", "-q"], FakeRooms(tmp_path))
    assert [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)] == before


@pytest.mark.parametrize(
    ("name", "what"), [("good.py", "a workflow file"), ("folder", "a folder with one"), ("/no/where", "there")]
)
def test_without_a_workflow_the_argument_is_named(
    name: str, what: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "good.py").touch()
    (tmp_path / "folder").mkdir()
    rooms = FakeRooms(tmp_path)
    rooms.find = Rooms().find  # type: ignore[method-assign]
    assert main(["run", name], rooms) == 3
    assert capsys.readouterr().err.splitlines() == [
        f"error: {name} is not {what}, and as a target it needs a workflow:"
        f" no workflow.toml or batchflow.toml in {tmp_path} or above it",
        "hint: a workflow file ends in .toml; make a new workflow with `batchflow init`",
    ]


def test_a_parameter_given_as_a_target_is_explained(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "limit=5"], FakeRooms(tmp_path)) == 2
    assert capsys.readouterr().err.splitlines() == [
        "error: 'limit=5' is not a target",
        "hint: a parameter is set with --set limit=5",
    ]


@pytest.mark.parametrize(
    ("words", "starts"),
    [
        ("plan", "predict: will run"),
        ("run -n", "predict: will run"),
        ("check", "workflow.toml: 3 steps, no problems"),
        ("list", "digits (workflow.toml)"),
        ("dag", "digits\n└── evaluate (call)"),
        ("dag --format mermaid", "flowchart TD"),
        ("dag --format dot", "digraph"),
        ("dag --format json", '{\n  "version": 1'),
        ("status", "step     state   items"),
        ("schema", '{\n  "type"'),
        ("init digits", "wrote digits/workflow.toml\nnext: cd digits && batchflow run"),
        ("init", "wrote workflow.toml\nnext: batchflow run"),
        ("--version", "batchflow "),
        ("--help", "Batch inference"),
        ("run -h", "usage: batchflow run [FILE]"),
    ],
)
def test_reading_verbs_answer_on_standard_output_alone(
    words: str, starts: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words.split(), FakeRooms(tmp_path, done_record(tmp_path))) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert out.startswith(starts)
    assert out.endswith("\n")


def test_the_version_is_that_of_the_project(capsys: pytest.CaptureFixture[str]) -> None:
    project = tomli.loads((Path(__file__).parents[3] / "pyproject.toml").read_text("utf-8"))["project"]
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"batchflow {project['version']}\n"


@pytest.mark.parametrize("verb", ["plan", "run -n", "check", "list", "dag", "status"])
def test_every_reading_verb_speaks_json(verb: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*verb.split(), "--json"], FakeRooms(tmp_path, done_record(tmp_path))) == 0
    assert json.loads(capsys.readouterr().out)["version"] == 1


@pytest.mark.parametrize("verb", ["check", "run", "plan", "run -n", "list", "dag", "status"])
def test_every_verb_gives_problems_as_json(
    verb: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rooms = FakeRooms(tmp_path)
    position = Position(tmp_path / "workflow.toml", 2, 8, 3)
    report = "error[BF012]: unknown key\n\nerror[BF024]: expected KEY=VALUE"
    diagnostics = (
        Diagnostic("BF012", "unknown key", position, "did you mean `run`?"),
        Diagnostic("BF024", "expected KEY=VALUE", origin="--set bad"),
    )

    def load(*arguments: object) -> Any:
        raise WorkflowFileError(report, diagnostics)

    monkeypatch.setattr(rooms, "load", load)
    assert main([*verb.split(), "--json"], rooms) == 3
    out, err = capsys.readouterr()
    assert json.loads(out) == {
        "version": 1,
        "ok": False,
        "error": {"type": "WorkflowFileError", "message": "unknown key (and 1 more)", "hint": None, "exit_code": 3},
        "problems": [
            {
                "code": "BF012",
                "message": "unknown key",
                "hint": "did you mean `run`?",
                "origin": None,
                "position": {"path": str(tmp_path / "workflow.toml"), "line": 2, "column": 8, "length": 3},
                "other": None,
            },
            {
                "code": "BF024",
                "message": "expected KEY=VALUE",
                "hint": None,
                "origin": "--set bad",
                "position": None,
                "other": None,
            },
        ],
        "report": report,
    }
    assert err == report + "\n"


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (RefusedError("held by https://me:pw@host", hint="wait"), 6, "held by https://***@host"),
        (OSError(errno.ENOSPC, "No space left"), 4, "the machine gave out: [Errno 28] No space left"),
        (KeyError("lost"), 5, "'lost'"),
    ],
)
def test_any_error_before_there_is_a_record_is_json_too(
    error: BaseException, code: int, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "--json"], FakeRooms(tmp_path, error=error)) == code
    found = json.loads(capsys.readouterr().out)
    assert found["error"]["message"] == message
    assert found["error"]["exit_code"] == code
    assert found["problems"] == []


def test_a_wrong_command_line_is_json_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--json", "--cores", "none"]) == 2
    assert json.loads(capsys.readouterr().out)["error"]["type"] == "UsageError"
    assert main(["run", "--cores", "none", "--", "--json"]) == 2
    assert capsys.readouterr().out == ""


def test_the_schema_goes_to_a_file_or_says_why_not(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema", "-o", "s.json"], FakeRooms(tmp_path)) == 0
    assert json.loads((tmp_path / "s.json").read_text()) == {"type": "object"}
    assert main(["schema", "-o", "missing/s.json"], FakeRooms(tmp_path)) == 4
    assert "cannot write the schema to missing/s.json: No such file" in capsys.readouterr().err


def test_the_command_that_continues_is_as_typed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert typed_command(["run", "a b.toml", "--set", "x=$y"]) == "batchflow run 'a b.toml' --set 'x=$y'"
    monkeypatch.setattr("sys.argv", ["/somewhere/batchflow/__main__.py"])
    monkeypatch.setattr("shutil.which", lambda name: None)
    monkeypatch.setattr("sys.executable", "/opt/py thon")
    assert typed_command(["run"]) == "'/opt/py thon' -m batchflow run"
