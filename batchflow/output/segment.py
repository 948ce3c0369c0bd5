"""The one output file of a parallel step while it grows.

Bytes are written behind what is committed, made durable, and only then counted; what lies beyond is garbage, never read
and cut off before the next write.  Decides nothing: its owner says what is committed.

Invariant: between two calls nobody else changes the file, or the next call says so.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from pathlib import Path

from batchflow.errors import JournalError
from batchflow.failpoints import reach
from batchflow.output.checksums import read_checksum
from batchflow.output.files import explained, sync_folder, write_trouble

RESTART_HINT = "nothing was changed; put it back as it was, or run with --restart to begin the step anew"


class Segment:
    """An output file from its first byte to its last; ``path`` is a temporary name that is published later."""

    def __init__(self, path: Path, *, mode: int = 0o666) -> None:
        self.path = path
        self._mode = mode
        self.size = 0
        """Bytes that are written and wanted."""
        self.checksum = 0
        """CRC-32C of these."""
        self._fd = -1
        self._state: tuple[int, int, int] = (0, 0, 0)

    @property
    def file_id(self) -> int:
        """The file's inode."""
        return self._state[0]

    def create(self) -> None:
        """Begin with an empty file, whatever has the name."""
        with explained(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(FileNotFoundError):
                self.path.unlink()
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
            self._fd = os.open(self.path, flags, self._mode)
            sync_folder(self.path.parent)
            self._remember()

    def open(self) -> int:
        """Open what an earlier run has left; returns its size.

        Raises ``JournalError`` if it is gone, or no file that only we have.
        """
        try:
            self._fd = os.open(self.path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ELOOP, errno.ENOTDIR):
                what = "is gone" if error.errno == errno.ENOENT else "is no file of ours any more"
                raise JournalError(f"the output of an interrupted run {what}: {self.path}", hint=RESTART_HINT) from None
            raise write_trouble(self.path, error) from error
        info = os.fstat(self._fd)
        if not stat.S_ISREG(info.st_mode):
            raise JournalError(f"the output of an interrupted run is no file any more: {self.path}", hint=RESTART_HINT)
        self._remember()
        return info.st_size

    def cut(self, size: int, checksum: int) -> None:
        """Keep the first ``size`` bytes, which have ``checksum``."""
        with explained(self.path):
            reach("before_truncate")
            os.ftruncate(self._fd, size)
            reach("after_truncate")
            self._remember()
        self.size, self.checksum = size, checksum

    def read_checksum(self, start: int, size: int, seed: int = 0) -> int:
        """CRC-32C of ``size`` bytes from ``start``, of as many as there are."""
        with explained(self.path):
            return read_checksum(self._fd, start, size, seed)

    def append(self, view: memoryview, checksum: int) -> None:
        """Write all of ``view`` behind what is there; after an error ``take_back`` what is there of it.

        ``checksum``: of the whole file, with ``view``.
        """
        self.check()
        with explained(self.path):
            reach("before_pwrite")
            self._write(view)
            reach("after_pwrite")
        self.size, self.checksum = self.size + len(view), checksum
        self._remember()

    def _write(self, view: memoryview) -> None:
        position = self.size
        while len(view):
            written = os.pwrite(self._fd, view, position)
            view, position = view[written:], position + written

    def take_back(self, size: int, checksum: int) -> None:
        """Forget what was appended behind ``size``, all or some of it: it is not committed."""
        with explained(self.path):
            os.ftruncate(self._fd, size)
            self._remember()
        self.size, self.checksum = size, checksum

    def sync(self) -> None:
        """Have every byte on disk.  Raises ``ResourceError``: then nobody knows what is there, never try again."""
        with explained(self.path):
            os.fdatasync(self._fd)
            reach("after_fdatasync")

    def check(self) -> None:
        """Raise ``JournalError`` if another program has touched the file since we did."""
        with explained(self.path):
            try:
                named = self.path.lstat()
            except FileNotFoundError:
                named = None
            info = os.fstat(self._fd)
        if named is None or (named.st_ino, named.st_dev) != (info.st_ino, info.st_dev):
            what = "removed" if named is None else "replaced"
            raise JournalError(f"{self.path} was {what} by another program while it was written", hint=RESTART_HINT)
        if _state(info) != self._state:
            raise JournalError(
                f"{self.path} was changed by another program while it was written, size={info.st_size}, "
                f"written={self._state[1]}",
                hint=RESTART_HINT,
            )

    def close(self) -> None:
        if self._fd >= 0:
            descriptor, self._fd = self._fd, -1  # it is closed also where that fails
            with explained(self.path):
                os.close(descriptor)

    def _remember(self) -> None:
        self._state = _state(os.fstat(self._fd))


def _state(info: os.stat_result) -> tuple[int, int, int]:
    return info.st_ino, info.st_size, info.st_mtime_ns
