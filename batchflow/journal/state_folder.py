"""The folders that hold batchflow's own state: private, created when a run needs them.

Never created by a verb that only reads.

Invariant: every folder made here has mode 0700 and every file 0600, whatever the umask allows.
"""

from __future__ import annotations

import os
from pathlib import Path

from batchflow.errors import RefusedError, ResourceError

STATE_ROOT_NAME = ".batchflow"


def make_state_folder(folder: Path) -> Path:
    """Create ``folder``, which lies below a folder ``.batchflow``, and every missing parent down from that one.

    Raises ``RefusedError`` if the permission is missing, ``ResourceError`` if the machine cannot do it.
    """
    chain = [folder, *folder.parents]
    root_index = max(index for index, one in enumerate(chain) if one.name == STATE_ROOT_NAME)
    try:
        for one in reversed(chain[: root_index + 1]):
            if not one.is_dir():
                one.mkdir(mode=0o700, exist_ok=True)
    except PermissionError as error:
        raise RefusedError(
            f"batchflow cannot keep its state, folder={folder}: {error.strerror}",
            hint="the folder of the workflow file must be writable",
        ) from error
    except OSError as error:
        raise ResourceError(f"batchflow cannot keep its state, folder={folder}: {error.strerror}") from error
    return folder


def open_private_file(path: Path, flags: int) -> int:
    """Open a file of ours, never through a symbolic link, creating it with mode 0600; returns the descriptor."""
    try:
        return os.open(path, flags | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except PermissionError as error:
        raise RefusedError(f"cannot open path={path}: {error.strerror}") from error
    except OSError as error:
        raise ResourceError(f"cannot open path={path}: {error.strerror}") from error
