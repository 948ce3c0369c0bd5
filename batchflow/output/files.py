"""What every writer of files needs: durable names, and errors in words."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from batchflow.errors import ROOM_HINT, NoRoomError, ResourceError

_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT})
_AGAIN = "then run the same command again: it goes on where it stopped"
_CURES = {
    errno.EFBIG: f"raise the limit or write to another file system, {_AGAIN}",
    errno.EACCES: f"let this user write there, {_AGAIN}",
    errno.EPERM: f"let this user write there, {_AGAIN}",
    errno.EROFS: f"mount the file system writable, {_AGAIN}",
    errno.EBUSY: f"unmount what is mounted there, {_AGAIN}",
    errno.EISDIR: f"move the folder of this name away, {_AGAIN}",
    errno.ENOTDIR: f"move the file away that stands where a folder should be, {_AGAIN}",
    errno.EMFILE: f"raise the limit of open files (ulimit -n), {_AGAIN}",
    errno.EIO: f"see what the kernel says of the disk (dmesg), {_AGAIN}",
}


def sync_folder(folder: Path) -> None:
    """Make the names in ``folder`` durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_trouble(path: Path, error: OSError) -> ResourceError:
    """Why ``path`` cannot be written: ``NoRoomError`` for a full disk or quota."""
    if error.errno in _NO_ROOM:
        free = ""
        with contextlib.suppress(OSError):
            room = os.statvfs(path.parent)
            free = f", free={room.f_bavail * room.f_frsize:,} bytes"
        return NoRoomError(f"cannot write {path}: {error.strerror}{free}", hint=ROOM_HINT)
    is_limit = error.errno == errno.EFBIG
    limit = ", a limit of this process (ulimit -f) or of the file system on the size of a file" if is_limit else ""
    return ResourceError(f"cannot write {path}: {error.strerror}{limit}", hint=_CURES.get(error.errno or 0))


@contextlib.contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn an ``OSError`` of the block into a ``ResourceError`` that names ``path``."""
    try:
        yield
    except OSError as error:
        raise write_trouble(path, error) from error
