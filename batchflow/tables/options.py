"""What a dataset declares about its tables.  Frozen, and made of what JSON can carry: it travels to workers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

TableFormat: TypeAlias = Literal["csv", "jsonl", "parquet", "arrow"]
FrameKind: TypeAlias = Literal["pandas", "arrow", "polars"]
"""What ``run()`` gets."""

NULL_VALUES = ("", "NA", "N/A", "NaN", "nan", "NULL", "null", "None", "n/a", "#N/A", "<NA>")
"""What stands for a missing value; in columns of text, and of more than one column, where it is not quoted."""
SAMPLE_ROWS = 10_000
FIELD_SIZE_MAX = 64 << 20


@dataclass(frozen=True)
class TableOptions:
    """The keys of ``[datasets.NAME]`` with a ``table``; what does not concern the format is as by default."""

    format: TableFormat
    delimiter: str = ","
    """One ASCII character; a tab for files named ``.tsv``."""
    quote: str | None = '"'
    """None: no character quotes."""
    escape: str | None = None
    """Takes the meaning off the next character, as a backslash may; None: quotes are doubled (RFC 4180)."""
    header: bool = True
    """The first record of every file names the columns; without it they are ``0``, ``1``, …"""
    encoding: str = "utf-8"
    """``utf-8`` or one whose first 128 characters are those of ASCII, a byte each."""
    null_values: tuple[str, ...] = NULL_VALUES
    columns: tuple[str, ...] | None = None
    """Those to read, in this order; None: all."""
    schema: Mapping[str, str] = field(default_factory=dict)
    """Column → type, as Arrow writes it (``int64``, ``double``, ``string``, ``timestamp[us]``); the others are
    inferred."""
    sample_rows: int = SAMPLE_ROWS
    """Of each file, from its beginning, that types are inferred from."""
    field_size_max: int = FIELD_SIZE_MAX
    """Bytes of one field."""

    def as_json(self) -> dict[str, Any]:
        """For ``from_json``."""
        return dict(vars(self)) | {"schema": dict(self.schema)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> TableOptions:
        lists = {name: values[name] for name in ("null_values", "columns")}
        return cls(**{**values, **{name: None if one is None else tuple(one) for name, one in lists.items()}})
