"""The file of a typed output, ``parquet`` or ``arrow``, made from the committed stream of its rows.

Run in a process of its own, as the driver imports no Arrow.  What is read is checked against what was committed, what
is written is durable, and no more than a row group is held in memory.

Invariant: the bytes depend on the rows and their order alone, not on how they were committed.  A row group ends where
it has ``GROUP_ROWS`` rows, or before the row with which its values would be larger than ``GROUP_SIZE``.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy
import pyarrow
from pyarrow import compute, ipc, parquet, types

from batchflow._core import crc32c
from batchflow.output.checksums import blocks, read_checksum
from batchflow.output.files import sync_folder
from batchflow.output.typed import Written

if TYPE_CHECKING:
    from numpy.typing import NDArray

GROUP_ROWS = 1 << 17
GROUP_SIZE = 64 << 20
_BLOCK = 1 << 20


class DamagedRowsError(Exception):
    """The stream is not what was committed."""


def write_typed(source: Path, size: int, checksum: int, target: Path, output_format: str) -> Written:
    """Make ``target`` of the first ``size`` bytes of ``source``, which have ``checksum``; durable on return.

    Raises ``DamagedRowsError``, and ``OSError`` as reading and writing do.
    """
    with contextlib.suppress(FileNotFoundError):
        target.unlink()
    flags = os.O_CLOEXEC | os.O_NOFOLLOW
    with (
        os.fdopen(os.open(source, os.O_RDONLY | flags), "rb", buffering=0) as rows,
        os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | flags, 0o666), "wb", buffering=0) as file,
    ):
        # Before Arrow, which believes what it reads, sees any of it.
        if read_checksum(rows.fileno(), 0, size) != checksum:
            raise DamagedRowsError(f"its checksum is wrong, size={size}")
        sink = _Sink(file.fileno())
        row_count = _convert(_Source(rows.fileno(), size), sink, output_format)
        sink.end()
        os.fsync(file.fileno())
    sync_folder(target.parent)
    return Written(sink.size, sink.checksum, row_count)


def _convert(source: _Source, sink: _Sink, output_format: str) -> int:
    stream = ipc.open_stream(pyarrow.PythonFile(source, mode="r")) if source.size else None
    schema = pyarrow.schema([]) if stream is None else stream.schema.remove_metadata()
    row_count = 0
    with _writer(sink, schema, output_format) as writer:
        for group in row_groups(stream or ()):
            writer.write(group)
            row_count += len(group)
    return row_count


class _Writer(Protocol):
    def write(self, group: pyarrow.Table) -> None: ...


@contextlib.contextmanager
def _writer(sink: _Sink, schema: pyarrow.Schema, output_format: str) -> Iterator[_Writer]:
    file = pyarrow.PythonFile(sink, mode="w")
    if output_format == "parquet":
        with parquet.ParquetWriter(file, schema) as writer:
            yield _Groups(writer)
    else:
        with ipc.new_file(file, schema) as writer:
            yield _Batches(writer)


class _Groups:
    def __init__(self, writer: parquet.ParquetWriter) -> None:
        self._writer = writer

    def write(self, group: pyarrow.Table) -> None:
        self._writer.write_table(group, row_group_size=len(group))


class _Batches:
    """Record batches without what lies in memory for nulls, and behind the last row: that is no part of the rows."""

    def __init__(self, writer: ipc.RecordBatchFileWriter) -> None:
        self._writer = writer

    def write(self, group: pyarrow.Table) -> None:
        places = numpy.arange(len(group))
        arrays = [
            column.chunk(0).take(pyarrow.array(places, mask=column.is_null().to_numpy(zero_copy_only=False)))
            for column in group.columns
        ]
        self._writer.write_batch(pyarrow.RecordBatch.from_arrays(arrays, schema=group.schema))


def row_groups(batches: Iterable[pyarrow.RecordBatch]) -> Iterator[pyarrow.Table]:
    """The same rows, in tables of one chunk for each column, cut where the rows alone say so."""
    held: list[pyarrow.RecordBatch] = []
    rows = size = 0
    for batch in batches:
        ends = numpy.cumsum(_sum(map(value_sizes, batch.columns), len(batch)))
        start = 0
        while start < len(batch):
            before = int(ends[start - 1]) if start else 0
            fitting = int(numpy.searchsorted(ends, before + GROUP_SIZE - size, side="right")) - start
            count = min(max(fitting, 0 if rows else 1), GROUP_ROWS - rows, len(batch) - start)
            if count:
                held.append(batch.slice(start, count))
                start, rows, size = start + count, rows + count, size + int(ends[start + count - 1]) - before
            if rows == GROUP_ROWS or start < len(batch):
                yield _joined(held)
                held, rows, size = [], 0, 0
    if held:
        yield _joined(held)


def _joined(batches: list[pyarrow.RecordBatch]) -> pyarrow.Table:
    return pyarrow.Table.from_batches(batches).combine_chunks()


def value_sizes(array: pyarrow.Array) -> NDArray[numpy.int64]:
    """Bytes that each value counts for: of texts their own, of lists and structs those of what is in them."""
    kind = array.type
    if types.is_string(kind) or types.is_binary(kind):
        lengths: NDArray[numpy.int64] = compute.fill_null(compute.binary_length(array), 0).to_numpy().astype("i8")
        return lengths
    if types.is_list(kind):
        inner = numpy.concatenate([[0], numpy.cumsum(value_sizes(array.values))])
        ends: NDArray[numpy.int64] = inner[array.offsets.to_numpy()]
        return numpy.diff(ends)
    if types.is_struct(kind):
        return _sum((value_sizes(field) for field in array.flatten()), len(array))
    try:
        width = max(1, kind.bit_width // 8)
    except ValueError:
        width = 8
    return numpy.full(len(array), width)


def _sum(sizes: Iterable[NDArray[numpy.int64]], count: int) -> NDArray[numpy.int64]:
    total = numpy.zeros(count, numpy.int64)
    for one in sizes:
        total += one
    return total


class _Source:
    """The first ``size`` bytes of a file, for Arrow to read from the first to the last."""

    closed = False

    def __init__(self, descriptor: int, size: int) -> None:
        self.size = size
        self._descriptor = descriptor
        self._position = 0

    def read(self, size: int = -1) -> bytes:
        left = self.size - self._position
        wanted = left if size < 0 else min(size, left)
        content = b"".join(blocks(self._descriptor, self._position, wanted, wanted))
        self._position += len(content)
        return content


class _Sink:
    """A file that Arrow writes from the first byte to the last, ``end`` included, in blocks."""

    closed = False

    def __init__(self, descriptor: int) -> None:
        self.size = self.checksum = 0
        self._descriptor = descriptor
        self._held = bytearray()

    def write(self, data: Any) -> int:  # noqa: ANN401
        size = len(data)
        self._held += data
        self.size += size
        if len(self._held) >= _BLOCK:
            self.end()
        return size

    def end(self) -> None:
        """Write what was kept back."""
        self.checksum = crc32c(self._held, self.checksum)
        left = memoryview(bytes(self._held))
        self._held.clear()
        while len(left):
            left = left[os.write(self._descriptor, left) :]

    def tell(self) -> int:
        return self.size
