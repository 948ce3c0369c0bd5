"""Where a worker's output goes: one file for each worker, written by the worker itself, so that it can never block.

Of a long log the beginning and the end are kept.  While workers write, what lies between is given back to the file
system, as a hole in the file; at the end the hole is taken out.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import batchflow
from batchflow.private import open_private

TAIL_SIZE = 1 << 14
"""Bytes of a log of which the last lines are shown with a death."""
HEAD_SIZE = 32 << 20
END_SIZE = 32 << 20
"""Bytes of a log that are kept, from its beginning and before its end."""
STEP_SIZE = 4 << 20
"""A hole grows by at least so much."""
_BLOCK_SIZE = 4096
_PART_SIZE = 1 << 20
_KEEP_SIZE_AND_PUNCH_HOLE = 3
_OUR_FRAME = f'  File "{Path(batchflow.__file__).parent}/'


class WorkerLog:
    """An open log; ``fd`` is handed to the worker as its standard output and error."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.fd = open_private(path, os.O_RDWR | os.O_APPEND)
        self._hole_end = HEAD_SIZE
        self._cut_size = 0

    def size(self) -> int:
        return os.fstat(self.fd).st_size

    def read_from(self, offset: int) -> str:
        """At most 64 KiB from ``offset``, without our own frames in a dump of a stack."""
        return "\n".join(_lines(os.pread(self.fd, 1 << 16, offset))).strip()

    def tail(self, line_count: int = 20, *, start: int = 0, end: int | None = None) -> str:
        """The last lines, of the whole log or of what lies from ``start`` to ``end``, without our own frames."""
        size = self.size() if end is None else end
        start = max(start, size - TAIL_SIZE)
        return "\n".join(_lines(os.pread(self.fd, max(0, size - start), start))[-line_count:])

    def trim(self) -> None:
        """Call now and then: a log that has grown long gives up its middle."""
        size = self.size()
        end = (size - END_SIZE) // _BLOCK_SIZE * _BLOCK_SIZE
        if end - self._hole_end < STEP_SIZE:
            return
        if _punch_hole(self.fd, self._hole_end, end - self._hole_end):
            self._hole_end = end
        else:  # this file system has no holes: writers append, so all but the beginning can simply go
            os.ftruncate(self.fd, HEAD_SIZE)
            self._cut_size += size - HEAD_SIZE

    def close(self) -> None:
        """Nobody writes any more."""
        if self.fd >= 0:
            with contextlib.suppress(OSError):  # no room to copy: then the hole stays, or what is too much
                self._take_out()
            os.close(self.fd)
            self.fd = -1

    def _take_out(self) -> None:
        """Write the end where the middle begins, and between them how much was dropped."""
        size = self.size()
        start = max(self._hole_end, size - END_SIZE)
        dropped_size = self._cut_size + start - HEAD_SIZE
        if size < HEAD_SIZE or dropped_size == 0:
            return
        file = os.open(f"/proc/self/fd/{self.fd}", os.O_RDWR | os.O_CLOEXEC)  # one that does not append
        try:
            os.ftruncate(file, _move_down(file, start, b"\n[%d bytes dropped]\n" % dropped_size))
        finally:
            os.close(file)


def _move_down(file: int, start: int, words: bytes) -> int:
    """Write at ``HEAD_SIZE`` some words and then what begins at ``start``; returns where that ends."""
    part, place = os.pread(file, _PART_SIZE, start), HEAD_SIZE
    place += os.pwrite(file, words, place)
    while part:
        start += len(part)
        following = os.pread(file, _PART_SIZE, start)  # before the words push their way into it
        place += os.pwrite(file, part, place)
        part = following
    return place


def _punch_hole(descriptor: int, offset: int, size: int) -> bool:
    """False if the file system cannot."""
    import ctypes

    fallocate = ctypes.CDLL(None).fallocate
    offset_t = ctypes.c_int64
    failed: int = fallocate(descriptor, _KEEP_SIZE_AND_PUNCH_HOLE, offset_t(offset), offset_t(size))
    return not failed


def _lines(content: bytes) -> list[str]:
    """The user's part: when a worker crashes, Python writes a line for each frame, ours included."""
    return [line for line in content.decode("utf-8", "replace").splitlines() if not line.startswith(_OUR_FRAME)]
