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
from batchflow.runner.prospects import Pasts
from batchflow.runner.values import RunOptions, StepPlan, StepRecord, StepStatus
from batchflow.workflow.values import Step, Workflow


def last_status(workflow: Workflow) -> Mapping[str, StepRecord]:
    """Every step of the workflow → how it ended when it last ran.

    A step that succeeded is ``up_to_date`` as long as a run would skip it, and ``done`` afterwards, with the reasons
    why it is stale as its ``hint``; one that did not has what is kept of it, and what would become of that.
    Raises ``JournalError`` for records that cannot be read.
    """
    records = Records.open_for_reading(workflow.state_folder)
    if records is None:
        memory = Memory()
    else:
        with records:
            memory = read_memory(records)
    planner = Planner(workflow, RunOptions(targets=tuple(workflow.steps)), memory)
    try:
        plans = {one.step: one for one in planner.plan().steps}
    except BatchflowError:  # then nothing can be said about what is stale
        plans = {}
    alive = holder_is_alive(workflow.state_folder)
    return {name: _status(step, memory, plans.get(name), planner.pasts, alive) for name, step in workflow.steps.items()}


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


def _status(step: Step, memory: Memory, plan: StepPlan | None, pasts: Pasts, alive: bool) -> StepRecord:
    outputs: dict[str, Path] = {name: output.path for name, output in step.outputs.items()}
    attempt, success = memory.attempts.get(step.name), memory.successes.get(step.name)
    if plan is not None and not plan.stale and success is not None:
        return StepRecord(step.name, "up_to_date", success.elapsed_s, outputs, receipt_from(success.receipt))
    if attempt is None:
        return StepRecord(step.name, "never_run", 0.0, outputs)
    receipt = receipt_from(attempt.receipt)
    if attempt.status == "done":
        reasons = () if plan is None else plan.reasons
        hint = f"stale: {'; '.join(one.describe() for one in reasons)}" if reasons else None
        note = "" if plan is None else plan.note
        return StepRecord(step.name, "done", attempt.elapsed_s, outputs, receipt, hint=hint, note=note)
    committed = pasts.committed(step)
    if attempt.status == "running" and alive:
        return StepRecord(step.name, "running", 0.0, outputs, committed=committed)
    status: StepStatus = "failed" if attempt.status == "failed" else "interrupted"
    error = "its run ended before the step did" if attempt.status == "running" else attempt.error
    return StepRecord(
        step.name,
        status,
        attempt.elapsed_s,
        outputs,
        receipt,
        error,
        attempt.hint,
        committed=committed,
        note="" if plan is None else plan.note,
        is_refused=plan is not None and plan.is_refused,
    )
