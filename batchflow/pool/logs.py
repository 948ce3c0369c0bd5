"""Where a worker's output goes: one file for each worker, written by the worker itself, so that it can never block."""

from __future__ import annotations

import os
from pathlib import Path

TAIL_SIZE = 4096
"""Bytes of a log that are shown with a death."""


class WorkerLog:
    """An open log; ``fd`` is handed to the worker as its standard output and error."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)

    def size(self) -> int:
        return os.fstat(self.fd).st_size

    def read_from(self, offset: int) -> str:
        """At most 64 KiB from ``offset``."""
        return os.pread(self.fd, 1 << 16, offset).decode("utf-8", "replace").strip()

    def tail(self, line_count: int = 20, end: int | None = None) -> str:
        """The last lines, of the whole log or of what lies before ``end``."""
        size = self.size() if end is None else end
        text = os.pread(self.fd, min(size, TAIL_SIZE), max(0, size - TAIL_SIZE)).decode("utf-8", "replace")
        return "\n".join(text.splitlines()[-line_count:])

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
