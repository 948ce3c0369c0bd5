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
"""

from batchflow.runner.planning import plan_workflow
from batchflow.runner.status import last_status, run_history
from batchflow.runner.verify import verify_workflow
from batchflow.runner.workflow_run import run_workflow

__all__ = ["last_status", "plan_workflow", "run_history", "run_workflow", "verify_workflow"]
