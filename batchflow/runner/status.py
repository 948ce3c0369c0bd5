"""How the steps of a workflow stand: what the records say, and whether it still holds.  Changes nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from batchflow.errors import BatchflowError
from batchflow.journal.lock import holder_is_alive
from batchflow.journal.records import PastRun, Records
from batchflow.model import Receipt
from batchflow.runner.planning import Memory, Planner, read_memory
from batchflow.runner.values import RunOptions, StepRecord, StepStatus
from batchflow.workflow.values import Step, Workflow


def last_status(workflow: Workflow) -> Mapping[str, StepRecord]:
    """Every step of the workflow → how it ended when it last ran.

    A step that succeeded is ``up_to_date`` as long as a run would skip it, and ``done`` afterwards, with the reasons
    why it is stale as its ``hint``.  Raises ``JournalError`` for records that cannot be read.
    """
    records = Records.open_for_reading(workflow.state_folder)
    if records is None:
        memory = Memory()
    else:
        with records:
            memory = read_memory(records)
    stale = _stale(workflow, memory)
    alive = holder_is_alive(workflow.state_folder)
    return {name: _status(step, memory, stale.get(name), alive) for name, step in workflow.steps.items()}


def run_history(workflow: Workflow, limit: int = 20) -> tuple[PastRun, ...]:
    """The last runs, newest first."""
    records = Records.open_for_reading(workflow.state_folder)
    if records is None:
        return ()
    with records:
        return records.runs(limit)


def receipt_from(values: Mapping[str, Any] | None) -> Receipt | None:
    """A recorded receipt; keys that this version does not know are passed over."""
    if values is None:
        return None
    known = {field.name for field in fields(Receipt)}
    return Receipt(**{name: value for name, value in values.items() if name in known})


def _stale(workflow: Workflow, memory: Memory) -> dict[str, str]:
    """Step → why it is stale, empty text when it is not; steps about which nothing can be said are left out."""
    try:
        plan = Planner(workflow, RunOptions(targets=tuple(workflow.steps)), memory).plan()
    except BatchflowError:
        return {}
    return {one.step: "; ".join(reason.describe() for reason in one.reasons) for one in plan.steps}


def _status(step: Step, memory: Memory, reasons: str | None, alive: bool) -> StepRecord:
    outputs: dict[str, Path] = {name: output.path for name, output in step.outputs.items()}
    attempt = memory.attempts.get(step.name)
    if attempt is None:
        return StepRecord(step.name, "never_run", 0.0, outputs)
    if attempt.status == "running":
        if alive:
            return StepRecord(step.name, "running", 0.0, outputs)
        return StepRecord(step.name, "interrupted", 0.0, outputs, error="its run ended before the step did")
    receipt = receipt_from(attempt.receipt)
    if attempt.status in ("failed", "interrupted"):
        status: StepStatus = "failed" if attempt.status == "failed" else "interrupted"
        return StepRecord(step.name, status, attempt.elapsed_s, outputs, receipt, attempt.error, attempt.hint)
    if reasons == "":
        return StepRecord(step.name, "up_to_date", attempt.elapsed_s, outputs, receipt)
    hint = None if reasons is None else f"stale: {reasons}"
    return StepRecord(step.name, "done", attempt.elapsed_s, outputs, receipt, hint=hint)
