"""A CSV or JSON Lines file, open for reading: its descriptor, size, and where its text begins.

Never reads more than a few bytes.  What cannot be split into pieces is refused here: compressed files, UTF-16, and
what is no regular file.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass

from batchflow.errors import BatchflowError, DatasetError, ResourceError

_MACHINE_ERRORS = frozenset({errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ESTALE})
_MARK = b"\xef\xbb\xbf"
_REFUSED = (
    (
        (b"\xff\xfe", b"\xfe\xff", b"\x00\x00\xfe\xff"),
        "is UTF-16 or UTF-32",
        "iconv -f UTF-16 -t UTF-8 makes it one that is read",
    ),
    (
        (b"\x1f\x8b", b"\x28\xb5\x2f\xfd"),
        "is compressed, and cannot be read from the middle",
        "give it as one piece: its name must end in .gz or .zst",
    ),
)


@dataclass(frozen=True)
class TextFile:
    """``text_begin`` is behind the byte order mark, if there is one."""

    path: str
    fd: int
    size: int
    text_begin: int
    identity: tuple[int, int]
    """Changes with the file's content: size and mtime."""

    def check_unchanged(self) -> None:
        """Raises ``DatasetError`` if somebody has written to the file since it was opened."""
        if _identity(os.fstat(self.fd)) != self.identity:
            raise changed(self.path)


def changed(path: str) -> DatasetError:
    return DatasetError(
        f"cannot split {path}: it was written to meanwhile", hint="run again when nothing writes to it any more"
    )


@contextlib.contextmanager
def opened(path: str) -> Iterator[TextFile]:
    """Open a file; an ``OSError`` inside becomes one of ours, too.

    Raises ``DatasetError`` or ``ResourceError``.
    """
    fd = -1
    try:
        # A FIFO would keep us waiting for its writer.
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise DatasetError(f"cannot split {path}: it is no regular file")
        start = os.pread(fd, 4, 0)
        for marks, what, hint in _REFUSED:
            if start.startswith(marks):
                raise DatasetError(f"cannot split {path}: it {what}", hint=hint)
        yield TextFile(path, fd, status.st_size, len(_MARK) if start.startswith(_MARK) else 0, _identity(status))
    except OSError as error:
        raise _unreadable(path, error) from error
    finally:
        if fd >= 0:
            os.close(fd)


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_size, status.st_mtime_ns


def _unreadable(path: str, error: OSError) -> BatchflowError:
    kind = ResourceError if error.errno in _MACHINE_ERRORS else DatasetError
    return kind(f"cannot read {path}: {error.strerror}")
