"""What a table's options mean to those who read its bytes: the core, and Python's ``csv``.  Pure."""

from __future__ import annotations

import functools
from typing import Any, TypedDict

from batchflow.errors import DatasetError
from batchflow.tables.options import TableOptions


class CoreDialect(TypedDict):
    """What the core must know; -1: there is no such character."""

    delimiter: int
    quote: int
    escape: int
    lines: bool
    field_size_max: int


def core_dialect(options: TableOptions) -> CoreDialect:
    """For ``_core.split_records`` and ``_core.record_range``.

    Raises ``DatasetError`` where the characters that separate are not different ASCII characters, or where their bytes
    may be part of another character in the encoding.
    """
    if options.format not in ("csv", "jsonl"):
        raise ValueError(f"format={options.format!r} has no records between line breaks")
    check_encoding(options)
    is_lines = options.format == "jsonl"
    given = {"delimiter": options.delimiter, "quote": options.quote, "escape": options.escape}
    marks = {} if is_lines else {name: mark for name, mark in given.items() if mark is not None}
    if len(set(marks.values())) < len(marks) or not all(map(_can_separate, marks.values())):
        said = ", ".join(f"{name}={mark!r}" for name, mark in marks.items())
        raise DatasetError(f"expected different ASCII characters, no line breaks, got {said}")
    codes = {name: ord(mark) for name, mark in marks.items()}
    return {
        "delimiter": codes.get("delimiter", -1),
        "quote": codes.get("quote", -1),
        "escape": codes.get("escape", -1),
        "lines": is_lines,
        "field_size_max": options.field_size_max,
    }


def _can_separate(mark: str) -> bool:
    return len(mark) == 1 and mark.isascii() and mark not in "\0\r\n"


def csv_dialect(options: TableOptions) -> dict[str, Any]:
    """For ``csv.reader``."""
    import csv

    return {
        "delimiter": options.delimiter,
        "quotechar": options.quote,
        "escapechar": options.escape,
        "quoting": csv.QUOTE_NONE if options.quote is None else csv.QUOTE_MINIMAL,
        "doublequote": True,
        "strict": False,
    }


def check_encoding(options: TableOptions) -> None:
    """Raises ``DatasetError`` if a byte below 128 may be anything but that ASCII character."""
    marks = "".join(mark for mark in ("\n\r", options.delimiter, options.quote, options.escape) if mark is not None)
    if options.encoding not in ("utf-8", "UTF-8", "utf8", "ascii", "latin-1") and not _has_ascii(
        options.encoding, marks
    ):
        raise DatasetError(
            f"encoding={options.encoding!r} is not known, or has more in the bytes of ASCII than ASCII",
            hint="write the file anew as UTF-8: iconv -f ENCODING -t UTF-8",
        )


@functools.cache
def _has_ascii(encoding: str, marks: str) -> bool:
    """Whether each byte below 128 is that ASCII character, and none of ``marks`` the second byte of another one."""
    ascii_bytes = bytes(range(1, 128))
    try:
        if ascii_bytes.decode(encoding) != ascii_bytes.decode("ascii"):
            return False
    except (LookupError, UnicodeError):
        return False
    return not any(_is_one_character(bytes([lead, ord(mark)]), encoding) for lead in range(128, 256) for mark in marks)


def _is_one_character(pair: bytes, encoding: str) -> bool:
    try:
        return len(pair.decode(encoding)) == 1
    except UnicodeError:
        return False
