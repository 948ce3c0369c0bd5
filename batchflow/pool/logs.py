"""Where a worker's output goes: one file for each worker, written by the worker itself, so that it can never block."""

from __future__ import annotations

import os
from pathlib import Path

import batchflow
from batchflow.private import open_private

TAIL_SIZE = 1 << 14
"""Bytes of a log of which the last lines are shown with a death."""
_OUR_FRAME = f'  File "{Path(batchflow.__file__).parent}/'


class WorkerLog:
    """An open log; ``fd`` is handed to the worker as its standard output and error."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.fd = open_private(path, os.O_RDWR | os.O_APPEND)

    def size(self) -> int:
        return os.fstat(self.fd).st_size

    def read_from(self, offset: int) -> str:
        """At most 64 KiB from ``offset``, without our own frames in a dump of a stack."""
        return "\n".join(_lines(os.pread(self.fd, 1 << 16, offset))).strip()

    def tail(self, line_count: int = 20, end: int | None = None) -> str:
        """The last lines, of the whole log or of what lies before ``end``, without our own frames."""
        size = self.size() if end is None else end
        return "\n".join(_lines(os.pread(self.fd, min(size, TAIL_SIZE), max(0, size - TAIL_SIZE)))[-line_count:])

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


def _lines(content: bytes) -> list[str]:
    """The user's part: when a worker crashes, Python writes a line for each frame, ours included."""
    return [line for line in content.decode("utf-8", "replace").splitlines() if not line.startswith(_OUR_FRAME)]
