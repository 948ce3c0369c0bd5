"""Secrets that stand in the workflow file itself: each is a warning, and from then on nothing of ours shows it.

A secret is a text under a name that says so, but for names of inputs and outputs, whose values are paths; or a text
that has one in it, such as a link with a password.  A value that is taken from elsewhere, ``${…}``, is none.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from batchflow.redaction import asks_for_secret, hide, names_secret, secrets_in
from batchflow.workflow.codes import SECRET_IN_FILE
from batchflow.workflow.diagnostics import Diagnostic
from batchflow.workflow.document import Document, Loc

_PATHS = frozenset({"inputs", "outputs", "datasets", "models", "environments"})
_NO_SECRETS = frozenset({"help", "name", "type", "pattern", "unit"})
"""Keys that describe something else."""


def note_secrets(document: Document) -> tuple[Diagnostic, ...]:
    """Hide every secret of the file; one warning for each key that holds one."""
    found: dict[Loc, None] = {}
    before: object = None
    for loc, value in _leaves(document.tree):
        place = _declaration(loc)
        inner = _secrets(place, loc, value)
        if isinstance(loc[-1], int) and loc[-1] > 0 and asks_for_secret(before):
            inner = [str(value)] if value and "${" not in str(value) else []
        before = value
        if inner and document.origin_of(loc) is None:
            document.secrets.update(inner)
            for secret in inner:
                hide(secret)
            found[place] = None
    return tuple(_warning(document, place) for place in found)


def _warning(document: Document, place: Loc) -> Diagnostic:
    shown = ".".join(str(part) for part in place)
    if place[0] == "params":
        name = str(place[1])
        hint = (
            f'give it a type instead of a default, and its value by the environment: BATCHFLOW_PARAM_{name.upper()}="…"'
        )
    else:
        hint = "let the code read it from the environment, or name a parameter that is given by the environment"
    return Diagnostic(
        SECRET_IN_FILE, f"a secret stands in the workflow file, in `{shown}`", document.deferred(place), hint
    )


def _secrets(place: Loc, loc: Loc, value: object) -> list[str]:
    """The secrets that a value is or has in it."""
    is_declaration = place[0] == "params" and len(loc) > len(place) and isinstance(loc[len(place)], str)
    if (is_declaration and loc[len(place)] not in ("default", "choices")) or place[-1] in _NO_SECRETS:
        return []
    if isinstance(value, str):
        if "${" in value:
            return secrets_in(value)
        return [value] if value and _is_named(place) else secrets_in(value)
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return [str(value)] if is_number and _is_named(place) else []


def _is_named(place: Loc) -> bool:
    return not _PATHS.intersection(place[:-1]) and names_secret(str(place[-1]))


def _declaration(loc: Loc) -> Loc:
    """The key whose name says what a value is: of elements of arrays and of a parameter's declaration the one above."""
    if loc[0] == "params":
        return loc[:2]
    last = max(index for index, part in enumerate(loc) if isinstance(part, str))
    return loc[: last + 1]


def _leaves(tree: dict[str, Any]) -> Iterator[tuple[Loc, object]]:
    """Every value that is neither table nor array, in order, with its location; without recursion."""
    waiting: list[tuple[Loc, Any]] = [((), tree)]
    while waiting:
        loc, value = waiting.pop()
        if isinstance(value, (dict, list)):
            pairs = list(value.items() if isinstance(value, dict) else enumerate(value))
            waiting.extend(((*loc, key), one) for key, one in reversed(pairs))
        else:
            yield loc, value
