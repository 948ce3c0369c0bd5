"""JSON Lines to Arrow: pyarrow's reader, used so that each line is one record, or fails.

pyarrow reads objects one after the other wherever lines end, stops at a NUL byte, takes no more than 100,000 of them at
once and does not look whether text is UTF-8.  So it gets as many lines as it takes, each of which begins with a brace
and ends with one: then no line break is inside an object (there, a comma would have to stand), and as many objects as
lines are one to a line.

Keys that the sample does not have are refused, unless the keys to read are declared: then others are left out, those
inside of objects too.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
from pyarrow import json as arrow_json

from batchflow.tables.csv_parser import as_utf8
from batchflow.tables.evidence import beyond
from batchflow.tables.options import TableOptions
from batchflow.tables.schema import Schema, listed
from batchflow.tables.types import type_of

_LINES_MAX = 1 << 16


class JsonParser:
    """Reads lines that are whole."""

    def __init__(self, options: TableOptions, schema: Schema) -> None:
        self._encoding = options.encoding
        self._fields = {column.name: pa.field(column.name, type_of(column.type)) for column in schema.columns}
        self._doubles = [c.name for c in schema.columns if c.type == "double" and not c.is_given]
        self._wanted = list(self._fields)
        self._unexpected = "error" if options.columns is None else "ignore"

    def parse(self, data: bytes, columns: Sequence[str] | None = None) -> pa.Table:
        """The columns of the schema, or those that are named.  Raises ``ArrowException``, ``UnicodeDecodeError``."""
        wanted = self._wanted if columns is None else list(columns)
        schema = pa.schema([self._fields[name] for name in wanted])
        parts = list(_parts(as_utf8(data, self._encoding)))
        unexpected = self._unexpected if columns is None else "ignore"
        tables = [self._read(part, line_count, schema, unexpected) for part, line_count in parts]
        return pa.concat_tables(tables) if tables else schema.empty_table()

    def misfit(self, data: bytes, table: pa.Table) -> tuple[int, str] | None:
        """Row and column of an integer that has been read as a double it is not equal to."""
        suspects = [name for name in self._doubles if beyond(table.column(name))]
        if suspects:
            lines = (line for line in as_utf8(data, self._encoding).split(b"\n") if line.strip(b" \t\r"))
            for row, values in enumerate(map(json.loads, lines)):
                for name in suspects:
                    value = values.get(name)
                    if isinstance(value, int) and int(float(value)) != value:
                        return row, name
        return None

    def problem_of(self, record: bytes) -> str | None:
        """What is wrong with one line as a whole."""
        try:
            value = json.loads(as_utf8(record, self._encoding).decode())
        except ValueError as error:
            return f"not valid JSON: {error}"
        if not isinstance(value, dict):
            return f"expected an object, got {_kind(value)}"
        surplus = [key for key in value if key not in self._fields]
        if surplus and self._unexpected == "error":
            return f"keys that no row of the sample has: {listed(surplus)}"
        return None

    def value_of(self, record: bytes, name: str) -> str:
        """What one line has in a column, as JSON; empty if nothing."""
        values = json.loads(as_utf8(record, self._encoding).decode())
        return json.dumps(values[name], ensure_ascii=False) if name in values else ""

    def _read(self, data: bytes, line_count: int, schema: pa.Schema, unexpected: str) -> pa.Table:
        if data.startswith(codecs.BOM_UTF8):  # pyarrow would take it off
            raise pa.ArrowInvalid("a byte order mark before a record")
        table = arrow_json.read_json(
            pa.BufferReader(data),
            read_options=arrow_json.ReadOptions(use_threads=False, block_size=len(data) + 1),
            parse_options=arrow_json.ParseOptions(
                explicit_schema=schema, newlines_in_values=False, unexpected_field_behavior=unexpected
            ),
        )
        if table.num_rows != line_count:
            raise pa.ArrowInvalid(f"{table.num_rows} objects in {line_count} lines")
        table = table.select(schema.names)
        table.validate(full=True)
        return table


def _parts(data: bytes) -> Iterator[tuple[bytes, int]]:
    """Lines that pyarrow can be given at once, and how many they are."""
    count = _count_plain_lines(data)
    if count and count <= _LINES_MAX:
        yield data, count
        return
    lines = [line.strip(b" \t\r") for line in data.split(b"\n")]
    lines = [line for line in lines if line]
    if not all(line.startswith(b"{") and line.endswith(b"}") for line in lines):
        raise pa.ArrowInvalid("a line that is no object")
    for begin in range(0, len(lines), _LINES_MAX):
        some = lines[begin : begin + _LINES_MAX]
        yield b"\n".join(some), len(some)


def _count_plain_lines(data: bytes) -> int:
    """How many lines there are if each begins with a brace and ends with one; 0 if some do not."""
    if not data.startswith(b"{") or not data.rstrip(b"\r\n").endswith(b"}"):
        return 0
    characters = np.frombuffer(data, np.uint8)
    breaks = np.flatnonzero(characters == ord("\n"))
    inner = breaks[: np.searchsorted(breaks, len(data) - 1)]
    before = characters[inner - 1]
    last = np.where(before == ord("\r"), characters[inner - 2], before)
    is_plain = np.all(last == ord("}")) and np.all(characters[inner + 1] == ord("{"))
    return len(inner) + 1 if is_plain else 0


def _kind(value: object) -> str:
    if isinstance(value, (str, list)):
        return "a string" if isinstance(value, str) else "an array"
    return "null" if value is None else "true or false" if isinstance(value, bool) else "a number"
