"""CRC-32C of files and of parts of them, read block by block."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from batchflow._core import Extent, crc32c, crc32c_combine

_BLOCK = 1 << 20
_LONG = 1 << 16
"""From here on it is cheaper to combine a checksum with others than to look at the bytes again."""


def checksum_text(checksum: int) -> str:
    """As receipts and reports show it: ``crc32c:`` and eight hexadecimal digits."""
    return f"crc32c:{checksum:08x}"


def checksum_with(view: memoryview, extents: Iterable[Extent], seed: int) -> int:
    """Of the bytes in ``view``, behind those that ``seed`` is the checksum of.

    ``extents``: parts of them, one behind the other, whose checksums are known.
    """
    position = 0
    for one in extents:
        if one.size >= _LONG:
            seed = crc32c_combine(crc32c(view[position : one.offset], seed), one.checksum, one.size)
            position = one.offset + one.size
    return crc32c(view[position:], seed)


def blocks(descriptor: int, start: int, size: int, block_size: int = 0) -> Iterator[bytes]:
    """The ``size`` bytes from ``start``, or as many as there are, in blocks of at most ``block_size``."""
    while size > 0:
        block = os.pread(descriptor, min(size, block_size or _BLOCK), start)
        if not block:
            return
        yield block
        start, size = start + len(block), size - len(block)


def read_checksum(descriptor: int, start: int, size: int, seed: int = 0) -> int:
    """Of these bytes, behind those that ``seed`` is the checksum of."""
    for block in blocks(descriptor, start, size):
        seed = crc32c(block, seed)
    return seed


def file_checksum(path: Path) -> tuple[int, int]:
    """Size and checksum of a whole file; raises ``OSError``."""
    size = checksum = 0
    with path.open("rb", buffering=0) as file:
        for block in blocks(file.fileno(), 0, 1 << 62):
            size, checksum = size + len(block), crc32c(block, checksum)
    return size, checksum
