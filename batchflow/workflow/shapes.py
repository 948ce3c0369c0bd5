"""Is a table of the right shape?"""

from __future__ import annotations

from collections.abc import Collection
from typing import cast

from batchflow.workflow import names, quick
from batchflow.workflow.diagnostics import Problems, quoted
from batchflow.workflow.document import Document, Loc
from batchflow.workflow.rules import ModelT, Shape

NAME_HINT = "a name has 1 to 64 of the characters a-z 0-9 _ -"


def check_shape(
    shape: Shape[ModelT], table: object, document: Document, loc: Loc, problems: Problems, ignored: Collection[Loc] = ()
) -> ModelT | None:
    """The table's values by attribute, as the model has them; None when something is wrong and was reported.

    Nothing is said about the locations in ``ignored``: their fault is known already.
    """
    if not isinstance(table, dict):
        message = f"expected a table for {owner(loc)}, got {quoted(table)}"
        problems.add("BF010", message, document, loc)
        return None
    try:
        return cast(ModelT, quick.accept(table, shape.keys))
    except quick.DoubtError:
        from batchflow.workflow import schema
        from batchflow.workflow.findings import ask_model

        model: type[ModelT] = getattr(schema, shape.model)
        return ask_model(model, table, document, loc, problems, ignored)


def empty(shape: Shape[ModelT]) -> ModelT:
    """The values of a table in which everything is left out."""
    return cast(ModelT, quick.accept({}, shape.keys))


def check_name(name: str, what: str, document: Document, loc: Loc, problems: Problems) -> bool:
    """Whether a step, dataset or model may have this name; otherwise says so."""
    if names.is_name(name):
        return True
    problems.add("BF014", f"{what} cannot be named {quoted(name)}", document, loc, part="key", hint=NAME_HINT)
    return False


def owner(loc: Loc) -> str:
    """``step `predict```, ``the workflow file``."""
    kinds = {"params": "parameter", "datasets": "dataset", "models": "model", "steps": "step"}
    if len(loc) >= 2 and loc[0] in kinds:
        return f"{kinds[str(loc[0])]} `{loc[1]}`"
    return f"`{loc[0]}`" if loc else "the workflow file"
