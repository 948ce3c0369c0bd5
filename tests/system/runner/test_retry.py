"""``retry``: exactly what failed is done again, the rest is kept, what follows runs; and what it refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from system.runner.flows import statuses

from batchflow.control import StopRequest
from batchflow.errors import JournalError, RefusedError, ResourceError
from batchflow.model import Event, Notice, Receipt
from batchflow.parallel.values import ParallelJob
from batchflow.runner import last_status, plan_workflow, run_workflow
from batchflow.runner.values import RunOptions, RunRecord
from batchflow.workflow import load_workflow

WORKFLOW = """\
schema = 1
default = ["count"]

[datasets.texts]
files = "in/*.txt"

[steps.prepare]
run = "cp factor.txt ${outputs.factor}"
inputs = { source = "factor.txt" }
outputs = { factor = "build/factor.txt" }

[steps.score]
inputs = { texts = "${datasets.texts}", factor = "${steps.prepare.outputs.factor}" }
outputs = { rows = "build/rows.txt", failed = "build/failed.jsonl" }

[steps.score.parallel]
entry_script = "score.py"
over = "texts"
mini_batch_size = 4
workers = 2
append_row_to = "rows"
failed_to = "failed"
error_threshold = 3

[steps.count]
run = "wc -l < ${inputs.rows} > ${outputs.count}"
inputs = { rows = "${steps.score.outputs.rows}" }
outputs = { count = "build/count.txt" }

[steps.apart]
run = "date +%N > ${outputs.time}"
outputs = { time = "build/time.txt" }
"""
SCRIPT = """\
import os
def run(mini_batch):
    names = [os.path.basename(path) for path in mini_batch]
    with open("calls", "a") as file:
        file.write("".join(f"{name}\\n" for name in names))
    if "05.txt" in names:
        raise ValueError("unlucky")
    if "09.txt" in names:
        names.remove("09.txt")
    return names
"""
GOOD = SCRIPT.replace("05.txt", "none").replace("09.txt", "none")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    for number in range(12):
        (tmp_path / f"in/{number:02}.txt").touch()
    (tmp_path / "workflow.toml").write_text(WORKFLOW)
    (tmp_path / "score.py").write_text(SCRIPT)
    (tmp_path / "factor.txt").write_text("1")
    return tmp_path


def run(folder: Path, events: list[Event] | None = None, **options: Any) -> RunRecord:
    workflow = load_workflow(folder / "workflow.toml")
    return run_workflow(workflow, RunOptions(**options), on_event=(events if events is not None else []).append)


def planned(folder: Path, **options: Any) -> dict[str, list[str]]:
    plan = plan_workflow(load_workflow(folder / "workflow.toml"), RunOptions(**options))
    return {one.step: [reason.describe() for reason in one.reasons] for one in plan.steps}


def calls(folder: Path) -> list[str]:
    """What ``run()`` was given since the last look, sorted."""
    found = sorted((folder / "calls").read_text().split()) if (folder / "calls").exists() else []
    (folder / "calls").unlink(missing_ok=True)
    return [name.removesuffix(".txt") for name in found]


def rows(folder: Path) -> list[str]:
    return [name.removesuffix(".txt") for name in (folder / "build/rows.txt").read_text().split()]


EVERY = [f"{number:02}" for number in range(12)]


def test_after_a_success_only_what_failed_is_done_again_and_merged_in_order(project: Path) -> None:
    assert run(project).receipt("score").failed == 2
    assert rows(project) == [one for one in EVERY if one not in ("05", "09")]
    assert planned(project) == {"prepare": [], "score": [], "count": []}
    calls(project)
    retried = {"prepare": [], "score": ["retry: 2 failed items"], "count": ["upstream score"]}
    assert planned(project, retry=True) == retried
    record = run(project, retry=True)
    assert statuses(record) == {"prepare": "up_to_date", "score": "done", "count": "done"}
    # Again in vain, with nothing lost: the bad item alone, and the whole mini-batch that fell short.
    assert record.receipt("score").failed == 2
    assert (set(calls(project)), rows(project)) == (
        {"05", "08", "09", "10", "11"},
        [*EVERY[:5], *EVERY[6:9], "10", "11"],
    )
    (project / "score.py").write_text(GOOD)
    record = run(project, retry=True)
    receipt = record.receipt("score")
    assert (receipt.items_in, receipt.succeeded, receipt.failed, receipt.rows_out) == (12, 12, 0, 12)
    assert (calls(project), rows(project)) == (["05", "08", "09", "10", "11"], EVERY)
    assert (project / "build/count.txt").read_text().strip() == "12"
    assert (project / "build/failed.jsonl").read_text() == ""
    # The script of now has made all of it, as far as anybody asked.
    assert planned(project) == {"prepare": [], "score": [], "count": []}


def test_after_a_success_with_failures_a_mended_script_is_told_of_retry(project: Path) -> None:
    run(project)
    workflow = load_workflow(project / "workflow.toml")

    def notes(**options: Any) -> dict[str, str]:
        return {one.step: one.note for one in plan_workflow(workflow, RunOptions(**options)).steps}

    silent = {"prepare": "", "score": "", "count": ""}
    assert notes() == silent
    (project / "score.py").write_text(GOOD)
    text = "2 items failed in the last run; `batchflow retry` does only these and keeps the others"
    assert notes() == silent | {"score": text}
    assert last_status(workflow)["score"].note == text
    assert notes(force_steps=("score",)) == silent
    assert text not in notes(retry=True).values()


def test_rows_of_a_mini_batch_that_fell_short_are_replaced_in_any_order(project: Path) -> None:
    """Without an order to restore, too: what it had before must not stay beside what it has now."""
    (project / "workflow.toml").write_text(WORKFLOW.replace('"rows"\n', '"rows"\norder = "completion"\n'))
    assert run(project).receipt("score").failed == 2
    assert sorted(rows(project)) == [one for one in EVERY if one not in ("05", "09")]
    (project / "score.py").write_text(GOOD)
    assert run(project, retry=True).receipt("score").rows_out == 12
    assert sorted(rows(project)) == EVERY


@pytest.mark.fault("F15")
def test_a_journal_that_cannot_be_believed_is_not_taken_for_one_without_failures(project: Path) -> None:
    run(project)
    journal = project / ".batchflow/workflow/steps/score/journal.db"
    journal.write_bytes(journal.read_bytes()[:5000])
    assert planned(project, retry=True)["score"] == ["retry: a journal that cannot be believed"]
    with pytest.raises(JournalError, match="the journal of the step is damaged"):
        run(project, retry=True)
    assert rows(project) == [one for one in EVERY if one not in ("05", "09")]


def test_where_nothing_failed_there_is_nothing_to_retry(project: Path) -> None:
    assert planned(project, retry=True) == {}
    assert statuses(run(project, retry=True)) == {}
    assert calls(project) == []
    (project / "score.py").write_text(GOOD)
    run(project)
    (project / "score.py").write_text(GOOD + "print('edited')\n")
    calls(project)
    record = run(project, retry=True)
    assert (record.exit_code, statuses(record), calls(project)) == (0, {}, [])


def test_a_step_that_passed_its_threshold_goes_on_from_what_it_has_done(project: Path) -> None:
    (project / "workflow.toml").write_text(WORKFLOW.replace("error_threshold = 3", "error_threshold = 0"))
    (project / "score.py").write_text(SCRIPT.replace("09.txt", "none"))
    aborted = run(project)
    assert (aborted.exit_code, aborted.steps["score"].status) == (1, "failed")
    committed = aborted.steps["score"].committed
    assert committed is not None
    assert (committed.item_count, committed.failed) == (12, 1)
    first = set(calls(project))
    (project / "score.py").write_text(GOOD)
    record = run(project, retry=True)
    assert statuses(record) == {"prepare": "up_to_date", "score": "done", "count": "done"}
    assert record.steps["score"].committed is None
    assert rows(project) == EVERY
    again = set(calls(project)) & first
    assert "05" in again
    assert len(first) - committed.succeeded <= len(again) + 1


def test_other_stale_steps_are_left_alone_and_other_targets_too(project: Path) -> None:
    run(project, targets=("count", "apart"))
    (project / "build/time.txt").unlink()
    assert planned(project, retry=True, targets=("count", "apart")).keys() == {"prepare", "score", "count"}
    assert planned(project, retry=True, targets=("apart",)) == {}
    assert planned(project, retry=True, targets=("score",)).keys() == {"prepare", "score"}
    run(project, retry=True, targets=("count", "apart"))
    assert not (project / "build/time.txt").exists()


def refusal(folder: Path) -> str:
    with pytest.raises(RefusedError) as caught:
        run(folder, retry=True)
    (refused,) = [
        one
        for one in plan_workflow(load_workflow(folder / "workflow.toml"), RunOptions(retry=True)).steps
        if one.is_refused
    ]
    assert refused.note == f"{caught.value}\nhint: {caught.value.hint}"
    assert caught.value.hint == "batchflow run brings the step up to date"
    return str(caught.value)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("items", "files of input texts were added, removed or changed, 12 → 13 files since"),
        ("output", "output rows is not as the step left it"),
        ("upstream", "step prepare, which it needs, is not up to date"),
    ],
)
def test_what_cannot_be_merged_is_refused_before_anything_runs(change: str, words: str, project: Path) -> None:
    run(project)
    calls(project)
    if change == "items":
        (project / "in/12.txt").touch()
    elif change == "output":
        (project / "build/rows.txt").write_text("mine\n")
    else:
        (project / "factor.txt").write_text("22")
    assert refusal(project) == f"step score: {words}: the failed items alone cannot be tried again"
    assert calls(project) == []
    assert run(project).exit_code == 0
    assert set(calls(project)) == {*EVERY, *(["12"] if change == "items" else [])}


def test_a_changed_output_that_is_no_rows_is_made_again(project: Path) -> None:
    run(project)
    calls(project)
    (project / "build/failed.jsonl").unlink()
    run(project, retry=True)
    assert "00" not in calls(project)
    listed = [json.loads(line) for line in (project / "build/failed.jsonl").read_text().splitlines()]
    assert [one["kind"] for one in listed] == ["exception", "shortfall"]


def ends_at_once(job: ParallelJob, *, on_event: Callable[[Event], None], stop: StopRequest) -> Receipt:
    raise ResourceError("no process can be started")


@pytest.mark.parametrize("options", [{"retry": True}, {"force_steps": ("score",)}])
def test_a_run_that_ends_before_the_step_begins_leaves_it_up_to_date(options: dict[str, Any], project: Path) -> None:
    run(project)
    calls(project)
    workflow = load_workflow(project / "workflow.toml")
    assert run_workflow(workflow, RunOptions(**options), run_parallel=ends_at_once).exit_code == 4
    assert planned(project) == {"prepare": [], "score": [], "count": []}
    status = last_status(workflow)["score"]
    assert (status.status, status.error, status.committed) == ("up_to_date", None, None)
    events: list[Event] = []
    assert statuses(run(project, events)) == {"prepare": "up_to_date", "score": "up_to_date", "count": "up_to_date"}
    text = "2 of 12 items failed in the run that made what is up to date; batchflow retry tries them again"
    assert Notice(text, "score") in events
    assert calls(project) == []


def test_a_retry_that_fails_leaves_the_output_and_is_tried_again(project: Path) -> None:
    run(project)
    before = rows(project)
    calls(project)
    (project / "score.py").write_text("import no_such_module\n" + SCRIPT)
    assert run(project, retry=True).exit_code == 1
    assert (calls(project), rows(project)) == ([], before)
    (project / "score.py").write_text(GOOD)
    # Its failures are no longer listed: they are still to do.
    reasons = ["failed before", "code changed score.py", "retry: 5 missing items"]
    assert planned(project, retry=True)["score"] == reasons
    assert run(project, retry=True).exit_code == 0
    assert (calls(project), rows(project)) == (["05", "08", "09", "10", "11"], EVERY)
