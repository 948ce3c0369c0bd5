"""Files and folders that are for nobody else: 0600 and 0700 whatever the umask, and never through a planted link.

Raises ``OSError`` as the calls of ``os`` do.  Imports nothing of ours.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

FILE_MODE = 0o600
FOLDER_MODE = 0o700
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


def make_private_folder(folder: Path) -> None:
    """Create ``folder``; its parent exists."""
    folder.mkdir(mode=FOLDER_MODE)
    if stat.S_IMODE(folder.stat().st_mode) != FOLDER_MODE:
        folder.chmod(FOLDER_MODE)


def renew_private_folder(folder: Path) -> None:
    """Let ``folder`` be there and empty; a link in its place is removed, not followed."""
    remove(folder)
    make_private_folder(folder)


def remove(path: Path) -> None:
    """Remove a file, a link or a folder with all that is in it, if it is there; no link is followed."""
    with contextlib.suppress(FileNotFoundError):
        if stat.S_ISDIR(path.lstat().st_mode):
            import shutil  # not for every start

            shutil.rmtree(path)
        else:
            path.unlink()


def why_others_can_change(folder: Path) -> str | None:
    """Why not only this user can have put there what is in ``folder``; None if nobody else can.

    A link counts if it is this user's own, and leads to such a folder.
    """
    link, target = folder.lstat(), folder.stat()
    for info in (link, target):
        if info.st_uid != os.geteuid():
            return f"it belongs to another user, uid={info.st_uid}"
    if not stat.S_ISDIR(target.st_mode):
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder))
    if target.st_mode & _OTHERS_WRITE:
        return f"other users can write to it, mode={stat.S_IMODE(target.st_mode):04o}"
    return None


def open_private(path: Path, flags: int) -> int:
    """Open a file, creating it if it is missing; returns the descriptor.  What is no file of this user is refused."""
    flags |= os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    descriptor = os.open(path, flags, FILE_MODE)
    try:
        info = os.fstat(descriptor)
        if not stat.S_ISREG(info.st_mode) or info.st_uid != os.geteuid():
            raise PermissionError(errno.EPERM, "it is not a file of this user", str(path))
        os.set_blocking(descriptor, True)  # only the opening of a FIFO was not to block
        if stat.S_IMODE(info.st_mode) != FILE_MODE:
            os.fchmod(descriptor, FILE_MODE)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def open_regular(path: Path) -> BinaryIO:
    """Open a file that somebody else may have put there for reading: never waits for a FIFO or touches a device."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is not a regular file", str(path))
    return os.fdopen(descriptor, "rb")


def create_private(path: Path, flags: int = os.O_WRONLY) -> int:
    """Open a new file in the place of whatever has the name; returns the descriptor."""
    with contextlib.suppress(FileNotFoundError):
        path.unlink()
    return open_private(path, flags | os.O_EXCL)
