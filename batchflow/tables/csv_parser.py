"""CSV to Arrow: pyarrow's reader, used so that it reads what Python's ``csv`` does, or fails.

All bytes are one block for it: at the border of two blocks it loses a byte of a line break in quotes, and a block is
what it parses without searching for its end.  Three more things are seen to here.  It takes a byte order mark off the
beginning, which in the middle of a file is data; it forgets, at an end without a line break, that the last field is not
quoted; and it takes numbers as they come, with zeros and blanks in front and in hexadecimal, where a type was inferred
from numbers without: these are looked at as text.

What stands for a missing value is text where it is quoted and its column is text; in other columns it is missing there
too, since programs that quote everything quote it as well.  So is it in a table of one column, where a missing value
cannot be written but in quotes.
"""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Mapping, Sequence

import pyarrow as pa
from pyarrow import csv as arrow_csv

from batchflow import _core
from batchflow.tables.dialects import csv_dialect
from batchflow.tables.evidence import FALSE, TRUE, beyond, first_misfit
from batchflow.tables.options import TableOptions
from batchflow.tables.schema import Schema
from batchflow.tables.types import type_of

_KINDS = {"int64": 1, "double": 2}
"""For ``_core.has_odd_numbers``."""
_TEXT_TYPES = ("string", "large_string", "binary", "large_binary")
BLOCK_SIZE_MAX = (1 << 31) - (1 << 16)
"""Bytes that pyarrow can take at once, with some room for what is put around them."""


def is_utf8(encoding: str) -> bool:
    """Whether bytes in this encoding need no change."""
    return codecs.lookup(encoding).name in ("utf-8", "utf-8-sig")


def as_utf8(data: bytes, encoding: str, errors: str = "strict") -> bytes:
    """The same text.  Raises ``UnicodeDecodeError``."""
    return data if is_utf8(encoding) else data.decode(encoding, errors).encode()


class CsvParser:
    """Reads records that are whole, without a header."""

    def __init__(self, options: TableOptions, schema: Schema) -> None:
        self._options = options
        self._names = list(schema.names)
        self._wanted = [column.name for column in schema.columns]
        self._inferred = {c.name: c.type for c in schema.columns if c.type in ("int64", "double") and not c.is_given}
        self._marks = ord(options.delimiter), -1 if options.quote is None else ord(options.quote)
        self._kinds = bytes(_KINDS.get(self._inferred.get(name, ""), 0) for name in schema.names)
        self._types = {column.name: type_of(column.type) for column in schema.columns}
        self._parsing = arrow_csv.ParseOptions(
            delimiter=options.delimiter,
            quote_char=options.quote or False,
            double_quote=True,
            escape_char=options.escape or False,
            newlines_in_values=True,
        )
        self._texts = [name for name in self._wanted if len(self._names) > 1 and str(self._types[name]) in _TEXT_TYPES]
        self._others = [name for name in self._wanted if name not in set(self._texts)]
        self._conversion = self._typed(self._wanted)
        self._has_quoted_missing = False
        """In some piece so far, in a column that is no text: then reading all columns alike is not tried any more."""

    def parse(self, data: bytes, columns: Sequence[str] | None = None) -> pa.Table:
        """The columns of the schema, or those that are named.  Raises ``ArrowException``, ``UnicodeDecodeError``."""
        data = as_utf8(data, self._options.encoding)
        if columns is not None:
            return self._read(data, self._typed(columns))
        if not self._has_quoted_missing:
            try:
                return self._read(data, self._conversion)
            except pa.ArrowInvalid:
                if not self._may_have_quoted_missing(data):
                    raise
        parts = [self._read(data, self._typed(some)) for some in (self._others, self._texts)]
        self._has_quoted_missing = True
        found = {name: part.column(name) for part in parts for name in part.column_names}
        return pa.table([found[name] for name in self._wanted], self._wanted)

    def texts(self, data: bytes, columns: Sequence[str]) -> pa.Table:
        """Some columns as they stand in the file: UTF-8 that has not been looked at, null where missing."""
        return self._read(
            as_utf8(data, self._options.encoding), self._conversion_of(dict.fromkeys(columns, pa.binary()))
        )

    def sample(self, data: bytes, columns: Sequence[str]) -> pa.Table:
        """As ``texts``; records of another length are left out, they fail when their time comes."""
        parsing = arrow_csv.ParseOptions(
            delimiter=self._parsing.delimiter,
            quote_char=self._parsing.quote_char,
            double_quote=True,
            escape_char=self._parsing.escape_char,
            newlines_in_values=True,
            invalid_row_handler=lambda row: "skip",
        )
        data = as_utf8(data, self._options.encoding, "replace")
        return self._read(data, self._conversion_of(dict.fromkeys(columns, pa.binary())), parsing)

    def misfit(self, data: bytes, table: pa.Table) -> tuple[int, str] | None:
        """Row and column of a value that has been read as a number, but does not look like those of the sample."""
        is_odd = self._has_odd_numbers(data)
        suspects = [
            name for name, type in self._inferred.items() if is_odd or (type == "double" and beyond(table.column(name)))
        ]
        if suspects:
            texts = self.texts(data, suspects)
            for name in suspects:
                row = first_misfit(texts.column(name), self._inferred[name])
                if row is not None:
                    return row, name
        return None

    def _has_odd_numbers(self, data: bytes) -> bool:
        """Whether there may be an inferred column with a number in another form than those of the sample."""
        if not self._inferred:
            return False
        if self._options.escape is not None and self._options.escape.encode() in data:
            return True
        return _core.has_odd_numbers(data, self._kinds, delimiter=self._marks[0], quote=self._marks[1])

    def problem_of(self, record: bytes) -> str | None:
        """What is wrong with the shape of one record."""
        expected, got = len(self._names), len(self._fields(record))
        return None if expected == got else f"expected {expected} {'field' if expected == 1 else 'fields'}, got {got}"

    def value_of(self, record: bytes, name: str) -> str:
        """What one record has in a column."""
        return self._fields(record)[self._names.index(name)]

    def _fields(self, record: bytes) -> list[str]:
        encoding = "utf-8" if is_utf8(self._options.encoding) else self._options.encoding
        text = record.decode(encoding, "backslashreplace")
        previous = csv.field_size_limit(max(csv.field_size_limit(), len(text)))  # it is the process's
        try:
            rows = csv.reader(io.StringIO(text, newline=""), **csv_dialect(self._options))
            return next((row for row in rows if row), [])
        finally:
            csv.field_size_limit(previous)

    def _read(
        self, data: bytes, conversion: arrow_csv.ConvertOptions, parsing: arrow_csv.ParseOptions | None = None
    ) -> pa.Table:
        if data.startswith(codecs.BOM_UTF8):
            data = b"\n" + data
        if not data.endswith((b"\n", b"\r")):
            data += b"\n"
        reading = arrow_csv.ReadOptions(use_threads=False, block_size=len(data) + 1, column_names=self._names)
        return arrow_csv.read_csv(
            pa.BufferReader(data),
            read_options=reading,
            parse_options=parsing or self._parsing,
            convert_options=conversion,
        )

    def _may_have_quoted_missing(self, data: bytes) -> bool:
        is_quoted = self._options.quote is not None and self._options.quote.encode() in data
        return is_quoted and bool(self._texts) and bool(self._others)

    def _typed(self, columns: Sequence[str]) -> arrow_csv.ConvertOptions:
        """Text is missing in quotes, unless there are texts among the columns."""
        types = {name: self._types[name] for name in columns}
        return self._conversion_of(types, may_quote_missing=set(self._texts).isdisjoint(columns))

    def _conversion_of(
        self, types: Mapping[str, pa.DataType], may_quote_missing: bool = True
    ) -> arrow_csv.ConvertOptions:
        return arrow_csv.ConvertOptions(
            column_types=types,
            include_columns=list(types),
            null_values=list(self._options.null_values),
            true_values=list(TRUE),
            false_values=list(FALSE),
            strings_can_be_null=True,
            quoted_strings_can_be_null=may_quote_missing,
        )
