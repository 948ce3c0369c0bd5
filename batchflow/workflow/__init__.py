"""The workflow file: from TOML to the frozen values that the rest of batchflow works with.

The rooms, lowest first; ``values`` is the one that others import, the rest is reached through the names below::

    values codes                              frozen results; the table of error codes
    limits diagnostics document positions     a file's text and tree, faults, and where things stand
    quantities paths shell references         the grammars of single values
    schema shapes supported overrides         the shape of the file, and what is not read yet
    parameters scope declarations scripts     what references can name; code that is only looked at
    parallel_step steps graph collisions build   steps, their order, what they write, the whole

Nothing is imported before one of these names is used: reading a workflow needs pydantic, its values do not.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from batchflow.workflow.build import find_workflow, load_workflow
    from batchflow.workflow.codes import CODES
    from batchflow.workflow.diagnostics import Diagnostic, WorkflowFileError
    from batchflow.workflow.graph import step_order
    from batchflow.workflow.references import readable, render
    from batchflow.workflow.schema import json_schema
    from batchflow.workflow.starting import starter

__all__ = [
    "CODES",
    "Diagnostic",
    "WorkflowFileError",
    "find_workflow",
    "json_schema",
    "load_workflow",
    "readable",
    "render",
    "starter",
    "step_order",
]

_HOMES = {
    "CODES": "codes",
    "Diagnostic": "diagnostics",
    "WorkflowFileError": "diagnostics",
    "find_workflow": "build",
    "json_schema": "schema",
    "load_workflow": "build",
    "readable": "references",
    "render": "references",
    "starter": "starting",
    "step_order": "graph",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
