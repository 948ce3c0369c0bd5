"""What has been seen of a value in JSON Lines, arrays and objects included, and the one type that follows.

As with text (``evidence``), but a number cannot be read as text: what no type holds is an error that says so.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from batchflow.errors import DatasetError
from batchflow.tables.evidence import WIDE, Seen
from batchflow.tables.types import can_be_named

_INT64 = range(-(2**63), 2**63)
_NUMBERS = Seen.INTEGER | Seen.LONG_INTEGER | Seen.DOUBLE
_NAMES = {
    "bool": "true or false",
    "number": "numbers",
    "string": "strings",
    "array": "arrays",
    "object": "objects",
    "huge": "integers beyond 64 bits",
}


@dataclass
class JsonSeen:
    """Of all values at one place.  ``element``: of those of its arrays; ``fields``: of those of its objects."""

    seen: Seen = Seen.NOTHING
    is_huge: bool = False
    element: JsonSeen | None = None
    fields: dict[str, JsonSeen] | None = None
    object_count: int = 0
    count: int = field(default=0)
    """Values that are not null."""

    def add(self, value: object) -> None:
        """Take a value into account."""
        if value is None:
            self.seen |= Seen.MISSING
            return
        self.count += 1
        if isinstance(value, bool):
            self.seen |= Seen.BOOL
        elif isinstance(value, int):
            self._add_integer(value)
        elif isinstance(value, float):
            self.seen |= Seen.DOUBLE
        elif isinstance(value, str):
            self.seen |= Seen.TEXT
        elif isinstance(value, list):
            self.element = self.element or JsonSeen()
            for one in value:
                self.element.add(one)
        elif isinstance(value, Mapping):
            self.add_object(value)

    def _add_integer(self, value: int) -> None:
        self.is_huge |= value not in _INT64
        survives = -WIDE <= value <= WIDE or (value in _INT64 and int(float(value)) == value)
        self.seen |= Seen.INTEGER if survives else Seen.INTEGER | Seen.LONG_INTEGER

    def add_object(self, value: Mapping[str, object]) -> None:
        """The same for an object; what it lacks is missing."""
        self.fields = {} if self.fields is None else self.fields
        for key, one in value.items():
            self.fields.setdefault(key, JsonSeen()).add(one)
        self.object_count += 1

    def join(self, other: JsonSeen) -> None:
        """Take all that ``other`` has seen into account."""
        self.seen |= other.seen
        self.is_huge |= other.is_huge
        self.count += other.count
        self.object_count += other.object_count
        if other.element is not None:
            self.element = self.element or JsonSeen()
            self.element.join(other.element)
        if other.fields is not None:
            self.fields = {} if self.fields is None else self.fields
            for key, one in other.fields.items():
                self.fields.setdefault(key, JsonSeen()).join(one)

    def type(self, where: str) -> str:
        """As Arrow writes it.  ``where`` is named in the ``DatasetError`` for values that no type holds."""
        kinds = list(self._kinds())
        if len(kinds) > 1:
            raise _no_type(where, " and ".join(_NAMES[kind] for kind in kinds))
        if kinds == ["number"]:
            return self._number(where)
        if kinds == ["array"] and self.element is not None:
            return f"list<item: {self.element.type(where + '[]')}>"
        if kinds == ["object"] and self.fields is not None:
            return self._struct(where, self.fields)
        return "bool" if kinds == ["bool"] else "string"

    def _kinds(self) -> Iterable[str]:
        if self.seen & Seen.BOOL:
            yield "bool"
        if self.seen & _NUMBERS:
            yield "number"
        if self.seen & Seen.TEXT:
            yield "string"
        if self.element is not None:
            yield "array"
        if self.fields is not None:
            yield "object"

    def _number(self, where: str) -> str:
        if self.is_huge:
            raise _no_type(where, _NAMES["huge"])
        if not self.seen & Seen.DOUBLE:
            return "int64"
        if self.seen & Seen.LONG_INTEGER:
            raise _no_type(where, "fractions, and integers that no double is equal to")
        return "double"

    def _struct(self, where: str, fields: Mapping[str, JsonSeen]) -> str:
        for name in fields:
            if not can_be_named(name):
                raise DatasetError(
                    f"{where}: a key {name!r} inside of an object: only names without <>,: at most can be read",
                    hint="name the keys to read in `columns`, without this one",
                )
        parts = [f"{name}: {one.type(where + '.' + name)}" for name, one in fields.items()]
        return f"struct<{', '.join(parts)}>"


def seen_in_lines(lines: Iterable[bytes]) -> JsonSeen:
    """Of the objects of some lines; lines that are none are left out, they fail when their time comes."""
    seen = JsonSeen()
    for line in lines:
        try:
            value = json.loads(line.decode())
        except ValueError:
            continue
        if isinstance(value, dict):
            seen.add_object(value)
    return seen


def has_missing(column: JsonSeen, row_count: int) -> bool:
    """Whether a column has null, or nothing, in some row."""
    return bool(column.seen & Seen.MISSING) or column.count < row_count


def _no_type(where: str, what: str) -> DatasetError:
    return DatasetError(
        f"{where} holds {what}: no type of a column holds them all",
        hint="name the keys to read in `columns`, without this one, or give the type in `schema` where one fits",
    )
