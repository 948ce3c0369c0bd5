"""What stands where a step is going to write and must not be touched: asked before any work is done.

Looks at names only, changes nothing.  What an earlier run left is told by the records: it says which outputs it began
to make, and that it did not end well.
"""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

from batchflow.errors import RefusedError
from batchflow.output.publish import PendingOutput
from batchflow.temporary import taken_paths

_MOUNTS = Path("/proc/self/mountinfo")


def check_temporaries(output: PendingOutput, *, is_ours: bool) -> None:
    """Raise ``RefusedError`` if preparing the output would remove what batchflow did not make.

    ``is_ours``: the last run that began to make this output did not come to its end.  A link and an empty folder hold
    nothing, and are in nobody's way.
    """
    if is_ours:
        return
    partial, ordered, _ = taken_paths(output.final)
    for path in (partial,) if output.is_folder or output.keeps_name else (partial, ordered):
        if _holds_something(path):
            raise RefusedError(
                f"{path} is in the way: no interrupted run of this workflow left it there, and output {output.name}"
                " has this name until it is complete",
                hint="move it away, or remove it if nobody needs it",
            )


def _holds_something(path: Path) -> bool:
    try:
        mode = path.lstat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return False
    return not stat.S_ISLNK(mode) and not (stat.S_ISDIR(mode) and not any(path.iterdir()))


def mount_points() -> frozenset[Path] | None:
    """Where file systems, folders and files are mounted, as this process sees it; None where nobody says."""
    try:
        text = _MOUNTS.read_bytes()
    except OSError:
        return None
    return parse_mounts(text)


def parse_mounts(text: bytes) -> frozenset[Path]:
    r"""The fifth field of each line of ``mountinfo``; blanks and backslashes in it are written as ``\040``."""
    fields = (line.split(b" ")[4] for line in text.splitlines())
    return frozenset(Path(os.fsdecode(re.sub(rb"\\([0-7]{3})", _unescaped, one))) for one in fields)


def _unescaped(match: re.Match[bytes]) -> bytes:
    return bytes([int(match[1], 8)])


def check_mounts(output: PendingOutput, mounts: frozenset[Path] | None) -> None:
    """Raise ``RefusedError`` if the output is a mount point or holds one: neither can change places with another.

    A device of its own tells nothing: a bind mount has none, a subvolume that can be renamed has one.
    """
    path = Path(os.path.realpath(output.final.parent), output.final.name)
    if path in mounts if mounts is not None else os.path.ismount(path):
        kind = "folder" if output.is_folder else "file"
        cure = f"{output.final}/{output.name}/" if output.is_folder else "a path in a folder that is mounted as a whole"
        raise RefusedError(
            f"output {output.name} is a mount point, and a mounted {kind} cannot be replaced, path={output.final}",
            hint=f"declare {'a folder inside it, as ' if output.is_folder else ''}{cure}",
        )
    inner = next((one for one in sorted(mounts or ()) if path in one.parents), None)
    if inner is not None:
        raise RefusedError(
            f"output {output.name} cannot be replaced: there is a mount point inside it, path={inner}",
            hint="unmount it, or declare another path",
        )
