"""The first record of a CSV file: which columns it names, and where the records behind it begin.

Reads as much of the file as that record needs, and no more than a few times that.
"""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Sequence

from batchflow import _core
from batchflow.errors import DatasetError
from batchflow.tables.dialects import core_dialect, csv_dialect
from batchflow.tables.options import TableOptions
from batchflow.tables.problems import refusal
from batchflow.tables.text_files import TextFile, opened

_FIRST_READ = 64 << 10
_HEADER_SIZE_MAX = 64 << 20
_OPEN_ENDS = ("unclosed quote", "escape at end")
"""What is no problem as long as there is more to read."""


def read_header(path: str, options: TableOptions) -> tuple[str, ...]:
    """The names of a CSV file's columns, in their order; ``0``, ``1``, … without a header, none of an empty file.

    Raises ``DatasetError``, also where a name is empty or there twice, and ``ResourceError``.
    """
    with opened(path) as file:
        fields = _fields(path, options, first_record(file, options))
    if not options.header:
        return tuple(str(index) for index in range(len(fields)))
    _check_names(path, fields)
    return tuple(fields)


def first_record(file: TextFile, options: TableOptions) -> bytes:
    """The bytes from the begin of a CSV file's text to that of its second record, blank lines included; all of the text
    where there is none.

    Raises ``DatasetError``.
    """
    dialect = core_dialect(options)
    size = _FIRST_READ
    while True:
        data = os.pread(file.fd, size, file.text_begin)
        _, end, seen, problem = _core.record_range(data, 0, 1, **dialect)
        is_whole = len(data) < size or file.text_begin + size >= file.size
        if problem is not None and (is_whole or problem[0] not in _OPEN_ENDS):
            line = 1 + len(re.findall(rb"\r\n?|\n", data[: problem[1]]))
            raise refusal(file.path, options, problem[0], file.text_begin + problem[1], line)
        if seen > 1 or is_whole:
            return data[:end]
        if size > _HEADER_SIZE_MAX:
            raise DatasetError(
                f"cannot split {file.path}: its first record is longer than {_HEADER_SIZE_MAX:,} bytes",
                hint="a quote is missing in it, or the file has another delimiter or other line breaks",
            )
        size *= 4


def _fields(path: str, options: TableOptions, record: bytes) -> list[str]:
    try:
        text = record.decode(options.encoding)
    except UnicodeDecodeError as error:
        raise DatasetError(
            f"the header of {path} is not {options.encoding}, at byte {error.start:,} of it",
            hint='declare its encoding, as in encoding = "latin-1"',
        ) from None
    try:
        rows = csv.reader(io.StringIO(text, newline=""), **csv_dialect(options))
        return next((row for row in rows if row), [])
    except csv.Error as error:  # a field that is longer than the csv module's limit
        raise DatasetError(f"cannot read the header of {path}: {error}") from error


def _check_names(path: str, names: Sequence[str]) -> None:
    """Raises ``DatasetError``."""
    first: dict[str, int] = {}
    for number, name in enumerate(names, 1):
        if not name.strip():
            raise DatasetError(
                f"column {number} of {path} has no name",
                hint="name it, write the file without an index (index=False), or declare header = false",
            )
        if name in first:
            raise DatasetError(
                f"columns {first[name]} and {number} of {path} have the same name, {name!r}",
                hint="rename one of them, or declare header = false",
            )
        first[name] = number
