from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from unit.cli.cli_fakes import make_receipt

from batchflow.cli.messages import (
    EndContext,
    FailedItems,
    bug_lines,
    end_lines,
    error_lines,
    event_line,
    event_style,
    wanted,
)
from batchflow.errors import RefusedError, ResourceError, WorkflowError
from batchflow.model import (
    Event,
    Notice,
    RunFinished,
    RunStarted,
    StepFailed,
    StepFinished,
    StepNotRun,
    StepProgress,
    StepSkipped,
    StepStarted,
)
from batchflow.runner.values import Committed, RunRecord, StepRecord

W = Path("/w")
COMMAND = "batchflow run flow.toml --set 'a=b c'"


def record(exit_code: int, *steps: StepRecord, elapsed_s: float = 41.2) -> RunRecord:
    return RunRecord("r1", W / "flow.toml", exit_code, elapsed_s, {step.step: step for step in steps})


def step(name: str, status: Any, **more: Any) -> StepRecord:
    return StepRecord(name, status, 3.0, more.pop("outputs", {}), **more)


@pytest.mark.parametrize(
    ("event", "line"),
    [
        (RunStarted("r1", "w", ("a",)), None),
        (StepSkipped("prepare"), "prepare: up to date"),
        (StepStarted("train", "call", "never run"), "train: started (never run)"),
        (
            StepStarted("predict", "parallel", "parameter limit: 200 → 500", 10_000),
            "predict: started, 10,000 items (parameter limit: 200 → 500)",
        ),
        (StepProgress("predict", 1, 0, 2, 1, 1.0), None),
        (StepFinished("train", 12.3, ()), "train: done in 12 s"),
        (StepFinished("predict", 7.51, (), make_receipt(failed=2)), "predict: done in 7.5 s, 10,000 items, 2 failed"),
        (StepFailed("train", 3, "ValueError", "bad\x1b\nmore"), "train: failed after 3.0 s: bad\\x1b"),
        (
            StepFailed("train", 4.1, "InterruptedRunError", "step train was stopped: signal 2 (SIGINT)"),
            "train: stopped after 4.1 s",
        ),
        (
            StepFailed("predict", 4.1, "InterruptedRunError", "stopped with 300 of 1,000 items done"),
            "predict: stopped with 300 of 1,000 items done after 4.1 s",
        ),
        (StepNotRun("evaluate", "predict failed"), "evaluate: not run (predict failed)"),
        (Notice("one\nforged: line"), "note: one"),
        (Notice("fewer workers", "predict"), "predict: fewer workers"),
        (RunFinished("r1", 1.0, 0), None),
    ],
)
def test_each_event_is_at_most_one_line(event: Event, line: str | None) -> None:
    assert event_line(event) == line


def test_verbosity_chooses_the_events() -> None:
    skipped, started, failed = StepSkipped("a"), StepStarted("a", "run", "r"), StepFailed("a", 1, "E", "m")
    shown = {level: [wanted(one, level) for one in (skipped, started, failed)] for level in (1, 0, -1, -2)}
    assert shown == {
        1: [True, True, True],
        0: [False, True, True],
        -1: [False, False, True],
        -2: [False, False, False],
    }


def test_success_ends_with_where_the_outputs_are_how_many_items_and_how_long() -> None:
    predictions = W / "build" / "predict.csv"
    done = record(
        0,
        step("prepare", "up_to_date", outputs={"images": W / "build/png"}),
        step("predict", "done", outputs={"predictions": predictions}, receipt=make_receipt(failed=3)),
        step("evaluate", "done", outputs={"metrics": Path("/elsewhere/m.json")}),
    )
    failed = {"predict": FailedItems(3, W / "failed.jsonl", ("a.png: ValueError: bad",))}
    assert end_lines(done, EndContext(COMMAND, W, failed_items=failed, retry_command="batchflow retry f.toml")) == [
        "3 items of step predict failed (all in failed.jsonl):",
        "  a.png: ValueError: bad",
        "outputs:",
        "  predictions  build/predict.csv  (10,000 rows)",
        "  metrics      /elsewhere/m.json",
        "to try the failed items again: batchflow retry f.toml",
        "done in 41 s: 2 steps done, 1 up to date, 10,000 items, 3 failed",
    ]


def test_a_workflow_without_items_counts_only_steps() -> None:
    assert end_lines(record(0, step("a", "done")), EndContext(COMMAND, W)) == ["done in 41 s: 1 step done"]


def test_many_outputs_are_cut_with_a_pointer() -> None:
    outputs = {f"o{index:02}": W / f"{index}" for index in range(14)}
    lines = end_lines(record(0, step("a", "done", outputs=outputs)), EndContext(COMMAND, W))
    assert lines[12:] == [
        "  o11  11",
        "  and 2 outputs more (batchflow status shows them)",
        "done in 41 s: 1 step done",
    ]


@pytest.mark.parametrize(("names", "text"), [("a", "1 step is"), ("abcd", "4 steps are")])
def test_nothing_to_do_says_so(names: str, text: str) -> None:
    fresh = record(0, *(step(name, "up_to_date", outputs={"x": W / "x"}) for name in names), elapsed_s=0.08)
    assert end_lines(fresh, EndContext(COMMAND, W)) == [f"nothing to do: {text} up to date (0.08 s)"]
    assert end_lines(fresh, EndContext(COMMAND, W, verbosity=1))[0] == "outputs:"
    assert end_lines(fresh, EndContext(COMMAND, W, verbosity=-2)) == []


def test_a_failure_ends_with_its_cause_and_the_command_that_continues() -> None:
    cause = 'error_threshold=0 passed\n  File "score.py", line 3, in run\nValueError: \x1b[31mbad'
    failed = record(
        1,
        step("prepare", "done"),
        step("predict", "failed", error=cause, hint="raise error_threshold"),
        step("evaluate", "not_run"),
    )
    assert end_lines(failed, EndContext(COMMAND, W, verbosity=-2)) == [
        "failed in 41 s: 1 step failed, 1 not run, 1 done",
        "not run: evaluate",
        "error: step predict failed after 3.0 s",
        "  error_threshold=0 passed",
        '    File "score.py", line 3, in run',
        "  ValueError: \\x1b[31mbad",
        "hint: raise error_threshold",
        "to continue: batchflow run flow.toml --set 'a=b c'",
    ]


def test_a_step_that_was_stopped_is_no_failure() -> None:
    stopped = StepFailed("train", 4.1, "InterruptedRunError", "stopped by signal 2")
    failed = StepFailed("train", 4.1, "ValueError", "bad")
    assert [event_style(one) for one in (stopped, failed)] == ["yellow", "red"]
    ended = record(1, step("a", "failed", error="bad"), step("b", "interrupted"))
    assert end_lines(ended, EndContext(COMMAND, W))[0] == "failed in 41 s: 1 step failed, 1 stopped"


@pytest.mark.parametrize("status", ["interrupted", "failed"])
def test_an_interrupted_run_says_by_what_and_how_to_continue(status: str) -> None:
    stopped = record(143, step("prepare", "done"), step("predict", status), step("evaluate", "not_run"))
    assert end_lines(stopped, EndContext(COMMAND, W)) == [
        "stopped by SIGTERM after 41 s: 1 step stopped, 1 not run, 1 done",
        f"to continue: {COMMAND}",
    ]
    assert end_lines(record(130), EndContext("c", W))[0] == "stopped by Ctrl-C after 41 s: no step was started"


def test_what_is_kept_of_a_step_is_said_before_the_command_that_continues() -> None:
    kept = Committed(1_000, 298, 2, 12.0)
    stopped = record(130, step("predict", "interrupted", committed=kept), step("score", "interrupted"))
    assert end_lines(stopped, EndContext("c", W)) == [
        "stopped by Ctrl-C after 41 s: 2 steps stopped",
        "kept of step predict: 300 of 1,000 items (12 s of work)",
        "to continue: c",
    ]
    nothing = record(130, step("predict", "interrupted", committed=Committed(1_000, 0, 0, 3.0)))
    assert end_lines(nothing, EndContext("c", W))[1:] == ["to continue: c"]


@pytest.mark.parametrize(
    ("tolerated_with", "ways"),
    [
        ("error_threshold = 2 or more", ["to tolerate them: error_threshold = 2 or more in step predict, then run it"]),
        ("", []),
    ],
)
def test_a_threshold_that_was_passed_ends_with_the_ways_on_and_nothing_that_fails_again(
    tolerated_with: str, ways: list[str]
) -> None:
    kept = Committed(1_000, 298, 2, 12.0)
    aborted = step(
        "predict", "failed", error="too many", hint="as below", committed=kept, tolerated_with=tolerated_with
    )
    context = EndContext("c", W, retry_command="again", run_command="run it")
    ends = ["error: step predict failed after 3.0 s", "  too many"]
    ends += ["kept of step predict: 300 of 1,000 items (12 s of work)", "if the cause is fixed: again", *ways]
    assert end_lines(record(1, aborted), context)[1:] == ends
    other = record(1, aborted, step("train", "failed", error="bad"))
    assert end_lines(other, context)[-1] == "to continue: c", "of another failure it may well be the cure"


@pytest.mark.parametrize(("failed_count", "more"), [(2, ["to try the failed items again: again"]), (0, [])])
def test_a_step_that_failed_with_items_ends_with_both_commands(failed_count: int, more: list[str]) -> None:
    kept = Committed(1_000, 300 - failed_count, failed_count, 12.0)
    aborted = record(1, step("predict", "failed", error="no room", hint="make room", committed=kept))
    assert end_lines(aborted, EndContext("c", W, retry_command="again"))[-len(more) - 3 :] == [
        "hint: make room",
        "kept of step predict: 300 of 1,000 items (12 s of work)",
        *more,
        "to continue: c",
    ]


def test_the_command_that_was_refused_is_not_offered_again() -> None:
    refused = record(6, step("predict", "failed", error="rows.csv was changed", hint="put it back"))
    assert end_lines(refused, EndContext("c", W, retry_command="again"))[-1] == "hint: put it back"


def test_the_report_of_a_workflow_file_is_shown_as_it_is() -> None:
    report = "error[BF012]: unknown key\n --> workflow.toml:11:1\n  |\n  = help: did you mean"
    assert error_lines(WorkflowError(report)) == [report]


def test_other_errors_are_message_hint_command() -> None:
    assert error_lines(ResourceError("disk full, free=0\x07", hint="free some space"), COMMAND) == [
        "error: disk full, free=0\\x07",
        "hint: free some space",
        f"to continue: {COMMAND}",
    ]
    assert error_lines(RefusedError("held by pid=7")) == ["error: held by pid=7"]
    assert error_lines(WorkflowError("no workflow file found")) == ["error: no workflow file found"]


def test_a_bug_of_ours_shows_its_traceback_and_asks_for_a_report() -> None:
    try:
        raise KeyError("lost\x1b")
    except KeyError as error:
        first, *trace, name, story, hint, command = bug_lines(error, "again")
    assert first == "  Traceback (most recent call last):"
    assert all(line.startswith("  ") for line in trace)
    assert name == "  KeyError: 'lost\\x1b'"
    assert [story, hint, command] == [
        "internal error: KeyError: 'lost\\x1b'",
        "hint: this is a bug in batchflow, please report it with the traceback above",
        "to continue: again",
    ]


def test_a_step_that_met_a_bug_of_ours_asks_for_a_report() -> None:
    lines = end_lines(record(5, step("a", "failed", error="ring is torn")), EndContext("again", W))
    assert lines[-2:] == ["hint: this is a bug in batchflow, please report it", "to continue: again"]


def test_quiet_is_the_last_line_and_verbose_says_where_the_logs_are() -> None:
    done = record(0, step("prepare", "up_to_date"), step("predict", "done", outputs={"rows": W / "rows.csv"}))
    logs = {"prepare": W / "p/log.txt", "predict": W / "s/logs"}
    lines = {level: end_lines(done, EndContext(COMMAND, W, level, logs=logs)) for level in (1, 0, -1, -2)}
    last = "done in 41 s: 1 step done, 1 up to date"
    outputs = ["outputs:", "  rows  rows.csv"]
    assert lines == {1: ["logs:", "  predict  s/logs", *outputs, last], 0: [*outputs, last], -1: [last], -2: []}
    failed = record(1, step("predict", "failed", error="bad"))
    assert "  predict  s/logs" in end_lines(failed, EndContext(COMMAND, W, 1, logs=logs))
    assert not wanted(Notice("one"), -1)
