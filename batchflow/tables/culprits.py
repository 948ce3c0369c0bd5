"""Which record, column and value keeps a piece of a text file from being read.

Reading is fast and knows only that something is wrong.  What and where is found afterwards: by halves, down to the
first record that cannot be read alone, then column by column.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from typing import Protocol

import pyarrow as pa

from batchflow.errors import TableError
from batchflow.tables.options import TableOptions
from batchflow.tables.places import Lines
from batchflow.tables.schema import Column, Schema
from batchflow.tables.splitting import find_records

UNREADABLE = (pa.ArrowException, UnicodeDecodeError)
"""What a parser raises."""
CHANGED_HINT = "the file may have changed since it was looked at: run again when it no longer changes"
_VALUE_SHOWN = 100
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


class Parser(Protocol):
    """What the parsers of CSV and JSON Lines have in common."""

    def parse(self, data: bytes, columns: Sequence[str] | None = None) -> pa.Table: ...
    def misfit(self, data: bytes, table: pa.Table) -> tuple[int, str] | None: ...
    def problem_of(self, record: bytes) -> str | None: ...
    def value_of(self, record: bytes, name: str) -> str: ...


class Records:
    """Some consecutive records of a file: ``count`` of them, in the bytes ``data`` that begin at ``begin``."""

    def __init__(self, options: TableOptions, lines: Lines, data: bytes, begin: int, count: int) -> None:
        self._options = options
        self._lines = lines
        self.data = data
        self.begin = begin
        self.count = count

    def some(self, first: int, count: int) -> Records:
        """Some of them.  Raises ``TableError`` if they are not there."""
        begin, end = self._range(first, count)
        return Records(self._options, self._lines, self.data[begin:end], self.begin + begin, count)

    def part(self, first: int, count: int) -> bytes:
        """The bytes of some of them.  Raises ``TableError`` if they are not there."""
        begin, end = self._range(first, count)
        return self.data[begin:end]

    def place(self, row: int) -> str:
        """``data/a.csv:17 (byte 1234)``."""
        return self._lines.place(self.begin + self._range(row, 1)[0])

    def error(self, message: str) -> TableError:
        """About all of them."""
        return TableError(f"{self._lines.place(self.begin)}: {message}", hint=CHANGED_HINT)

    def _range(self, first: int, count: int) -> tuple[int, int]:
        try:
            return find_records(self.data, self._options, first, count)
        except ValueError as error:
            raise self.error(str(error)) from None


class Culprits:
    """Finds what is wrong with records that a parser cannot read, or has read as something else."""

    def __init__(self, parser: Parser, schema: Schema, encoding: str) -> None:
        self._parser = parser
        self._columns = {column.name: column for column in schema.columns}
        self._encoding = encoding

    def unreadable(self, records: Records, error: Exception) -> TableError:
        """``error`` is what the parser made of all of them."""

        def fails(begin: int, end: int) -> bool:
            return not self._is_readable(records.part(begin, end - begin))

        row = first_failing(fails, records.count)
        if row is None:
            return records.error(str(error))
        record, place = records.part(row, 1), records.place(row)
        problem = self._parser.problem_of(record)
        if problem is not None:
            return TableError(f"{place}: {problem}")
        for column in self._columns.values():
            if not self._is_readable(record, [column.name]):
                return self._misfit(place, column, record)
        return TableError(f"{place}: {error}")

    def misfit(self, records: Records, row: int, name: str) -> TableError:
        """A value that its column cannot have."""
        return self._misfit(records.place(row), self._columns[name], records.part(row, 1))

    def missing(self, records: Records, row: int, name: str) -> TableError:
        """No value, where there must be one."""
        return missing_value(records.place(row), self._columns[name])

    def _misfit(self, place: str, column: Column, record: bytes) -> TableError:
        value = self._parser.value_of(record, column.name)
        shown = repr(shortened(value))
        if column.type in ("string", "large_string") and not _is_text(record, self._encoding):
            return TableError(
                f"{place}: column {column.name!r}: not valid {self._encoding}: {shown}",
                hint='correct the file, or declare what it is written in: encoding = "latin-1", or another',
            )
        return TableError(
            f"{place}: column {column.name!r}: expected {column.type}, got {shown}",
            hint=f"correct the file, or declare another type: {declared(column.name, 'string')}",
        )

    def _is_readable(self, data: bytes, columns: Sequence[str] | None = None) -> bool:
        try:
            self._parser.parse(data, columns)
        except UNREADABLE:
            return False
        return True


def missing_value(place: str, column: Column) -> TableError:
    """For a column whose type has no missing value."""
    return TableError(
        f"{place}: column {column.name!r}: a value is missing, and {column.type} has none that says so",
        hint=f"declare it: {declared(column.name, column.type + '?')}",
    )


def shortened(text: str) -> str:
    """A value for a message."""
    return text if len(text) <= _VALUE_SHOWN else f"{text[:_VALUE_SHOWN]}…"


def declared(name: str, type: str) -> str:
    """``schema = { x = "int64?" }``."""
    key = name if _BARE_KEY.fullmatch(name) else json.dumps(name, ensure_ascii=False)
    return f'schema = {{ {key} = "{type}" }}'


def first_failing(fails: Callable[[int, int], bool], count: int) -> int | None:
    """The first of ``count`` records that fails alone, if some do.  ``fails``: whether one of those in a range does."""
    begin, end = 0, count
    while end - begin > 1:
        middle = (begin + end) // 2
        begin, end = (begin, middle) if fails(begin, middle) else (middle, end)
    return begin if count and fails(begin, end) else None


def _is_text(data: bytes, encoding: str) -> bool:
    try:
        data.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True
