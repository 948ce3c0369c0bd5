"""Replace a small file of ours as a whole: written as ``NAME.partial``, made durable, renamed.

Invariant: it is private, and nothing is written through a link.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TextIO

from batchflow.output.files import explained, sync_folder
from batchflow.private import create_private
from batchflow.temporary import partial_path


def open_partial(partial: Path) -> TextIO:
    """A new private file for ASCII text in the place of whatever has the name."""
    return os.fdopen(create_private(partial), "w", encoding="ascii", newline="\n")


def replace_file(file: TextIO, partial: Path, path: Path) -> None:
    """Close ``file``, which was written as ``partial``, and let it take the place of ``path``."""
    with file:
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
    sync_folder(path.parent)


def write_text(path: Path, text: str) -> None:
    """Let ``path`` hold ``text`` (ASCII), or what it held before; raises ``ResourceError`` if it cannot be written."""
    partial = partial_path(path)
    with explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with open_partial(partial) as file:
            file.write(text)
            replace_file(file, partial, path)
