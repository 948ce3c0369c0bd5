"""The schema of a table dataset: one for all its files, and what each column is read as.

Plain values without pyarrow: the driver passes a schema on, workers and the scout make sense of its types.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

TYPES_WITHOUT_MISSING = frozenset(("bool", *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64))))
"""What numpy has no missing value for: these are nullable or not, all others always are."""
_NAMES_SHOWN = 20


@dataclass(frozen=True)
class Column:
    """``type`` as Arrow writes it: ``int64``, ``double``, ``string``, ``timestamp[us]``, ``list<item: double>``."""

    name: str
    type: str
    nullable: bool = True
    """pandas gets ``Int64`` or ``boolean`` instead of ``int64`` or ``bool``, in every mini-batch."""
    is_given: bool = False
    """Declared by the user: read as leniently as Arrow reads.  Of others a value must look like those of the sample."""


@dataclass(frozen=True)
class Schema:
    """``columns``: what is read, in this order."""

    columns: tuple[Column, ...]
    names: tuple[str, ...] = ()
    """Of all columns of a csv file, in its order."""

    def as_json(self) -> dict[str, Any]:
        """For ``from_json``."""
        return {"columns": [asdict(column) for column in self.columns], "names": list(self.names)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Schema:
        return cls(tuple(Column(**column) for column in values["columns"]), tuple(values["names"]))


def given_type(text: str) -> tuple[str, bool]:
    """The type and whether it is nullable, of what a user declares: ``int64`` and ``int64?``."""
    name = text.strip()
    return name.rstrip("?").rstrip(), name.endswith("?")


def header_difference(expected: Sequence[str], names: Sequence[str]) -> str:
    """How the names of a file's columns differ from those of the first file; empty if they do not."""
    if list(expected) == list(names):
        return ""
    lacking = [name for name in expected if name not in set(names)]
    surplus = [name for name in names if name not in set(expected)]
    parts = [f"it lacks {listed(lacking)}"] if lacking else []
    parts += [f"it has {listed(surplus)} besides"] if surplus else []
    parts = parts or ["it has the same names in another order"]
    return f"{' and '.join(parts)} ({listed(names)} instead of {listed(expected)})"


def type_differences(expected: Mapping[str, str], types: Mapping[str, str]) -> str:
    """The same for names and types of columns, whatever their order."""
    parts = [
        f"column {name!r} is {types[name]} instead of {type}"
        for name, type in expected.items()
        if types.get(name, type) != type
    ]
    lacking, surplus = (
        [name for name in expected if name not in types],
        [name for name in types if name not in expected],
    )
    parts += [f"it lacks {listed(lacking)}"] if lacking else []
    parts += [f"it has {listed(surplus)} besides"] if surplus else []
    return " and ".join(parts)


def listed(names: Iterable[str]) -> str:
    """``'a', 'b'``; only the first of many."""
    quoted = [repr(name) for name in names]
    more = f" and {len(quoted) - _NAMES_SHOWN} more" if len(quoted) > _NAMES_SHOWN else ""
    return ", ".join(quoted[:_NAMES_SHOWN]) + more


def suggestion(name: str, names: Iterable[str]) -> str | None:
    """A hint for a name that does not exist."""
    close = difflib.get_close_matches(name, list(names), n=1)
    return f"did you mean {close[0]!r}?" if close else None
