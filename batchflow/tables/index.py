"""Where the pieces of a table lie: of each its first row, its file, and the bytes or rows of it in there.

Packed in shared memory that workers only read, forty bytes a piece at most; kept on disk in the same form.

    magic · how many pieces · size of the header · size of the keys      integers of 64 bits, as everything up to
    first rows, and the number of all rows · files · begins · ends       the header
    (with keys) where the keys of each piece begin, and where they end
    header, JSON · keys, JSON after JSON

``files`` are places in the listing of the files.  ``begins`` and ``ends`` are bytes of text files, rows of others.

Invariant: pieces tile the rows, none is empty.
"""

from __future__ import annotations

import contextlib
import json
import mmap
import os
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from batchflow._core import crc32c
from batchflow.private import create_private, open_regular

_MAGIC = 0x3158444E49464221  # "!BFINDX1"
_WORD = 8
_HEAD = 4


class Piece(NamedTuple):
    """Consecutive records of one file, which are ``run()``'s in one mini-batch."""

    file: int
    begin: int
    end: int
    first_row: int
    """Of the whole table."""
    row_count: int


class TableIndex:
    """Made by ``build``, ``load`` or ``attach``; ``close`` gives the descriptor back, and the memory with the object.

    No dataclass: a zygote imports this module.
    """

    descriptor = -1

    def __init__(self, descriptor: int) -> None:
        """Takes ``descriptor``, unless it raises ``ValueError``: that is no index."""
        memory = memoryview(mmap.mmap(descriptor, 0, prot=mmap.PROT_READ))
        head = memory[: _HEAD * _WORD].cast("q")
        magic, count, header_size, keys_size = head
        columns = 4 * count + 1 + (count + 1 if keys_size else 0)
        header_begin = (_HEAD + columns) * _WORD
        if magic != _MAGIC or count < 0 or len(memory) != header_begin + header_size + keys_size:
            raise ValueError("the index of the table is damaged")
        words = memory[_HEAD * _WORD : header_begin].cast("q")
        self.first_rows = words[: count + 1]
        """Of each piece, and the number of all rows at the end."""
        self._files, self._begins, self._ends = (words[1 + k * count : 1 + (k + 1) * count] for k in (1, 2, 3))
        self._key_places = words[4 * count + 1 :]
        self._keys = memory[header_begin + header_size :]
        self.header: Mapping[str, Any] = json.loads(bytes(memory[header_begin : header_begin + header_size]))
        self.descriptor = descriptor

    def __del__(self) -> None:
        self.close()

    @property
    def piece_count(self) -> int:
        return len(self.first_rows) - 1

    @property
    def row_count(self) -> int:
        return self.first_rows[-1]

    def place(self, row: int) -> int:
        """The number of the piece that the row is in."""
        return bisect_right(self.first_rows, row) - 1

    def piece(self, number: int) -> Piece:
        first = self.first_rows[number]
        count = self.first_rows[number + 1] - first
        return Piece(self._files[number], self._begins[number], self._ends[number], first, count)

    def rows_of(self, file: int) -> tuple[int, int]:
        """The first row of a file and the one after its last, of the whole table; the pieces come by file."""
        return self.first_rows[bisect_left(self._files, file)], self.first_rows[bisect_right(self._files, file)]

    @property
    def has_keys(self) -> bool:
        """Whether the pieces are what has keys in common; their files are then temporary ones."""
        return len(self._key_places) > 0

    def keys(self, number: int) -> dict[str, Any]:
        """What the rows of the piece have in common; empty if the table is not split by keys."""
        if not self.has_keys:
            return {}
        begin, end = self._key_places[number], self._key_places[number + 1]
        return json.loads(bytes(self._keys[begin:end]))  # type: ignore[no-any-return]

    def close(self) -> None:
        """Give the descriptor back; the index can still be read."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1

    # Making one

    @staticmethod
    def build(
        pieces: Iterable[tuple[int, int, int, int]],
        header: Mapping[str, Any],
        keys: Sequence[Mapping[str, Any]] | None = None,
    ) -> TableIndex:
        """``pieces``: file, begin, end and row count of each; those without rows are left out.

        ``keys``: what the rows of each piece have in common.  Raises ``OSError`` if there is no memory for it.
        """
        first_rows, files, begins, ends = array("q"), array("q"), array("q"), array("q")
        key_places, key_texts, row, size = array("q"), [], 0, 0
        for number, (file, begin, end, row_count) in enumerate(pieces):
            if row_count:
                for column, value in zip((first_rows, files, begins, ends), (row, file, begin, end), strict=True):
                    column.append(value)
                row += row_count
                if keys is not None:
                    text = json.dumps(keys[number]).encode()
                    key_places.append(size)
                    key_texts.append(text)
                    size += len(text)
        first_rows.append(row)
        if key_texts:
            key_places.append(size)
        text = json.dumps(header, sort_keys=True).encode()
        head = array("q", (_MAGIC, len(files), len(text), size))
        return _in_memory([head, first_rows, files, begins, ends, key_places, text, *key_texts])

    @staticmethod
    def attach(descriptor: int) -> TableIndex:
        """The index behind the descriptor, which stays the caller's.  Raises ``ValueError`` if it is none."""
        own = os.dup(descriptor)
        try:
            return TableIndex(own)
        except BaseException:
            os.close(own)
            raise

    # On disk

    def save(self, path: Path) -> None:
        """Write it for ``load``; the file is there as a whole or not at all.  Raises ``OSError``."""
        part = path.with_name(path.name + ".partial")
        content = mmap.mmap(self.descriptor, 0, prot=mmap.PROT_READ)
        with os.fdopen(create_private(part), "wb") as file:
            file.write(content)
            file.write(crc32c(memoryview(content)).to_bytes(_WORD, "little"))
        part.replace(path)

    @staticmethod
    def load(path: Path) -> TableIndex | None:
        """What was saved there; None if nothing was, or it is not as it was written."""
        with contextlib.suppress(OSError, ValueError), open_regular(path) as file:
            content = file.read()
            body = memoryview(content)[:-_WORD]
            if len(body) >= _HEAD * _WORD and crc32c(body) == int.from_bytes(content[-_WORD:], "little"):
                return _in_memory([body])
        return None


def _in_memory(parts: Iterable[array[int] | memoryview | bytes]) -> TableIndex:
    descriptor = os.memfd_create("batchflow-index", os.MFD_CLOEXEC)
    try:
        with open(descriptor, "wb", closefd=False) as file:
            for part in parts:
                file.write(part)
        return TableIndex(descriptor)
    except BaseException:
        os.close(descriptor)
        raise
