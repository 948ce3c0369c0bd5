from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from unit.cli.cli_fakes import make_plan, make_receipt, make_step, make_workflow

from batchflow.cli.drawing import rendered
from batchflow.cli.graph import graph_dot, graph_json, graph_mermaid, graph_tree
from batchflow.cli.look import status_notes, status_row
from batchflow.cli.plans import list_json, list_lines, plan_json, plan_lines, record_json
from batchflow.cli.streams import json_text
from batchflow.runner.values import Committed, Reason, RunRecord, StepPlan, StepRecord, WorkflowPlan

W = Path("/w")


def test_a_plan_shows_each_step_with_its_reasons_old_and_new() -> None:
    assert plan_lines(make_plan(), W) == [
        "predict: will run",
        "  parameter changed limit: 200 → 500 (workflow.toml:6:13)",
        "  output missing result",
        "evaluate: will run",
        "  upstream predict",
        "up to date: prepare",
        "2 of 3 steps would run; nothing was changed",
    ]


def test_an_empty_plan_is_one_line() -> None:
    plan = WorkflowPlan((StepPlan("a", ()), StepPlan("b", ())))
    assert plan_lines(plan, W) == ["nothing to do: 2 steps are up to date (a, b)"]


def test_a_plan_made_during_a_run_says_so_first() -> None:
    plan = WorkflowPlan((StepPlan("a", ()),), going_on="pid=7, host=h")
    assert plan_lines(plan, W) == [
        "a run of this workflow is going on: pid=7, host=h",
        "nothing to do: 1 step is up to date (a)",
    ]


def test_a_plan_says_what_becomes_of_interrupted_work() -> None:
    interrupted = (Reason("interrupted_before", ""),)
    goes_on = StepPlan("a", interrupted, "goes on: 2 of 3 items are done (4.0 s of work), 1 to do")
    refused = StepPlan("b", interrupted, "step b has changed:\n  code changed x\x1b.py\nhint: keep it", is_refused=True)
    assert plan_lines(WorkflowPlan((goes_on,)), W) == [
        "a: will run",
        "  interrupted before",
        "  goes on: 2 of 3 items are done (4.0 s of work), 1 to do",
        "1 of 1 step would run; nothing was changed",
    ]
    assert plan_lines(WorkflowPlan((goes_on, refused)), W)[3:] == [
        "b: would be refused",
        "  interrupted before",
        "  step b has changed:",
        "    code changed x\\x1b.py",
        "  hint: keep it",
        "the run would be refused; nothing was changed",
    ]
    steps = plan_json(WorkflowPlan((goes_on, refused)), make_workflow(W))["steps"]
    assert [one["refused"] for one in steps] == [False, True]
    assert steps[0]["note"] == "goes on: 2 of 3 items are done (4.0 s of work), 1 to do"


@pytest.mark.parametrize(
    ("committed", "text", "amount"),
    [
        (
            Committed(10_000, 4_198, 2, 720.0),
            "4,200 of 10,000 items are done, 2 of them failed (12 min of work), 5,800 to do",
            "4,200 of 10,000 items (12 min of work)",
        ),
        (Committed(2, 1, 0, 0.5), "1 of 2 items is done (0.50 s of work), 1 to do", "1 of 2 items (0.50 s of work)"),
        (Committed(1, 0, 1, 61.0), "1 of 1 item is done, 1 of them failed (1 min 1 s of work)", None),
    ],
)
def test_committed_work_in_words(committed: Committed, text: str, amount: str | None) -> None:
    assert committed.describe() == text
    assert amount is None or committed.amount() == amount


def test_a_step_that_was_interrupted_has_what_is_kept_in_its_row_its_note_and_as_json(tmp_path: Path) -> None:
    kept = Committed(10_000, 4_198, 2, 720.0, 4_199)
    record = StepRecord("a", "interrupted", 3.0, {}, error="its run ended before the step did", committed=kept)
    assert status_row("a", record, tmp_path, 0.0) == ("a", "interrupted", "4,200/10,000", "2", "4,199", "", "")
    noted = replace(record, note="goes on: some of it")
    refused = replace(record, note="step a has changed:\n  code changed\nhint: say what", error=None)
    lines = [
        f"a: its run ended before the step did; {kept.describe()}",
        "b: its run ended before the step did; goes on: some of it",
        "c: step a has changed:",
        "    code changed",
        "  hint: say what",
    ]
    assert status_notes({"a": record, "b": noted, "c": refused}, "again") == [*lines, "to continue: again"]
    # The command that would be refused is not offered.
    assert status_notes({"a": record, "b": noted, "c": replace(refused, is_refused=True)}, "again") == lines
    stopped = replace(noted, error="stopped with 4,200 of 10,000 items done")
    assert status_notes({"a": stopped}, "again") == ["a: goes on: some of it", "to continue: again"]
    alone = replace(stopped, committed=None, note="")
    assert status_notes({"a": alone}, "c") == ["a: stopped with 4,200 of 10,000 items done", "to continue: c"]
    run = RunRecord("r", tmp_path, 6, 1.0, {"a": noted})
    step = record_json(run)["steps"]["a"]
    assert step["committed"] == {"item_count": 10_000, "succeeded": 4_198, "failed": 2, "to_do": 5_800, "work_s": 720.0}
    assert step["note"] == "goes on: some of it"


def test_a_plan_as_json() -> None:
    value = plan_json(make_plan(), make_workflow(W))
    assert (value["version"], value["workflow"]) == (1, "/w/workflow.toml")
    assert [step["stale"] for step in value["steps"]] == [False, True, True]
    assert value["steps"][1]["reasons"][0] == {
        "kind": "parameter_changed",
        "name": "limit",
        "old": "200",
        "new": "500",
        "position": {"path": "/w/workflow.toml", "line": 6, "column": 13, "length": 1},
    }
    assert value["steps"][2]["reasons"][0]["position"] is None


def test_the_list_shows_help_kinds_and_parameters_with_their_origin() -> None:
    assert list_lines(make_workflow(W), W) == [
        "digits (workflow.toml)",
        "steps (* built by default):",
        "  prepare    run       Unpack the images",
        "  predict    parallel",
        "  evaluate*  call",
        "parameters (--set NAME=VALUE):",
        "  limit  int  500 (--set; default 200)  number of images",
    ]


def test_parameter_values_are_written_as_in_toml() -> None:
    workflow = make_workflow(W)
    limit = workflow.params["limit"]
    params = {
        "flag": replace(limit, name="flag", value=True, origin="default", help=""),
        "names": replace(limit, name="names", value=["a", ""], origin="default", help=""),
    }
    assert list_lines(replace(workflow, params=params), W)[-2:] == ["  flag   int  true", "  names  int  [a, '']"]


@pytest.mark.fault("K13")
def test_the_list_as_json_hides_passwords() -> None:
    workflow = make_workflow(W)
    url = replace(workflow.params["limit"], value="https://u:pw@h/", default=["https://u:pw@h/", 3])
    value = list_json(replace(workflow, params={"limit": url}))
    assert value["params"][0]["value"] == "https://***@h/"
    assert value["params"][0]["default"] == ["https://***@h/", 3]
    assert value["steps"][2]["dependencies"] == ["predict", "prepare"]


@pytest.mark.fault("S21")
def test_json_has_no_secrets() -> None:
    value = {"error": "no file https://me:pw@host/x", "path": Path("/x?sig=abc"), "words": ["--token", "abc"]}
    shown = {"error": "no file https://***@host/x", "path": "/x?sig=***", "words": ["--token", "***"]}
    assert json.loads(json_text(value)) == shown


def test_the_tree_hangs_what_a_step_needs_below_it_and_repeats_nothing() -> None:
    assert rendered(graph_tree(make_workflow(W))).splitlines() == [
        "digits",
        "└── evaluate (call)",
        "    ├── predict (parallel)",
        "    │   └── prepare (run)",
        "    └── prepare (run)",
    ]


def test_a_part_of_the_tree_that_was_drawn_is_only_mentioned_again() -> None:
    workflow = make_workflow(W)
    steps = {**workflow.steps, "report": make_step("report", W, "run", ("predict",))}
    assert rendered(graph_tree(replace(workflow, steps=steps))).splitlines()[-2:] == [
        "└── report (run)",
        "    └── predict (parallel) (above)",
    ]


def test_a_chain_longer_than_the_recursion_limit_is_drawn() -> None:
    names = [f"s{index}" for index in range(3_000)]
    steps = {name: make_step(name, W, "run", (names[index - 1],) if index else ()) for index, name in enumerate(names)}
    assert graph_tree(replace(make_workflow(W), steps=steps)).children[0].children


def test_mermaid_has_numbered_ids_and_arrows_along_the_data() -> None:
    assert graph_mermaid(make_workflow(W)).splitlines() == [
        "flowchart TD",
        '    s0["prepare<br/>run"]',
        '    s1["predict<br/>parallel"]',
        '    s2["evaluate<br/>call"]',
        "    s0 --> s1",
        "    s1 --> s2",
        "    s0 --> s2",
    ]


def test_dot_quotes_every_name() -> None:
    workflow = replace(make_workflow(W), name='a "b" \\')
    assert graph_dot(workflow).splitlines() == [
        'digraph "a \\"b\\" \\\\" {',
        '  "prepare" [shape=box];',
        '  "predict" [shape=box];',
        '  "evaluate" [shape=box];',
        '  "prepare" -> "predict";',
        '  "predict" -> "evaluate";',
        '  "prepare" -> "evaluate";',
        "}",
    ]


def test_json_is_ascii_whatever_the_names() -> None:
    value = graph_json(replace(make_workflow(W), name="ü"))
    assert value["steps"][1] == {"step": "predict", "kind": "parallel", "dependencies": ["prepare"]}
    assert json.loads(json_text({"name": "\u202e\x1b"})) == {"name": "\u202e\x1b"}
    assert json_text({"name": "\u202e\x1b"}).isascii()


def test_a_record_as_json_has_receipts_and_paths() -> None:
    step = StepRecord("predict", "done", 7.5, {"predictions": W / "p.csv"}, make_receipt())
    value = record_json(RunRecord("r1", W / "flow.toml", 0, 8.0, {"predict": step}))
    assert json.loads(json_text(value)) == value
    assert value["steps"]["predict"]["outputs"] == {"predictions": "/w/p.csv"}
    assert value["steps"]["predict"]["receipt"]["items_in"] == 10_000


def test_a_row_of_the_status_table(tmp_path: Path) -> None:
    output = tmp_path / "p.csv"
    output.touch()
    record = StepRecord("predict", "up_to_date", 7.5, {"predictions": output}, make_receipt(failed=2))
    now = output.stat().st_mtime + 7_500
    assert status_row("predict", record, tmp_path, now) == (
        "predict",
        "up to date",
        "10,000",
        "2",
        "10,000",
        "2 h 5 min",
        "p.csv",
    )
    assert status_row("a", StepRecord("a", "never_run", 0, {}), tmp_path, now) == ("a", "never run", "", "", "", "", "")


def test_status_says_why_a_step_failed_or_would_run_again() -> None:
    records = {
        "a": StepRecord("a", "failed", 1.0, {}, error="\nexit code 7\nmore", hint="look"),
        "b": StepRecord("b", "done", 1.0, {}, hint="stale: parameter limit: 1 → 2"),
        "c": StepRecord("c", "up_to_date", 1.0, {}),
    }
    assert status_notes(records, "again") == ["a: exit code 7", "b: stale: parameter limit: 1 → 2"]


def test_a_verbose_plan_shows_the_commands_as_a_shell_takes_them(tmp_path: Path) -> None:
    workflow = make_workflow(tmp_path / "a b")
    commands = {"predict": "sort x \\\n  > ${outputs.result}\n", "evaluate": ("wc", "a b", "${outputs.result}")}
    steps = {name: replace(one, command=commands.get(name)) for name, one in workflow.steps.items()}
    lines = plan_lines(make_plan(), W, replace(workflow, steps=steps))
    folder = tmp_path / "a b" / "build"
    assert [line for line in lines if line.startswith(("  $", "    "))] == [
        "  $ sort x \\",
        f"      > '{folder}/predict.csv'",
        f"  $ wc 'a b' '{folder}/evaluate.csv'",
    ]
    assert not any("$" in line for line in plan_lines(make_plan(), W))
