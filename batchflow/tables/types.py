"""Types of columns: from the text that Arrow writes to Arrow's type.

Everything that Arrow has a short name for, and beside that ``decimal128(10, 2)``, ``timestamp[us, tz=UTC]``,
``list<item: T>`` and ``struct<a: T, b: U>``, whose names must not hold ``<>,:``.
"""

from __future__ import annotations

import re

import pyarrow as pa

_DECIMAL = re.compile(r"decimal(128|256)\((\d+), *(-?\d+)\)")
_ZONED = re.compile(r"timestamp\[(s|ms|us|ns), *tz=([\w+:/-]+)\]")
_RESERVED = frozenset("<>,:")


def type_of(text: str) -> pa.DataType:
    """Raises ``ValueError`` for what is no type, or none that can be told by its name."""
    text = text.strip()
    if match := _DECIMAL.fullmatch(text):
        make = pa.decimal128 if match[1] == "128" else pa.decimal256
        return make(int(match[2]), int(match[3]))
    if match := _ZONED.fullmatch(text):
        return pa.timestamp(match[1], tz=match[2])
    if text.startswith("list<") and text.endswith(">"):
        return pa.list_(type_of(text[5:-1].removeprefix("item:")))
    if text.startswith("struct<") and text.endswith(">"):
        fields = [part.partition(":") for part in _parts(text[7:-1])]
        return pa.struct([pa.field(name.strip(), type_of(rest)) for name, _, rest in fields])
    return pa.type_for_alias(text)


def can_be_named(name: str) -> bool:
    """Whether a field of this name can stand in the text of a type."""
    return bool(name) and name == name.strip() and not _RESERVED & set(name)


def _parts(text: str) -> list[str]:
    """``text`` cut at the commas that are in no brackets."""
    parts, depth, begin = [], 0, 0
    for i, character in enumerate(text):
        depth += (character in "<([") - (character in ">)]")
        if character == "," and depth == 0:
            parts.append(text[begin:i])
            begin = i + 1
    return [*parts, text[begin:]] if text.strip() else []
