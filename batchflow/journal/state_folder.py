"""The folders that hold batchflow's own state: private, created when a run needs them.

Never created by a verb that only reads.

Invariant: every folder made here has mode 0700 and every file 0600, whatever the umask allows; and nobody but this
user can have put there what is found there.
"""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path

from batchflow.errors import RefusedError, ResourceError
from batchflow.private import make_private_folder, open_private, why_others_can_change

STATE_ROOT_NAME = ".batchflow"
ROWS_NAME = "rows.arrow-stream"
"""In the folder of a step: the committed rows of a typed output, of which its file is made in the end.

They stay as long as there are failed items that may be tried again."""


def make_state_folder(folder: Path) -> Path:
    """Create ``folder``, and if it lies below a folder ``.batchflow`` every missing parent down from that one.

    Raises ``RefusedError`` if the permission is missing or one of them is not this user's alone, ``ResourceError`` if
    the machine cannot do it.
    """
    chain = [folder, *folder.parents]
    root_index = max((index for index, one in enumerate(chain) if one.name == STATE_ROOT_NAME), default=0)
    for one in reversed(chain[: root_index + 1]):
        try:
            try:
                reason = why_others_can_change(one)
            except FileNotFoundError:
                with contextlib.suppress(FileExistsError):  # another run has just made it
                    make_private_folder(one)
                reason = why_others_can_change(one)  # there are file systems without owners and modes
        except PermissionError as error:
            raise RefusedError(
                f"batchflow cannot keep its state, folder={folder}: {error.strerror}",
                hint=f"make {one.parent} writable for this user",
            ) from error
        except OSError as error:
            raise ResourceError(f"batchflow cannot keep its state, folder={folder}: {error.strerror}") from error
        if reason is not None:
            raise RefusedError(
                f"batchflow does not trust what is in folder={one}: {reason}",
                hint="if what is in it is yours: chown it and `chmod -R go-w` it; otherwise move it away",
            )
    return folder


def open_private_file(path: Path, flags: int) -> int:
    """Open a file of ours, never through a symbolic link, creating it with mode 0600; returns the descriptor."""
    try:
        return open_private(path, flags)
    except PermissionError as error:
        raise RefusedError(f"cannot open path={path}: {error.strerror}", hint=_access_hint(path, error)) from error
    except OSError as error:
        raise ResourceError(f"cannot open path={path}: {error.strerror}") from error


def _access_hint(path: Path, error: PermissionError) -> str:
    """What to make writable: what is there, or the folder in which it is missing."""
    if error.errno == errno.EPERM:
        return "only a file of the user who runs batchflow is taken: chown it, or move it away"
    return f"make {path if os.path.lexists(path) else path.parent} writable for this user"


def boot_id() -> str:
    """Names this boot of the machine; empty where the kernel does not say."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""
