"""Typed rows, those of ``parquet`` and ``arrow`` outputs: what names their columns, in a form that all processes read.

The rows travel as messages of an Arrow stream, and its first message, the schema, names the columns.  Whoever makes it
puts the names and types into its metadata as text, so that the driver, which imports no Arrow, can say what differs.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

TYPED_FORMATS = ("parquet", "arrow")
_MARK = b"batchflow-columns "
_GUESSED = "string"
"""The type of a column in which every value is missing and nobody said what they would be."""


def schema_metadata(columns: Sequence[tuple[str, str]]) -> dict[bytes, bytes]:
    """What goes into the metadata of a schema: name and type of each column."""
    return {b"batchflow": _MARK + json.dumps(columns, ensure_ascii=True).encode()}


def difference(expected: bytes, got: bytes) -> str:
    """In words, how the columns of two schema messages differ; empty where there is no telling."""
    before, now = _columns(expected), _columns(got)
    if before is None or now is None:
        return ""
    for name in [*before, *now]:
        if before.get(name) != now.get(name):
            return _column_difference(name, before.get(name), now.get(name))
    return f"the columns have another order, expected {list(before)}, got {list(now)}"


def _column_difference(name: str, before: str | None, now: str | None) -> str:
    if now is None:
        return f"there is no column {name!r}"
    if before is None:
        return f"there is a column {name!r} more"
    text = f"column {name!r} is of type {now}, expected {before}"
    if _GUESSED in (before, now):
        text += " (one of nothing but missing values counts as string, unless it has a type)"
    return text


def _columns(message: bytes) -> Mapping[str, str] | None:
    _, mark, rest = message.partition(_MARK)
    if not mark:
        return None
    try:
        columns, _ = json.JSONDecoder().raw_decode(rest.decode("latin-1"))
        return {str(name): str(kind) for name, kind in columns}
    except (ValueError, TypeError):
        return None
