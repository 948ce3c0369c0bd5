"""Rows of Parquet and Arrow files, to Arrow.

Of a Parquet file a worker keeps its place: rows that follow those it read last cost no more than themselves, others in
the middle of a row group cost all rows of the group before them.  Of an Arrow file it keeps the last record batch.

What is read is looked at as a whole before anybody uses it: text is UTF-8, offsets lie in their buffers.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate

import pyarrow as pa
from pyarrow import ipc, parquet

from batchflow.errors import TableError
from batchflow.tables.culprits import CHANGED_HINT, missing_value, shortened
from batchflow.tables.options import TableOptions
from batchflow.tables.schema import TYPES_WITHOUT_MISSING, Column, Schema
from batchflow.tables.types import type_of

DAMAGED = (pa.ArrowException, OSError, ValueError, KeyError, IndexError, MemoryError, OverflowError)
"""What pyarrow raises for files that are not as they should be."""
_BATCH_ROWS = 1 << 16
_BUFFER_SIZE = 1 << 20


class ColumnarReader:
    """Reads rows of the files of one dataset."""

    def __init__(self, options: TableOptions, schema: Schema) -> None:
        self._schema = schema
        self._names = [column.name for column in schema.columns]
        self._open = _ParquetRows if options.format == "parquet" else _ArrowRows
        self._file: _ParquetRows | _ArrowRows | None = None

    def read(self, path: str, begin: int, end: int, row_count: int, skip: int, count: int) -> pa.Table:
        """Rows ``begin + skip`` to ``begin + skip + count`` of a file.  Raises ``TableError``."""
        first = begin + skip
        try:
            if self._file is None or self._file.path != path:
                self.close()
                self._file = self._open(path, self._names)
            table = self._file.read(first, first + count)
            table.validate(full=True)
        except DAMAGED as error:
            self.close()
            raise TableError(f"{path}: rows {first} to {first + count} cannot be read: {error}") from None
        if table.num_rows != count:
            raise TableError(f"{path}: row {first + table.num_rows} is not there any more", hint=CHANGED_HINT)
        return pa.table([self._column(path, first, table, column) for column in self._schema.columns], self._names)

    def close(self) -> None:
        """Give the open file back."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _column(self, path: str, first: int, table: pa.Table, column: Column) -> pa.ChunkedArray:
        if column.name not in table.column_names:
            raise TableError(f"{path}: no column {column.name!r} any more", hint=CHANGED_HINT)
        values = table.column(column.name)
        if str(values.type) != column.type:
            values = _cast(path, first, values, column)
        if values.null_count and not column.nullable and column.type in TYPES_WITHOUT_MISSING:
            raise missing_value(f"{path}: row {first + values.is_null().index(True).as_py()}", column)
        return values


def plain_type(type: pa.DataType) -> pa.DataType:
    """What a column is read as: without dictionaries, which differ from one part of a file to the next."""
    return type.value_type if pa.types.is_dictionary(type) else type


def _cast(path: str, first: int, values: pa.ChunkedArray, column: Column) -> pa.ChunkedArray:
    """To the type that was given, or that holds what all files have; never with a loss."""
    try:
        return values.cast(type_of(column.type))
    except (ValueError, pa.ArrowException) as error:
        told, hint = f"{values.type} instead of {column.type}", None if column.is_given else CHANGED_HINT
        for row in range(len(values)) if column.is_given else ():
            try:
                values.slice(row, 1).cast(type_of(column.type))
            except (ValueError, pa.ArrowException):
                value = shortened(repr(values[row].as_py()))
                told = f"expected {column.type}, got {value}"
                raise TableError(f"{path}: row {first + row}: column {column.name!r}: {told}") from None
        raise TableError(f"{path}: column {column.name!r}: {told}: {error}", hint=hint) from None


class _ParquetRows:
    """An open Parquet file, and a place in it."""

    def __init__(self, path: str, names: Sequence[str]) -> None:
        self.path = path
        self._file = parquet.ParquetFile(path, buffer_size=_BUFFER_SIZE, pre_buffer=False, memory_map=False)
        metadata = self._file.metadata
        counts = (metadata.row_group(group).num_rows for group in range(metadata.num_row_groups))
        self._begins = list(accumulate(counts, initial=0))
        """The first row of each row group, and the number of all rows."""
        available = self._file.schema_arrow.names
        self._columns = [name for name in names if name in available]
        self._group = -1
        self._batches: Iterator[pa.RecordBatch] = iter(())
        """Those of the row group that are left."""
        self._rest: pa.RecordBatch | None = None
        """Of the last one, what has not been asked for."""
        self._next = 0
        """The first row of ``_rest``, or of the next batch if there is none."""

    def read(self, begin: int, end: int) -> pa.Table:
        """These rows, or those of them that there are."""
        parts: list[pa.RecordBatch] = []
        while (wanted := max(begin, self._next) if parts else begin) < min(end, self._begins[-1]):
            batch = self._batch(wanted)
            low, high = wanted - self._next, min(end - self._next, batch.num_rows)
            if low < high:
                parts.append(batch.slice(low, high - low))
            self._rest = batch.slice(high) if high < batch.num_rows else None
            self._next += high
        return pa.Table.from_batches(parts) if parts else self._file.schema_arrow.empty_table()

    def close(self) -> None:
        self._batches, self._rest = iter(()), None
        self._file.close()

    def _batch(self, row: int) -> pa.RecordBatch:
        """What comes next in the row group of ``row``, which is in it or behind it."""
        group = bisect_right(self._begins, row) - 1
        if group != self._group or self._next > row:
            self._group, self._next, self._rest = group, self._begins[group], None
            self._batches = self._file.iter_batches(
                _BATCH_ROWS, row_groups=[group], columns=self._columns, use_threads=False
            )
        batch = self._rest if self._rest is not None else next(self._batches, None)
        if batch is None:
            raise ValueError(f"row group {group} has fewer rows than it says")
        return batch


class _ArrowRows:
    """An open Arrow file, and its record batch that was read last."""

    def __init__(self, path: str, names: Sequence[str]) -> None:
        self.path = path
        self._begins = list(accumulate((one.num_rows for one in batches(path, [0])), initial=0))
        """The first row of each record batch, and the number of all rows."""
        self._source = pa.OSFile(path)
        available = ipc.open_file(self._source).schema.names
        fields = [available.index(name) for name in names if name in available]
        options = ipc.IpcReadOptions(use_threads=False, included_fields=fields)
        self._file = ipc.open_file(self._source, options=options)
        self._last: tuple[int, pa.RecordBatch | None] = -1, None

    def read(self, begin: int, end: int) -> pa.Table:
        """These rows, or those of them that there are."""
        parts: list[pa.RecordBatch] = []
        for number in range(bisect_right(self._begins, begin) - 1, len(self._begins) - 1):
            first = self._begins[number]
            if first >= end:
                break
            low, high = max(begin - first, 0), min(end, self._begins[number + 1]) - first
            parts.append(self._batch(number).slice(low, high - low))
        return pa.Table.from_batches(parts) if parts else self._file.schema.empty_table()

    def close(self) -> None:
        self._last = -1, None
        self._source.close()

    def _batch(self, number: int) -> pa.RecordBatch:
        if self._last[0] != number:
            self._last = number, self._file.get_batch(number)
        return self._last[1]


def batches(path: str, fields: Sequence[int]) -> Iterator[pa.RecordBatch]:
    """The record batches of an Arrow file, of these fields alone; their values are not looked at."""
    with pa.memory_map(path) as source:
        names = ipc.open_file(source).schema.names
        options = ipc.IpcReadOptions(use_threads=False, included_fields=[one for one in fields if one < len(names)])
        file = ipc.open_file(source, options=options)
        for number in range(file.num_record_batches):
            yield file.get_batch(number)
