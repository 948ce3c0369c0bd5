"""Are the files there that no step makes?  The one place that asks the disk about inputs and models."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from batchflow.workflow.diagnostics import did_you_mean
from batchflow.workflow.document import Loc
from batchflow.workflow.graph import Node
from batchflow.workflow.scope import Scope
from batchflow.workflow.values import Output

LOOKED_AT_MAX = 1000
"""Names of a folder that are compared with a missing one."""


def check_presence(nodes: Iterable[Node], scope: Scope) -> None:
    """Report inputs and models that do not exist and that no step makes; datasets are listed when a step runs."""
    outputs = {str(one.path): one for outputs in scope.outputs.values() for one in outputs.values() if one is not None}
    models = set()
    for name, model in scope.models.items():
        if model is None:
            continue
        models.add(str(model.path))
        if not model.path.exists() and not _made(str(model.path), outputs):
            message = f"model `{name}`: {model.path} does not exist, and no step makes it"
            loc: Loc = ("models", name, "path")
            scope.problems.add("BF054", message, scope.document, loc, hint=_near(model.path))
    for node in nodes:
        for one in node.inputs:
            path = one.patterns[0]
            if one.kind == "dataset" or one.producer is not None or path in models or _made(path, outputs):
                continue
            if Path(path).is_dir() if path.endswith("/") else Path(path).exists():
                continue
            what = "is not a folder" if Path(path).exists() else "does not exist, and no step makes it"
            loc = ("steps", node.name, "inputs", one.name)
            scope.problems.add(
                "BF050", f"input `{one.name}`: {path} {what}", scope.document, loc, hint=_near(Path(path))
            )


def _made(path: str, outputs: Mapping[str, Output]) -> bool:
    """Whether a path is an output of a step, or inside a folder that is one."""
    path = path.rstrip("/")
    candidates = [path, *map(str, Path(path).parents)]
    return any(one in outputs and (one == path or outputs[one].is_folder) for one in candidates)


def _near(path: Path) -> str | None:
    """A name beside the path that may have been meant."""
    try:
        with os.scandir(path.parent) as entries:
            names = [entry.name for entry, _ in zip(entries, range(LOOKED_AT_MAX), strict=False)]
    except (OSError, ValueError):
        return None
    hint = did_you_mean(path.name, names)
    return hint if hint is not None and hint.startswith("did") else None
