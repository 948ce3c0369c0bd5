"""Sorting more rows than memory holds: runs that are sorted one by one, and the merge of them, by whole arrays.

A run is kept as messages of Arrow's IPC format, one behind another, in a file that all runs share; of each run its
distinct keys and how many rows each has stay in memory.  From these alone the merge knows where every row goes, so it
copies ranges of rows and compares none of them: memory is for the distinct keys of every run, one message of each run,
and one block of what is written.

Invariant: the order of rows with equal keys is that in which they were added.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from batchflow.private import create_private
from batchflow.tables.row_keys import as_json, check_keys, codes_of, comparable

_RUN_SHARE = 4
"""Of the memory: while a run is sorted, its rows are there as they came, joined, and, in parts, sorted."""
_MESSAGES = 32
"""In a run; the merge holds one of each run at a time."""
_MESSAGE_SIZE_MIN = 64 << 10
_BLOCK_SIZE_MAX = 4 << 20


@dataclass(frozen=True)
class _Run:
    """Rows in the order of their keys."""

    keys: pa.Table
    """The distinct ones, in order."""
    counts: NDArray[np.int64]
    """How many rows each has."""
    messages: list[tuple[int, int, int]]
    """Place and length in the shared file, and how many rows."""


class Runs:
    """Rows are added, then ``merge`` writes all of them, once."""

    def __init__(self, path: Path, keys: Sequence[str], memory: int) -> None:
        """``path``: a new file, gone with this object; ``keys``: columns; ``memory``: bytes, more or less."""
        self._keys = tuple(keys)
        self._memory = memory
        self._file = os.fdopen(create_private(path, os.O_RDWR), "wb")
        path.unlink()
        self._schema: pa.Schema | None = None
        self._waiting: list[pa.Table] = []
        self._waiting_size = 0
        self._runs: list[_Run] = []
        self._row_count = 0
        self._size = 0

    def close(self) -> None:
        """Give the file back, and the room that it takes."""
        self._file.close()

    def add(self, table: pa.Table) -> None:
        """Raises ``DatasetError`` if a key is no column, or nothing that rows can be split by."""
        if self._schema is None:
            self._schema = pa.schema([pa.field(one.name, _plain(one.type)) for one in table.schema])
            check_keys(self._schema, self._keys)
        if table.num_rows:
            table = table.cast(self._schema)
            self._waiting.append(table)
            self._waiting_size += table.nbytes
        if self._waiting_size >= self._memory // _RUN_SHARE:
            self._spill()

    def merge(self, file: BinaryIO) -> tuple[list[list[int]], list[dict[str, Any]]]:
        """Write the schema and then all rows; returns begin, end and row count of each key, and what the keys are."""
        self._spill()
        self._file.flush()
        if self._schema is None or not self._runs:
            return [], []
        begin = end = file.write(self._schema.serialize())
        merge = _Merge(self._runs, self._schema, self._file.fileno())
        size = max(1, min(_BLOCK_SIZE_MAX, self._memory // _RUN_SHARE))
        pieces: list[list[int]] = []
        row = row_of_begin = 0
        for rows, ends_key in merge.parts(max(1, size * self._row_count // max(1, self._size))):
            for batch in rows.to_batches():
                end += file.write(batch.serialize())
            row += rows.num_rows
            if ends_key:
                pieces.append([begin, end, row - row_of_begin])
                begin, row_of_begin = end, row
        return pieces, as_json(merge.keys)

    def _spill(self) -> None:
        """Sort what waits, and put it into the file as one run."""
        if not self._waiting:
            return
        table = pa.concat_tables(self._waiting).combine_chunks()
        self._waiting, self._waiting_size = [], 0
        keys = comparable(table, self._keys)
        codes = codes_of(keys)
        order = np.argsort(codes, kind="stable")
        firsts = _firsts(codes[order])
        row_count, size = table.num_rows, max(1, table.nbytes)
        messages = []
        message_size = max(_MESSAGE_SIZE_MIN, self._memory // _RUN_SHARE // _MESSAGES)
        step = max(1, min(row_count, message_size * row_count // size))
        for start in range(0, row_count, step):
            for batch in table.take(pa.array(order[start : start + step])).combine_chunks().to_batches():
                place = self._file.tell()
                messages.append((place, self._file.write(batch.serialize()), batch.num_rows))
        counts = np.diff(firsts, append=row_count)
        self._runs.append(_Run(keys.take(pa.array(order[firsts])), counts, messages))
        self._row_count += row_count
        self._size += size


class _Merge:
    """Where every row of the runs goes, and the rows in that order.

    A *stretch* is all rows of one key in one run; stretches are in the order of their keys, then of their runs.
    """

    def __init__(self, runs: Sequence[_Run], schema: pa.Schema, descriptor: int) -> None:
        keys = pa.concat_tables([run.keys for run in runs]).combine_chunks()
        codes = codes_of(keys)
        order = np.argsort(codes, kind="stable")
        firsts = _firsts(codes[order])
        self.keys = keys.take(pa.array(order[firsts]))
        """The distinct ones of all runs, in order."""
        self._runs = np.repeat(np.arange(len(runs)), [len(run.counts) for run in runs])[order]
        self._starts = np.concatenate([np.cumsum(run.counts) - run.counts for run in runs])[order]
        self._counts = np.concatenate([run.counts for run in runs])[order]
        self._ends = np.cumsum(self._counts)
        """Of the stretches, in rows of the result."""
        self._key_ends = self._ends[np.append(firsts[1:], len(order)) - 1]
        self._schema = schema
        self._readers = [_RunReader(descriptor, run.messages, schema) for run in runs]

    def parts(self, block_rows: int) -> Iterator[tuple[pa.Table, bool]]:
        """All rows in order, at most so many of one key at a time, and whether the key ends with them."""
        key = 0
        for begin in range(0, int(self._ends[-1]), block_rows):
            end = min(begin + block_rows, int(self._ends[-1]))
            block, start = self._block(begin, end), begin
            while start < end:
                stop = min(end, int(self._key_ends[key]))
                ends_key = stop == self._key_ends[key]
                yield block.slice(start - begin, stop - start), ends_key
                key += ends_key
                start = stop

    def _block(self, begin: int, end: int) -> pa.Table:
        """The rows ``begin`` to ``end`` of the result."""
        first, last = np.searchsorted(self._ends, begin, "right"), np.searchsorted(self._ends, end, "left")
        chosen = slice(first, last + 1)
        runs, starts, counts = self._runs[chosen], self._starts[chosen].copy(), self._counts[chosen].copy()
        cut = begin - (self._ends[first] - counts[0])
        starts[0] += cut
        counts[0] -= cut
        counts[-1] -= self._ends[last] - end
        batches: list[pa.RecordBatch] = []
        places = np.empty_like(starts)
        joined = 0
        for run in np.unique(runs):
            # What a block takes of a run lies side by side in it.
            mine = np.flatnonzero(runs == run)
            low, high = int(starts[mine[0]]), int(starts[mine[-1]] + counts[mine[-1]])
            batches += self._readers[run].rows(low, high)
            places[mine] = starts[mine] + (joined - low)
            joined += high - low
        table = pa.Table.from_batches(batches, self._schema).combine_chunks()
        if len(starts) == 1:
            return table
        rows = np.repeat(places - (np.cumsum(counts) - counts), counts) + np.arange(end - begin)
        return table.take(pa.array(rows)).combine_chunks()


class _RunReader:
    """The rows of one run, asked for from the first to the last."""

    def __init__(self, descriptor: int, messages: Sequence[tuple[int, int, int]], schema: pa.Schema) -> None:
        self._descriptor = descriptor
        self._messages = iter(messages)
        self._schema = schema
        self._batch: pa.RecordBatch | None = None
        self._begin = self._end = 0

    def rows(self, begin: int, end: int) -> list[pa.RecordBatch]:
        found = []
        while begin < end:
            if self._batch is None or begin >= self._end:
                place, length, row_count = next(self._messages)
                message = pa.py_buffer(_read(self._descriptor, place, length))
                self._batch = pa.ipc.read_record_batch(message, self._schema)
                self._begin, self._end = self._end, self._end + row_count
                continue
            stop = min(end, self._end)
            found.append(self._batch.slice(begin - self._begin, stop - begin))
            begin = stop
        return found


def _firsts(codes: NDArray[Any]) -> NDArray[np.int64]:
    """Where another code begins, among sorted ones."""
    return np.flatnonzero(np.append(True, codes[1:] != codes[:-1])).astype(np.int64)


def _plain(kind: pa.DataType) -> pa.DataType:
    """Without a dictionary, of which every batch may have another one."""
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _read(descriptor: int, place: int, length: int) -> bytes:
    parts = []
    while length:
        part = os.pread(descriptor, length, place)
        if not part:
            raise EOFError("the file of runs is shorter than what was written")
        parts.append(part)
        place, length = place + len(part), length - len(part)
    return b"".join(parts)
