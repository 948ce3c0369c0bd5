"""Keys of the format that this version refuses, each with its position, instead of silently doing without them."""

from __future__ import annotations

from typing import Any

from batchflow.workflow.diagnostics import Problems
from batchflow.workflow.document import Document, Loc, Tree

FILE_KEYS = frozenset({"profiles", "environments", "resources"})
DATASET_KEYS = frozenset({"cache", "follow_symlinks"})
STEP_KEYS = frozenset(
    {"matrix", "exclude", "include", "each", "foreach", "when", "incremental", "keep", "triggers", "retries", "timeout"}
    | {"resources", "log", "environment"}
)
PARALLEL_KEYS = frozenset({"environment", "compat"})


def without_unsupported(document: Document, problems: Problems) -> Tree:
    """The document's tree without the keys that are not yet supported; each one is reported."""
    tree: Tree = _without(document.tree, FILE_KEYS, document, (), problems)
    datasets = tree.get("datasets")
    if isinstance(datasets, dict):
        tree["datasets"] = {
            name: _without(table, DATASET_KEYS, document, ("datasets", name), problems)
            for name, table in datasets.items()
        }
    steps = tree.get("steps")
    if isinstance(steps, dict):
        tree["steps"] = {name: _step(table, document, ("steps", name), problems) for name, table in steps.items()}
    return tree


def _step(table: Any, document: Document, loc: Loc, problems: Problems) -> Any:  # noqa: ANN401
    step = _without(table, STEP_KEYS, document, loc, problems)
    if not isinstance(step, dict) or not isinstance(step.get("parallel"), dict):
        return step
    loc = (*loc, "parallel")
    parallel = _without(step["parallel"], PARALLEL_KEYS, document, loc, problems)
    nodes = parallel.get("nodes")
    if isinstance(nodes, int) and nodes > 1:
        problems.add("BF015", "more than one node is not yet supported", document, (*loc, "nodes"))
        del parallel["nodes"]
    return step | {"parallel": parallel}


def _without(
    table: Any,  # noqa: ANN401
    keys: frozenset[str],
    document: Document,
    loc: Loc,
    problems: Problems,
) -> Any:  # noqa: ANN401
    if not isinstance(table, dict):
        return table
    for key in sorted(keys & table.keys()):
        problems.add("BF015", f"`{key}` is not yet supported", document, (*loc, key), part="key")
    return {key: value for key, value in table.items() if key not in keys}
