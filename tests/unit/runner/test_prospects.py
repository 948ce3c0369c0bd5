"""What would become of earlier work, in words: from the journal of a step to the line in a plan."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from unit.runner.builders import Flow

from batchflow._core import Extent
from batchflow.errors import RefusedError
from batchflow.journal.commits import Journal
from batchflow.journal.records import Success
from batchflow.journal.state import State
from batchflow.model import FailureEntry
from batchflow.runner.places import step_folder
from batchflow.runner.prospects import Pasts, cannot_retry, prospect, retry_reason
from batchflow.runner.values import Committed, Reason, RunOptions
from batchflow.workflow.values import ParallelSettings, Threshold, Workflow

SIGNATURE: dict[str, Any] = {
    "settings": {"parallel.over": "files"},
    "params": {},
    "inputs": {"files": {"kind": "files", "count": 6, "digest": "a"}},
    "code": {},
    "upstream": {},
}


@pytest.fixture
def workflow(tmp_path: Path) -> Workflow:
    settings = ParallelSettings(
        tmp_path / "score.py",
        tmp_path,
        ("files",),
        append_row_to="rows",
        failed_to="failed",
        error_threshold=Threshold(9),
    )
    flow = Flow(tmp_path).run("copy", "cp a b", outputs={"b": "b"})
    outputs = {"rows": "rows.csv", "failed": "failed.jsonl"}
    return flow.parallel("score", settings, inputs={"files": ["in/*"]}, outputs=outputs).build()


def journal(workflow: Workflow, *, succeeded: int, failed: int, phase: Any = "running") -> None:
    with Journal.open_for_run(step_folder(workflow, "score")) as journal:
        journal.begin(State("r1", "score", 6, SIGNATURE, 2, phase=phase))
        state = journal.state
        assert state is not None
        extents = [Extent(0, succeeded, 0, 0, 0, succeeded, 0, 1, 1)] if succeeded else []
        failures = [FailureEntry(6 - failed, failed, "died", {"signal": 9})] if failed else []
        journal.commit(extents, failures, replace(state, work_s=3.0))


def success(run_id: str = "r1") -> dict[str, Success]:
    return {"score": Success("score", run_id, 1.0, SIGNATURE, {})}


def test_other_steps_and_those_that_never_ran_have_no_past(workflow: Workflow) -> None:
    pasts = Pasts(workflow, {})
    for step in workflow.steps.values():
        assert (pasts.of(step), pasts.is_over(step), pasts.committed(step), pasts.left_over(step)) == (
            None,
            False,
            None,
            "",
        )


@pytest.mark.parametrize(
    ("succeeded", "failed", "phase", "left_over"),
    [
        (6, 0, "running", "an output to finish"),
        (6, 0, "finished", ""),
        (4, 2, "running", "2 failed items"),
        (5, 1, "finished", "1 failed item"),
        (3, 1, "running", "1 failed item, 2 missing items"),
        (0, 0, "running", "6 missing items"),
        (5, 0, "running", "1 missing item"),
    ],
)
def test_what_retry_is_about(workflow: Workflow, succeeded: int, failed: int, phase: Any, left_over: str) -> None:
    journal(workflow, succeeded=succeeded, failed=failed, phase=phase)
    pasts = Pasts(workflow, success())
    step = workflow.steps["score"]
    assert pasts.left_over(step) == left_over
    assert pasts.is_over(step) == (phase == "finished")
    expected = None if phase == "finished" else Committed(6, succeeded, failed, 3.0, succeeded)
    assert pasts.committed(step) == expected
    assert retry_reason(left_over).describe() == f"retry: {left_over}"


def test_a_success_of_another_run_does_not_end_the_past(workflow: Workflow) -> None:
    journal(workflow, succeeded=6, failed=0, phase="finished")
    pasts = Pasts(workflow, success("r0"))
    assert not pasts.is_over(workflow.steps["score"])
    assert pasts.left_over(workflow.steps["score"]) == "an output to finish"


@pytest.mark.parametrize(
    ("reason", "is_refused"),
    [
        (Reason("output_changed", "rows"), True),
        (Reason("output_missing", "rows"), True),
        (Reason("output_missing", "failed"), False),  # a copy, which is made again
        (Reason("input_changed", "rows"), False),
    ],
)
def test_what_is_not_as_it_was_left_cannot_be_completed(workflow: Workflow, reason: Reason, is_refused: bool) -> None:
    journal(workflow, succeeded=5, failed=1, phase="finished")
    step = workflow.steps["score"]
    past = Pasts(workflow, success()).of(step)
    found = prospect(step, workflow, past, SIGNATURE, RunOptions(retry=True), (reason, Reason("retry", "")))
    assert (found.refusal is not None) == is_refused
    if is_refused:
        assert isinstance(found.refusal, RefusedError)
        expected = cannot_retry(step, "output rows is not as the step left it")
        assert (found.refusal.message, found.refusal.hint) == (expected.message, expected.hint)


@pytest.mark.parametrize("left", ["nothing", "an empty file", "nothing begun"])
def test_retry_of_a_success_without_its_journal_is_refused(workflow: Workflow, left: str) -> None:
    if left != "nothing":
        Journal.open_for_run(step_folder(workflow, "score")).close()
    if left == "an empty file":
        (step_folder(workflow, "score") / "journal.db").write_bytes(b"")
    step = workflow.steps["score"]
    receipt = {"items_in": 6, "succeeded": 4, "failed": 2, "mini_batches": 1, "failed_mini_batches": 1}
    recorded = success()["score"]
    for one, left_over in (
        (replace(recorded, receipt=receipt), "2 failed items that no journal names"),
        (replace(recorded, receipt=receipt | {"failed": 0}), ""),
        (recorded, ""),
    ):
        pasts = Pasts(workflow, {"score": one})
        assert (pasts.of(step), pasts.left_over(step), pasts.is_over(step)) == (None, left_over, False)
    reasons = (retry_reason("2 failed items that no journal names"),)
    found = prospect(step, workflow, None, SIGNATURE, RunOptions(retry=True), reasons)
    assert found.refusal is not None
    assert "its journal, which names what failed, is gone" in found.refusal.message
    assert prospect(step, workflow, None, SIGNATURE, RunOptions(retry=True, restart=True), reasons).refusal is None
