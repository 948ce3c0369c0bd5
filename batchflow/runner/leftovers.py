"""What is left under temporary names by runs of a step whose outputs have other places now.

Invariant: nothing is removed but what the journal of the step says was its own, and no step of the workflow writes now.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from batchflow.output.publish import PendingOutput, discard
from batchflow.runner.signature import output_places
from batchflow.temporary import taken_paths
from batchflow.workflow.values import Workflow


def remove_leftovers(signature: Mapping[str, Any], workflow: Workflow) -> None:
    """Remove what was written for the outputs of ``signature``, with which a step was begun that now begins anew."""
    declared = [output.path for step in workflow.steps.values() for output in step.outputs.values()]
    taken = {*declared, *(name for path in declared for name in taken_paths(path))}
    for path in output_places(signature, workflow.folder).values():
        partial, ordered, _ = taken_paths(path)
        if not any(one == partial or partial in one.parents or one in partial.parents for one in taken):
            discard(PendingOutput(path.name, path, is_folder=False, keeps_name=False))
            if ordered.is_file():
                ordered.unlink()
