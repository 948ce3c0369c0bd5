"""What Python's ``csv`` says about bytes, and whether a split of them is right.

The one judge of all tests of splitting: rows of the whole in one pass, rows of each piece alone, and a reason for each
refusal that does not come from the code under test.
"""

from __future__ import annotations

import csv
import io
import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from batchflow import _core

SENTINEL = "behind the end"
FIELD_SIZE_MAX = 1 << 20


@dataclass(frozen=True)
class Dialect:
    """How a file is written; ``lines``: JSON Lines."""

    delimiter: str = ","
    quote: str | None = '"'
    escape: str | None = None
    lines: bool = False
    field_size_max: int = FIELD_SIZE_MAX

    def for_core(self) -> dict[str, Any]:
        marks = {"delimiter": self.delimiter, "quote": self.quote, "escape": self.escape}
        return {
            **{name: -1 if mark is None else ord(mark) for name, mark in marks.items()},
            "lines": self.lines,
            "field_size_max": self.field_size_max,
        }

    def rows(self, data: bytes) -> list[list[str]]:
        """The rows of some bytes; every byte is a character, so that none is lost."""
        if self.lines:
            return [[line.strip(b" \t\r\n").decode("latin-1")] for line in data.split(b"\n") if line.strip(b" \t\r\n")]
        quoting = csv.QUOTE_NONE if self.quote is None else csv.QUOTE_MINIMAL
        reader = csv.reader(
            io.StringIO(data.decode("latin-1"), newline=""),
            delimiter=self.delimiter,
            quotechar=self.quote,
            escapechar=self.escape,
            quoting=quoting,
        )
        return [row for row in reader if row]

    def is_closed(self, data: bytes) -> bool:
        """Whether a line behind these bytes is a row of its own."""
        if self.lines:
            return True
        return self.rows(data + b"\n" + SENTINEL.encode())[-1:] == [[SENTINEL]]

    def has_two_meanings(self, data: bytes) -> bool:
        """Whether an escape stands right behind a closing quote."""
        if self.lines or self.quote is None or self.escape is None:
            return False
        pair = re.escape((self.quote + self.escape).encode())
        return any(self.is_closing_quote(data, match.start()) for match in re.finditer(b"(?=" + pair + b")", data))

    def is_closing_quote(self, data: bytes, offset: int) -> bool:
        """Whether it is in quotes before the quote at ``offset``, which nothing escapes, and not behind it."""
        return not self.is_closed(data[:offset] + b"a") and self.is_closed(data[: offset + 1])


csv.field_size_limit(sys.maxsize)


class Bytes:
    """A file without a name that takes other bytes again and again."""

    def __init__(self) -> None:
        self.fd = os.memfd_create("bytes", os.MFD_CLOEXEC)

    def put(self, data: bytes) -> int:
        os.ftruncate(self.fd, 0)
        os.pwrite(self.fd, data, 0)
        return self.fd

    def close(self) -> None:
        os.close(self.fd)


def pieces_of(data: bytes, found: _core.RecordSplit) -> Iterator[bytes]:
    ends = [*found.begins[1:], *([len(data)] if found.begins else [])]
    return (data[begin:end] for begin, end in zip(found.begins, ends, strict=True))


def complaint(data: bytes, dialect: Dialect, found: _core.RecordSplit, *, size: int = 0, rows: int = 0) -> str:
    """What is wrong with a split; empty if nothing is."""
    if found.problem is not None:
        return wrong_refusal(data, dialect, found.problem)
    if b"\0" in data:
        return "a NUL byte was not refused"
    if not dialect.is_closed(data):
        return "a quote or an escape that is open at the end was not refused"
    if dialect.has_two_meanings(data):
        return "an escape behind a closing quote was not refused"
    if longest(dialect, data) > dialect.field_size_max:
        return "a field that is too long was not refused"
    whole = dialect.rows(data)
    if found.record_count != len(whole):
        return f"expected {len(whole)} records, counted {found.record_count}"
    start = 0
    for index, piece in enumerate(pieces_of(data, found)):
        count = found.counts[index]
        if dialect.rows(piece) != whole[start : start + count] or not count:
            return f"piece {index} has other rows than the whole file there"
        start += count
        is_last = index == len(found.begins) - 1
        if rows and count != rows and not (is_last and count < rows):
            return f"piece {index} has {count} records, not {rows}"
        if size and not is_last and len(piece) < size:
            return f"piece {index} has {len(piece)} bytes, less than {size}"
        if size and count > 1 and not is_smallest(piece, dialect, size):
            return f"piece {index} is longer than it need be"
    return "" if start == len(whole) else f"the pieces have {start} rows, not {len(whole)}"


def longest(dialect: Dialect, data: bytes) -> int:
    """Characters of the longest field; in the file it may have twice as many, and two quotes."""
    return max((len(field) for row in dialect.rows(data) for field in row), default=0)


def is_smallest(piece: bytes, dialect: Dialect, size: int) -> bool:
    """Whether the last record of a piece begins before ``size`` bytes, by a reader that stops there."""
    records = dialect.rows(piece)
    # Its first `size` bytes and what is open there hold the last record, or a part of it.
    head = piece[:size]
    return len(dialect.rows(head)) == len(records)


def wrong_refusal(data: bytes, dialect: Dialect, problem: tuple[str, int, int]) -> str:
    kind, offset, line = problem
    expected_line = 1 + len(re.findall(rb"\r\n?|\n", data[:offset]))
    if line != expected_line:
        return f"{kind} at byte {offset} is in line {expected_line}, not {line}"
    marks = (dialect.quote or "").encode(), (dialect.escape or "").encode()
    at = data[offset : offset + 1]
    unlimited = replace(dialect, field_size_max=sys.maxsize)
    right = {
        "NUL byte": lambda: at == b"\0",
        "unclosed quote": lambda: (
            at == marks[0] and unlimited.is_closed(data[:offset]) and not unlimited.is_closed(data)
        ),
        "escape at end": lambda: at == marks[1] and offset == len(data) - 1 and not unlimited.is_closed(data),
        "escape after quote": lambda: at == marks[1] and unlimited.is_closing_quote(data, offset - 1),
        "long field": lambda: 2 * longest(dialect, data) + 2 > dialect.field_size_max,
    }[kind]
    return "" if right() else f"refused without a reason: {kind} at byte {offset}"
