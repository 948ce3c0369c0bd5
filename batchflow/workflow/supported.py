"""Keys of the format that this version refuses, each with its position, instead of silently doing without them."""

from __future__ import annotations

from typing import Any

from batchflow.workflow.diagnostics import Problems
from batchflow.workflow.document import Document, Loc, Tree

TABLES = True
"""Whether parallel steps take tables."""

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
            name: _dataset(table, document, ("datasets", name), problems) for name, table in datasets.items()
        }
    steps = tree.get("steps")
    if isinstance(steps, dict):
        tree["steps"] = {name: _step(table, document, ("steps", name), problems) for name, table in steps.items()}
    return tree


def _dataset(table: Any, document: Document, loc: Loc, problems: Problems) -> Any:  # noqa: ANN401
    """None for a dataset of tables: what else it may lack is of no interest."""
    refused = DATASET_KEYS if TABLES else DATASET_KEYS | {"table"}
    rest = _without(table, refused, document, loc, problems)
    return None if not TABLES and isinstance(table, dict) and "table" in table else rest


def _step(table: Any, document: Document, loc: Loc, problems: Problems) -> Any:  # noqa: ANN401
    step = _without(table, STEP_KEYS, document, loc, problems)
    if not isinstance(step, dict) or not isinstance(step.get("parallel"), dict):
        return step
    loc = (*loc, "parallel")
    refused = PARALLEL_KEYS if TABLES else PARALLEL_KEYS | {"as"}
    parallel = _without(step["parallel"], refused, document, loc, problems)
    for key, why in _unsupported_values(parallel).items():
        problems.add("BF015", f"{why} not yet supported", document, (*loc, key))
        del parallel[key]
    return step | {"parallel": parallel}


def _unsupported_values(parallel: Tree) -> dict[str, str]:
    """Keys whose value is of a later version, with the beginning of the message."""
    found = {}
    nodes, size = parallel.get("nodes"), parallel.get("mini_batch_size")
    if isinstance(nodes, int) and nodes > 1:
        found["nodes"] = "more than one node is"
    if not TABLES and isinstance(size, str) and "$" not in size and any(unit in size.lower() for unit in ("b", "rows")):
        found["mini_batch_size"] = "a mini_batch_size in bytes or rows is for tables, which are"
    return found


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
