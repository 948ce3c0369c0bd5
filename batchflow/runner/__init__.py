"""Layer 5, the workflow runner: walks the DAG; joins plan, steps, records.

values          what goes in and comes out, frozen
face            `batchflow.run`
workflow_run    one run, from the lock to the record
planning        which steps are stale, and why
freshness       two signatures compared: pure
signature       what a step is made from
code            the part of it that is code: syntax trees, local modules
resume          what becomes of the work of an interrupted parallel step
prospects       the same, told before anything starts
parallel_steps  the same, carried out
status          how the steps stand, for verbs that look
verify          outputs, journals and receipts against each other
steps           one step executed
process         one command, of which nothing outlives it

Nothing is imported before one of the names below is used: what would be done is told without what does it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from batchflow.runner.planning import plan_workflow
    from batchflow.runner.status import last_status, run_history
    from batchflow.runner.verify import verify_workflow
    from batchflow.runner.workflow_run import run_workflow

__all__ = ["last_status", "plan_workflow", "run_history", "run_workflow", "verify_workflow"]

_HOMES = {
    "last_status": "status",
    "plan_workflow": "planning",
    "run_history": "status",
    "run_workflow": "workflow_run",
    "verify_workflow": "verify",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
