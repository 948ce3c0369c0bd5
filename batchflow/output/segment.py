"""The one output file of a parallel step while it grows.

Only appends; counts and checksums what it wrote; a short write is continued, a failed one is an error that names the
file and what the machine said.
"""

from __future__ import annotations

import os
from pathlib import Path

from batchflow._core import crc32c
from batchflow.errors import ResourceError


class Segment:
    """An output file from its first byte to its last; ``path`` is a temporary name that is published later."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size = 0
        self._checksum = 0
        self._fd = -1

    def open(self) -> None:
        """Create the file anew."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            self._fd = os.open(self.path, flags, 0o666)
        except OSError as error:
            raise self._trouble(error) from error

    def append(self, view: memoryview) -> None:
        """Write all of ``view`` behind what is there."""
        self._checksum = crc32c(view, self._checksum)
        self.size += len(view)
        try:
            while len(view):
                view = view[os.write(self._fd, view) :]
        except OSError as error:
            raise self._trouble(error) from error

    @property
    def checksum(self) -> str:
        """``crc32c:`` and eight hexadecimal digits, of everything appended."""
        return f"crc32c:{self._checksum:08x}"

    def finish(self) -> None:
        """Have every byte on disk, and see that the file is as long as what was written."""
        try:
            os.fsync(self._fd)
            size = os.fstat(self._fd).st_size
        except OSError as error:
            raise self._trouble(error) from error
        finally:
            self.close()
        if size != self.size:
            raise ResourceError(
                f"{self.path} was changed by another program while it was written, size={size}, written={self.size}",
                hint="run the same command again",
            )

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _trouble(self, error: OSError) -> ResourceError:
        return ResourceError(
            f"cannot write {self.path}: {error.strerror}, size={self.size}",
            hint="make room or choose another place, then run the same command again",
        )
