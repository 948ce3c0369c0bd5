"""Outputs against what is recorded of them: reads block by block, changes nothing, finds, repairs nothing.

Invariant: what is found is told with its file, and its place in it where there is one.
"""

from __future__ import annotations

import contextlib
import json
import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

from batchflow._core import Extent, crc32c
from batchflow.model import FailureEntry
from batchflow.output.checksums import blocks, checksum_text, file_checksum

_SHOWN = 120
PROBLEMS_MAX = 5
"""Of one file; damage seldom comes alone."""


@dataclass(frozen=True)
class Problem:
    """Something that is not as it was written; ``offset`` in bytes from the beginning of the file."""

    path: Path
    message: str
    offset: int | None = None
    expected: str = ""
    found: str = ""

    def describe(self, path: str) -> str:
        """One line; ``path`` is how the file is shown."""
        place = "" if self.offset is None else f", offset={self.offset}"
        values = f", expected={self.expected}, found={self.found}" if self.expected or self.found else ""
        return f"{path}{place}: {self.message}{values}"


@dataclass(frozen=True)
class Rows:
    """What is recorded of a file of rows."""

    path: Path
    size: int
    checksum: int
    """CRC-32C of the first ``size`` bytes."""
    header: bytes = b""
    may_be_longer: bool = False
    """What lies behind is garbage that the next run cuts off."""


def check_rows(rows: Rows, extents: Iterable[Extent]) -> list[Problem]:
    """The file against its extents, which come by offset: they tile it, and each has its checksum."""
    if (odd := no_file(rows.path)) is not None:
        return [odd]
    try:
        with rows.path.open("rb", buffering=0) as file:
            found = list(_size_problems(rows, file.seek(0, os.SEEK_END)))
            problems = _extent_problems(rows, file.fileno(), extents)
            with contextlib.suppress(StopIteration):
                while len(found) < PROBLEMS_MAX:
                    found.append(next(problems))
                next(problems)
                found.append(Problem(rows.path, "more is wrong with it, which is not listed"))
            return found
    except OSError as error:
        return [unreadable(rows.path, error)]


def no_file(path: Path) -> Problem | None:
    """What is wrong with ``path`` if it is no file that can be read: a pipe would be waited for."""
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return Problem(path, "it is missing")
    except OSError as error:
        return unreadable(path, error)
    return None if stat.S_ISREG(mode) else Problem(path, "it is no file")


def unreadable(path: Path, error: OSError) -> Problem:
    return Problem(path, f"cannot be read: {error.strerror}")


def _size_problems(rows: Rows, size: int) -> Iterator[Problem]:
    if size < rows.size or (size > rows.size and not rows.may_be_longer):
        message = "it is shorter than what was written" if size < rows.size else "it is longer than what was written"
        yield Problem(rows.path, message, min(size, rows.size), f"{rows.size} bytes", f"{size} bytes")


def _extent_problems(rows: Rows, descriptor: int, extents: Iterable[Extent]) -> Iterator[Problem]:
    header = b"".join(blocks(descriptor, 0, len(rows.header)))
    if header != rows.header:
        yield Problem(rows.path, "the header is another one", 0, repr(rows.header), repr(header))
    position, whole, explained, damage = len(rows.header), crc32c(header), header != rows.header, _Damage(rows)
    for extent in extents:
        if extent.offset != position:
            yield from damage.end()
            explained = True
            message = "bytes belong to no item" if extent.offset > position else "bytes belong to two items"
            yield Problem(rows.path, message, min(position, extent.offset), str(position), str(extent.offset))
        checksum = 0
        for block in blocks(descriptor, extent.offset, extent.size):
            checksum, whole = crc32c(block, checksum), crc32c(block, whole)
        if checksum != extent.checksum:
            explained = True
            damage.add(extent, checksum)
        else:
            yield from damage.end()
        position = extent.offset + extent.size
    yield from damage.end(is_last=True)
    if position != rows.size:
        yield Problem(rows.path, "the items end elsewhere", position, str(rows.size), str(position))
    elif not explained and whole != rows.checksum:
        yield Problem(rows.path, "the checksum is wrong", 0, checksum_text(rows.checksum), checksum_text(whole))


class _Damage:
    """Damaged extents that lie side by side are one problem: most often a row that became longer or shorter."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self._first: Extent | None = None
        self._last: Extent | None = None
        self._found = 0

    def add(self, extent: Extent, found: int) -> None:
        if self._first is None:
            self._first, self._found = extent, found
        self._last = extent

    def end(self, *, is_last: bool = False) -> Iterator[Problem]:
        """What was added since the last time; ``is_last``: up to the end of the rows."""
        first, last = self._first, self._last
        self._first = self._last = None
        if first is None or last is None:
            return
        items = f"items {first.first_item} to {first.first_item + first.item_count - 1}"
        if first is last:
            message = f"the rows of {items} are damaged"
        elif is_last:
            message = f"it differs from there on, {items} are the first"
        else:
            message = f"it differs from there to byte {last.offset + last.size}, {items} are the first"
        yield Problem(self._rows.path, message, first.offset, checksum_text(first.checksum), checksum_text(self._found))


def check_whole(rows: Rows) -> list[Problem]:
    """The file against its size and checksum, where nothing more is known of it."""
    if (odd := no_file(rows.path)) is not None:
        return [odd]
    try:
        size, checksum = file_checksum(rows.path)
    except OSError as error:
        return [unreadable(rows.path, error)]
    found = list(_size_problems(rows, size))
    if not found and checksum != rows.checksum:
        found.append(
            Problem(rows.path, "the checksum is wrong", 0, checksum_text(rows.checksum), checksum_text(checksum))
        )
    return found


def check_failed_list(path: Path, failures: Iterable[FailureEntry], checksum: str) -> list[Problem]:
    """``failed.jsonl`` against the failures, which come by item; tells the first line that differs.

    The failures know no names of items: these are in the ``checksum`` of the file, as its text.
    """
    if (odd := no_file(path)) is not None:
        return [odd]
    offset = 0
    try:
        with path.open("rb") as file:
            for line, expected in zip_longest(file, _expected_objects(failures)):
                if line is None or expected is None or not _is_entry(line, expected):
                    message = "it is not what the journal lists as failed"
                    return [Problem(path, message, offset, _shown(expected), _shown(line))]
                offset += len(line)
        found = checksum_text(file_checksum(path)[1])
    except OSError as error:
        return [unreadable(path, error)]
    return [] if found == checksum else [Problem(path, "the checksum is wrong", 0, checksum, found)]


def _expected_objects(failures: Iterable[FailureEntry]) -> Iterator[tuple[int, dict[str, Any]]]:
    """How many items each object of the list names, and the object without them."""
    for failure in failures:
        entry = {"kind": failure.kind, **failure.entry}
        if failure.kind == "shortfall":
            yield failure.item_count, entry
        else:
            yield from ((1, entry) for _ in range(failure.item_count))


def _is_entry(line: bytes, expected: tuple[int, Mapping[str, Any]]) -> bool:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return False
    if not isinstance(value, dict) or not line.endswith(b"\n"):
        return False
    names = value.pop("candidates", None) if value.get("kind") == "shortfall" else [value.pop("item", None)]
    return isinstance(names, list) and sum(map(_named, names)) == expected[0] and value == expected[1]


def _named(name: object) -> int:
    """How many items it names."""
    rows = name.get("rows", [0, 1]) if isinstance(name, dict) else [0, int(isinstance(name, str))]
    is_range = isinstance(rows, list) and len(rows) == 2 and all(type(one) is int for one in rows)
    return max(0, rows[1] - rows[0]) if is_range else 0


def _shown(value: bytes | tuple[int, Mapping[str, Any]] | None) -> str:
    if value is None:
        return "nothing"
    text = json.dumps(value[1]) if isinstance(value, tuple) else value.decode("ascii", "replace").rstrip("\n")
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"
