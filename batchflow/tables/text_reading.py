"""Pieces of CSV and JSON Lines files, compressed ones too, to Arrow.

A piece has the rows that the scan counted, of the types of the schema, or the attempt fails: what has changed or does
not fit is never read as something else.
"""

from __future__ import annotations

import os

import pyarrow as pa
import pyarrow.compute as pc

from batchflow.errors import TableError
from batchflow.tables.compressed import compression_of, read_up_to, unpacked
from batchflow.tables.csv_parser import CsvParser
from batchflow.tables.culprits import CHANGED_HINT, UNREADABLE, Culprits, Parser, Records
from batchflow.tables.json_parser import JsonParser
from batchflow.tables.options import TableOptions
from batchflow.tables.places import Lines
from batchflow.tables.schema import TYPES_WITHOUT_MISSING, Schema

PIECE_SIZE_MAX = (1 << 31) - (1 << 20)
"""Bytes of a piece that pyarrow can take."""
_FILES_REMEMBERED = 16


class TextReader:
    """Reads pieces of the files of one dataset."""

    def __init__(self, options: TableOptions, schema: Schema) -> None:
        self._options = options
        self._parser: Parser = CsvParser(options, schema) if options.format == "csv" else JsonParser(options, schema)
        self._culprits = Culprits(self._parser, schema, options.encoding)
        self._required = [c.name for c in schema.columns if c.type in TYPES_WITHOUT_MISSING and not c.nullable]
        self._lines: dict[str, Lines] = {}

    def read(self, path: str, begin: int, end: int, row_count: int, skip: int, count: int) -> pa.Table:
        """Rows ``skip`` to ``skip + count`` of a piece of ``row_count`` rows.  Raises ``TableError``."""
        records = self._records(path, begin, end, row_count, skip, count)
        try:
            table = self._parser.parse(records.data)
        except UNREADABLE as error:
            raise self._culprits.unreadable(records, error) from None
        if table.num_rows != count:
            end = records.begin + len(records.data)
            raise records.error(f"rows up to byte {end}: {count} were found before, now {table.num_rows} are read")
        for name in self._required:
            values = table.column(name)
            if values.null_count:
                raise self._culprits.missing(records, pc.index(values.is_null(), True).as_py(), name)
        misfit = self._parser.misfit(records.data, table)
        if misfit is not None:
            raise self._culprits.misfit(records, *misfit)
        return table

    def _records(self, path: str, begin: int, end: int, row_count: int, skip: int, count: int) -> Records:
        if end - begin > PIECE_SIZE_MAX:
            raise TableError(
                f"{path}: a piece of {end - begin:,} bytes, at most {PIECE_SIZE_MAX:,} can be read at once",
                hint="make mini_batch_size smaller, or unpack the file",
            )
        data = _bytes(path, begin, end) if compression_of(path) is None else _unpacked(path, begin, end)
        lines = self._lines_of(path)
        if b"\0" in data:
            place = lines.place(begin + data.index(b"\0"))
            raise TableError(f"{place}: a NUL byte", hint=CHANGED_HINT)
        whole = Records(self._options, lines, data, begin, row_count)
        return whole if (skip, count) == (0, row_count) else whole.some(skip, count)

    def _lines_of(self, path: str) -> Lines:
        if len(self._lines) > _FILES_REMEMBERED:
            self._lines.clear()
        return self._lines.setdefault(path, Lines(path))


def _bytes(path: str, begin: int, end: int) -> bytes:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            parts = []
            while begin < end and (part := os.pread(descriptor, end - begin, begin)):
                parts.append(part)
                begin += len(part)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise TableError(f"{path}: {error.strerror}") from None
    if begin < end:
        raise TableError(f"{path}: {end} bytes were there before, now {begin} are", hint=CHANGED_HINT)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _unpacked(path: str, begin: int, end: int) -> bytes:
    """``end`` is that of the whole text."""
    try:
        with unpacked(path) as file:
            text = read_up_to(file, end + 1)
    except OSError as error:
        raise TableError(f"{path}: {error}") from None
    if len(text) != end:
        got = f"{len(text)} are" if len(text) < end else "there are more"
        raise TableError(f"{path}: {end} bytes of text were in it before, now {got}", hint=CHANGED_HINT)
    return text[begin:]
