"""Where what a step leaves lies, and which of it is its own."""

from __future__ import annotations

from pathlib import Path

from batchflow.workflow.values import Step, Workflow


def step_folder(workflow: Workflow, step: str) -> Path:
    """Where log, ``failed.jsonl`` and ``receipt.json`` of a step lie."""
    return workflow.state_folder / "steps" / step


def kept_outputs(step: Step) -> frozenset[str]:
    """The outputs that a parallel step's script makes, over all its runs; the others are copies of reports."""
    if step.parallel is None:
        return frozenset()
    return frozenset(step.outputs) - {step.parallel.failed_to, step.parallel.receipt_to}
