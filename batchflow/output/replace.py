"""Replace a small file as a whole: written as ``NAME.partial``, made durable, renamed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TextIO

from batchflow.output.files import explained, sync_folder


def partial_path(path: Path) -> Path:
    return path.with_name(path.name + ".partial")


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
        with partial.open("w", encoding="ascii", newline="\n") as file:
            file.write(text)
            replace_file(file, partial, path)
