"""A copy of the output with its rows in the order of the items.

Every extent is checked against its checksum while it is copied; the copy is durable under its own name when
``write_ordered`` returns.  Changes nothing of what it reads.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from batchflow._core import Extent, crc32c
from batchflow.errors import JournalError
from batchflow.output.checksums import blocks
from batchflow.output.files import sync_folder, write_trouble
from batchflow.output.segment import RESTART_HINT
from batchflow.temporary import ORDERED_SUFFIX

_BLOCK = 4 << 20


def ordered_path(path: Path) -> Path:
    """Where the copy is written."""
    return path.with_name(path.name + ORDERED_SUFFIX)


def write_ordered(path: Path, header_size: int, extents: Iterable[Extent]) -> tuple[int, int]:
    """Copy the header and the extents of ``path``, in the order given; returns size and CRC-32C of the copy.

    Raises ``JournalError`` if bytes are not those that were committed, ``ResourceError`` if the copy cannot be written.
    """
    target = ordered_path(path)
    size = checksum = 0
    try:
        with contextlib.suppress(FileNotFoundError):
            target.unlink()
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
        with path.open("rb", buffering=0) as source, os.fdopen(os.open(target, flags, 0o666), "wb", _BLOCK) as copy:
            for block in _checked(source.fileno(), path, header_size, extents):
                copy.write(block)
                size, checksum = size + len(block), crc32c(block, checksum)
            copy.flush()
            os.fsync(copy.fileno())
        sync_folder(target.parent)
    except OSError as error:
        raise write_trouble(target, error) from error
    return size, checksum


def _checked(source: int, path: Path, header_size: int, extents: Iterable[Extent]) -> Iterator[bytes]:
    yield os.pread(source, header_size, 0)
    for extent in extents:
        checksum, left = 0, extent.size
        for block in blocks(source, extent.offset, extent.size, _BLOCK):
            checksum, left = crc32c(block, checksum), left - len(block)
            yield block
        if left or checksum != extent.checksum:
            raise JournalError(
                f"{path} is not as it was written, offset={extent.offset}, size={extent.size}", hint=RESTART_HINT
            )
