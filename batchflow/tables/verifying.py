"""Whether the pieces of a file, each parsed alone, give the rows that the whole file gives in one pass.

The proof is by readers that know nothing of pieces: Python's ``csv``, and lines as Python iterates over them.  Holds a
piece in memory, never the file.
"""

from __future__ import annotations

import csv
import io
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeAlias

from batchflow.tables.dialects import csv_dialect
from batchflow.tables.options import TableOptions
from batchflow.tables.splitting import Pieces
from batchflow.tables.text_files import TextFile, opened

_BLANK = b" \t\r\n"
Row: TypeAlias = Sequence[str] | bytes | None
"""The fields of a record, or a line of JSON; None where there is no row."""


@dataclass(frozen=True)
class Difference:
    """The first row that is not the same; rows and pieces count from 0."""

    row_index: int
    piece_index: int
    in_whole: Row
    in_piece: Row


def find_difference(path: str, options: TableOptions, pieces: Pieces) -> Difference | None:
    """Compare row by row; None: all of them are the same, and each piece has as many as it says.

    Raises ``DatasetError`` or ``ResourceError`` if the file cannot be read.
    """
    with opened(path) as file, _fields_of_any_size():
        whole = _rows_of_whole(file, options)
        row_index = 0
        for piece_index, (begin, end, count) in enumerate(zip(pieces.begins, pieces.ends, pieces.counts, strict=True)):
            rows = list(_rows_of(os.pread(file.fd, end - begin, begin), options))
            # With fewer rows than it says a piece differs at the row that it lacks, with more at the first of them.
            for place in range(max(count, len(rows))):
                expected = next(whole, None)
                found = rows[place] if place < min(count, len(rows)) else None
                if expected is None or expected != found:
                    return Difference(row_index, piece_index, expected, found)
                row_index += 1
        rest = next(whole, None)
    return None if rest is None else Difference(row_index, len(pieces), rest, None)


def _rows_of_whole(file: TextFile, options: TableOptions) -> Iterator[Row]:
    with open(file.path, "rb") as lines:  # noqa: PTH123 - a name that is no text is a name as well
        lines.seek(file.text_begin)
        if options.format == "jsonl":
            yield from (line.strip(_BLANK) for line in lines if line.strip(_BLANK))
            return
        with io.TextIOWrapper(lines, options.encoding, "surrogateescape", newline="") as text:
            rows = (row for row in csv.reader(text, **csv_dialect(options)) if row)
            if options.header:
                next(rows, None)
            yield from rows


def _rows_of(data: bytes, options: TableOptions) -> Iterator[Row]:
    if options.format == "jsonl":
        return (line.strip(_BLANK) for line in data.split(b"\n") if line.strip(_BLANK))
    text = io.StringIO(data.decode(options.encoding, "surrogateescape"), newline="")
    return (row for row in csv.reader(text, **csv_dialect(options)) if row)


@contextmanager
def _fields_of_any_size() -> Iterator[None]:
    before = csv.field_size_limit(sys.maxsize)
    try:
        yield
    finally:
        csv.field_size_limit(before)
