"""Where the pieces of a CSV or JSON Lines file begin, and where records are inside a piece.

Reads bytes, never a value.  Invariant: the pieces of a file follow each other without a gap, each begins with a record,
and together they have every record once; the byte order mark and the header are in none.  Which pieces these are
depends on the bytes and the options alone.

A piece may begin with the bytes of a byte order mark, where files were joined: they are part of its first value.
"""

from __future__ import annotations

import os
from array import array
from dataclasses import dataclass
from typing import Literal

from batchflow import _core
from batchflow.tables.dialects import core_dialect
from batchflow.tables.header import first_record
from batchflow.tables.options import TableOptions
from batchflow.tables.problems import bare_quotes_warning, refusal
from batchflow.tables.text_files import TextFile, opened


@dataclass(frozen=True)
class Pieces:
    """Of one file: bytes ``begins[i]`` to ``ends[i]`` hold ``counts[i]`` records, and blank lines behind them."""

    begins: array[int]
    ends: array[int]
    counts: array[int]
    warnings: tuple[str, ...] = ()
    exact_by: Literal["parity", "automaton"] = "parity"
    """How the borders were made sure of: by the parity of quotes alone, or, for parts of it, by reading each byte."""

    def __len__(self) -> int:
        return len(self.begins)

    @property
    def record_count(self) -> int:
        return sum(self.counts)


def split_file(path: str, options: TableOptions, *, size: int = 0, rows: int = 0, threads: int = 1) -> Pieces:
    """Split a file into pieces of ``size`` bytes, or a few more, or of ``rows`` records; with neither, into one.

    The last piece of a file may be smaller; a file without records has none.  Raises ``DatasetError`` with line and
    byte if the file cannot be split exactly, ``ResourceError`` if the machine cannot read it.
    """
    with opened(path) as file:
        begin = file.text_begin
        if options.format == "csv" and options.header:
            begin += len(first_record(file, options))
        found = _core.split_records(
            file.fd, begin, max(begin, file.size), size=size, rows=rows, threads=threads, **core_dialect(options)
        )
        if found.problem is not None:
            raise refusal(path, options, *found.problem)
        file.check_unchanged()
        warnings = _warnings(file, options, found)
    ends = found.begins[1:]
    if found.begins:
        ends.append(file.size)
    return Pieces(found.begins, ends, found.counts, warnings, found.exact_by)


def find_records(data: bytes, options: TableOptions, skip: int, count: int) -> tuple[int, int]:
    """The bytes, as ``(begin, end)``, that records ``skip`` to ``skip + count`` of a piece are in, which is ``data``.

    Blank lines behind them are included.  Raises ``ValueError`` if the piece has fewer records, or is damaged.
    """
    begin, end, seen, problem = _core.record_range(data, skip, count, **core_dialect(options))
    if problem is not None:
        raise ValueError(f"{problem[0]} at byte {problem[1]:,} of the piece")
    if seen < skip + count:
        raise ValueError(f"expected {skip + count:,} records in the piece, found {seen:,}")
    return begin, end


def _warnings(file: TextFile, options: TableOptions, found: _core.RecordSplit) -> tuple[str, ...]:
    if not found.notes:
        return ()
    places = [(offset, line) for _, offset, line in found.notes]
    is_escaped = options.escape is None and os.pread(file.fd, 1, places[0][0] - 1) == b"\\"
    return (bare_quotes_warning(file.path, places, found.note_count, is_escaped=is_escaped),)
