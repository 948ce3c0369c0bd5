"""Small workflows, really run: what is made, what is run again and why, what is refused."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from system.runner.flows import files, make_flow, plan, run, statuses
from unit.runner.builders import Flow, parameter

from batchflow.errors import JournalError, RefusedError, UsageError, WorkflowError
from batchflow.model import Event, Notice, StepSkipped
from batchflow.runner import last_status, plan_workflow, run_history, run_workflow
from batchflow.runner.values import RunOptions, RunRecord


@pytest.mark.fault("L8")
def test_a_workflow_makes_its_outputs_and_then_there_is_nothing_to_do(tmp_path: Path) -> None:
    events: list[Event] = []
    workflow = make_flow(tmp_path).build()
    record = run_workflow(workflow, RunOptions(), on_event=events.append)
    assert (record.exit_code, statuses(record)) == (0, {"prepare": "done", "evaluate": "done"})
    assert (tmp_path / "build/report.txt").read_text() == "30\n"
    assert files(tmp_path / "build") == ["numbers.json", "plots/plot.txt", "report.txt"]
    assert [type(one).__name__ for one in events] == [
        "RunStarted",
        "StepStarted",
        "StepFinished",
        "StepStarted",
        "StepFinished",
        "RunFinished",
    ]
    assert record.steps["evaluate"].outputs["report"] == tmp_path / "build/report.txt"
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "build").rglob("*")}
    events.clear()
    again = run_workflow(workflow, RunOptions(), on_event=events.append)
    assert statuses(again) == {"prepare": "up_to_date", "evaluate": "up_to_date"}
    assert [one for one in events if isinstance(one, StepSkipped)] == [StepSkipped("prepare"), StepSkipped("evaluate")]
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "build").rglob("*")} == before
    assert [one.run_id for one in run_history(workflow)] == [again.run_id, record.run_id]
    assert again.run_id > record.run_id or again.run_id[:15] == record.run_id[:15]


@pytest.mark.fault("E13")
def test_planning_and_status_leave_no_trace(tmp_path: Path) -> None:
    workflow = make_flow(tmp_path).build()
    assert plan(workflow) == {"prepare": ["never_run"], "evaluate": ["never_run", "upstream prepare"]}
    assert [one.status for one in last_status(workflow).values()] == ["never_run", "never_run"]
    assert not (tmp_path / ".batchflow").exists()
    assert run_history(workflow) == ()


def edit(name: str, old: str, new: str) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        path = folder / name
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))

    return apply


def touch(name: str) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        os.utime(folder / name, ns=(10**18, 10**18))

    return apply


def remove(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


# what is done to the files → the steps that are stale, and why
EDITS: list[tuple[str, Callable[[Path], None], dict[str, list[str]]]] = [
    ("nothing", lambda folder: None, {}),
    ("a comment in an imported module", edit("helpers.py", "= 2", "=  2  # factor"), {}),
    ("a comment in the script", edit("prepare.py", "import json", "# why\nimport json"), {}),
    ("the time of the script", touch("prepare.py"), {}),
    (
        "a constant in an imported module",
        edit("helpers.py", "= 2", "= 3"),
        {"prepare": ["code_changed helpers.py"], "evaluate": ["code_changed helpers.py", "upstream prepare"]},
    ),
    (
        "the script of a run step",
        edit("prepare.py", "int(", "1 * int("),
        {"prepare": ["code_changed prepare.py"], "evaluate": ["upstream prepare"]},
    ),
    ("the module of a call step", edit("evaluate.py", "* args", "+ args"), {"evaluate": ["code_changed evaluate.py"]}),
    ("an output edited", edit("build/report.txt", "30", "31"), {"evaluate": ["output_changed report"]}),
    ("an output touched", touch("build/report.txt"), {}),
    ("an output removed", remove("build/report.txt"), {"evaluate": ["output_missing report"]}),
    (
        "a file in an output folder edited",
        edit("build/plots/plot.txt", "plot", "plots"),
        {"evaluate": ["output_changed plots"]},
    ),
    ("an output folder emptied", remove("build/plots/plot.txt"), {"evaluate": ["output_changed plots"]}),
    (
        "an intermediate removed",
        remove("build/numbers.json"),
        {"prepare": ["output_missing numbers"], "evaluate": ["upstream prepare"]},
    ),
]


@pytest.mark.parametrize(("change", "expected"), [row[1:] for row in EDITS], ids=[row[0] for row in EDITS])
def test_only_what_changed_is_run_again(
    tmp_path: Path, change: Callable[[Path], None], expected: dict[str, list[str]]
) -> None:
    workflow = make_flow(tmp_path).build()
    assert run(workflow).exit_code == 0
    change(tmp_path)
    stale = {name: reasons for name, reasons in plan(workflow).items() if reasons}
    assert stale == expected
    record = run(workflow)
    assert {name for name, status in statuses(record).items() if status == "done"} == set(expected)
    assert all(not reasons for reasons in plan(workflow).values())


def test_a_changed_parameter_makes_its_step_stale_and_is_the_reason(tmp_path: Path) -> None:
    run(make_flow(tmp_path, limit=3).build())
    workflow = make_flow(tmp_path, limit=5).build()
    (prepare, evaluate) = plan_workflow(workflow, RunOptions()).steps
    assert [one.describe() for one in prepare.reasons] == ["parameter changed limit: 3 → 5"]
    assert [one.kind for one in evaluate.reasons] == ["upstream"]
    run(workflow)
    assert (tmp_path / "build/report.txt").read_text() == "50\n"


def test_an_output_that_was_only_touched_is_still_the_one_that_was_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workflow = Flow(tmp_path).run("make", "echo one > ${outputs.x}", outputs={"x": "x.txt"}).build()
    run(workflow)
    touch("x.txt")(tmp_path)
    assert plan(workflow) == {"make": []}
    (tmp_path / "x.txt").write_text("two\n")
    assert plan(workflow) == {"make": ["output_changed x"]}
    # Of a large output only size and time are known.
    monkeypatch.setattr("batchflow.runner.contents._SIZE_MAX", 3)
    run(workflow)
    assert plan(workflow) == {"make": []}
    touch("x.txt")(tmp_path)
    assert plan(workflow) == {"make": ["output_changed x"]}


FORCED: list[tuple[dict[str, Any], dict[str, list[str]]]] = [
    ({"force_all": True}, {"prepare": ["forced"], "evaluate": ["forced", "upstream prepare"]}),
    ({"force_targets": True}, {"prepare": [], "evaluate": ["forced"]}),
    ({"force_steps": ("prepare",)}, {"prepare": ["forced"], "evaluate": ["upstream prepare"]}),
    ({"targets": ("prepare",), "force_targets": True}, {"prepare": ["forced"]}),
    ({"targets": ("build/numbers.json",)}, {"prepare": []}),
]


@pytest.mark.parametrize(("options", "expected"), FORCED)
def test_forcing(tmp_path: Path, options: dict[str, Any], expected: dict[str, list[str]]) -> None:
    workflow = make_flow(tmp_path).build()
    run(workflow)
    assert plan(workflow, **options) == expected


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"force_steps": ("evaluate",), "targets": ("prepare",)}, "evaluate cannot be forced: no target needs it"),
        ({"force_steps": ("nobody",)}, "nobody cannot be forced: there is no such step"),
    ],
)
def test_forcing_a_step_that_does_not_run_is_a_mistake(tmp_path: Path, options: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        plan(make_flow(tmp_path).build(), **options)


def test_a_step_run_alone_makes_those_after_it_stale(tmp_path: Path) -> None:
    flow = Flow(tmp_path).run("first", "true").run("second", "true", after=("first",))
    workflow = flow.build()
    run(workflow)
    run(workflow, targets=("first",), force_targets=True)
    assert plan(workflow) == {"first": [], "second": ["upstream first"]}


def test_files_that_a_command_makes_do_not_make_it_stale(tmp_path: Path) -> None:
    (tmp_path / "old.log").write_text("from an earlier attempt by hand")
    workflow = Flow(tmp_path).run("make", "date +%N | tee made.log old.log").build()
    for _ in range(2):
        events: list[Event] = []
        run_workflow(workflow, RunOptions(force_all=True), on_event=events.append)
        text = "changed while the step ran and is taken for what it writes itself: old.log"
        assert Notice(text, "make") in events
        assert plan(workflow) == {"make": []}
    (tmp_path / "old.log").write_text("edited")
    assert plan(workflow) == {"make": ["code_changed old.log"]}


@pytest.mark.fault("F13")
def test_an_output_that_exists_and_is_not_ours_is_not_replaced(tmp_path: Path) -> None:
    workflow = make_flow(tmp_path).build()
    (tmp_path / "build").mkdir()
    (tmp_path / "build/numbers.json").write_text("precious")
    with pytest.raises(RefusedError, match="output numbers exists already and no run of this workflow wrote it"):
        run(workflow)
    assert (tmp_path / "build/numbers.json").read_text() == "precious"
    assert run_history(workflow) == ()
    assert run(workflow, force_all=True).exit_code == 0


def test_an_output_of_another_workflow_of_the_folder_is_an_error(tmp_path: Path) -> None:
    run(Flow(tmp_path, "one").run("make", "echo x > ${outputs.x}", outputs={"x": "build/x.txt"}).build())
    other = Flow(tmp_path, "two").run("make", "mkdir -p ${outputs.all}", outputs={"all": "build/"}).build()
    message = (
        r"output `all` of step `make` belongs to another workflow of this folder: one\.toml writes .*/build/x\.txt"
    )
    for look in (plan, run):
        with pytest.raises(WorkflowError, match=message):
            look(other)
    (tmp_path / "one.toml").unlink()
    assert plan(other) == {"make": ["never_run"]}


def test_a_missing_input_is_an_error_with_its_place(tmp_path: Path) -> None:
    flow = Flow(tmp_path).run("make", "true", inputs={"table": "t.csv", "files": ["in/*.png"]})
    with pytest.raises(WorkflowError, match=r"input `table` of step `make`: it does not exist") as caught:
        plan(flow.build())
    assert "flow.toml:11:1" in str(caught.value)
    assert "input `files` of step `make`: 0 files match" in str(caught.value)


def test_an_input_that_an_earlier_step_makes_without_saying_so_is_waited_for(tmp_path: Path) -> None:
    flow = Flow(tmp_path).run("first", "mkdir -p in && echo x > in/a.txt")
    workflow = flow.run("second", "cat in/a.txt", inputs={"files": ["in/*"]}, after=("first",)).build()
    assert run(workflow).exit_code == 0
    assert plan(workflow) == {"first": [], "second": []}


def test_a_parameter_value_cannot_hide_in_the_records(tmp_path: Path) -> None:
    flow = make_flow(tmp_path)
    flow.params["limit"] = parameter(tmp_path, "limit", 3, "--set")
    run(flow.build())
    assert [one.params for one in run_history(flow.build())] == [{"limit": 3}]


@pytest.mark.fault("F16")
def test_damaged_records_are_refused_in_words_and_moved_away_they_are_forgotten(tmp_path: Path) -> None:
    workflow = make_flow(tmp_path).build()
    run(workflow)
    records = workflow.state_folder / "records.db"
    records.write_bytes(b"garbage" * 1000)
    for look in (run, plan, last_status):
        with pytest.raises(JournalError, match="the file of records is damaged, path=") as caught:
            look(workflow)
        assert "move" in (caught.value.hint or "")
    records.unlink()
    assert run(workflow, force_all=True).exit_code == 0


def test_the_caller_keeps_its_folder_handlers_and_environment(tmp_path: Path) -> None:
    before = (Path.cwd(), signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGCHLD), dict(os.environ))
    results: list[RunRecord] = []
    threads = [
        threading.Thread(target=lambda name=name: results.append(run(make_flow(tmp_path / name).build())))
        for name in ("one", "two")
    ]
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [one.exit_code for one in results] == [0, 0]
    assert (Path.cwd(), signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGCHLD), dict(os.environ)) == before
