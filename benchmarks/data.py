"""Input files for the runs: made once, kept below one folder, used only when complete.

A folder is made under another name and renamed when it is whole, so a half-made one is never measured.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

FILES_PER_FOLDER = 1000


def digest_of_rows(rows: Iterable[str]) -> str:
    """SHA-256 of the sorted rows, each ended by a newline."""
    digest = hashlib.sha256()
    for row in sorted(rows):
        digest.update(row.encode() + b"\n")
    return digest.hexdigest()


def numbered_names(count: int) -> list[str]:
    """Twelve characters each: eight digits and ``.dat``."""
    return [f"{number:08d}.dat" for number in range(count)]


def numbered_files(data: Path, count: int) -> Path:
    """A folder with ``count`` empty files, a thousand to a folder; their sorted order is their number's."""
    folder = data / f"files-{count}"
    if folder.is_dir():
        return folder
    draft = draft_of(folder)
    for number, name in enumerate(numbered_names(count)):
        below = draft / f"{number // FILES_PER_FOLDER:05d}"
        if number % FILES_PER_FOLDER == 0:
            below.mkdir()
        (below / name).touch()
    draft.rename(folder)
    return folder


def warm(folder: Path, *, contents: bool) -> None:
    """Bring names, sizes and, if asked, bytes back into the page cache: virtual machines drop them between runs."""
    for entry in os.scandir(folder):
        if entry.is_dir(follow_symlinks=False):
            warm(Path(entry.path), contents=contents)
        elif contents:
            Path(entry.path).read_bytes()
        else:
            entry.stat(follow_symlinks=False)


def draft_of(folder: Path) -> Path:
    """An empty folder beside ``folder``, to be filled and then renamed to it."""
    draft = folder.with_name(f"{folder.name}.draft")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    return draft
