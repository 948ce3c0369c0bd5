"""Outputs as they are found: emptied to begin anew, copied to be gone on with."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

from batchflow.output.files import sync_folder
from batchflow.output.publish import sync_file_system


def empty_folder(folder: Path) -> None:
    """Make ``folder`` an empty one; what a link in its place leads to is not touched."""
    if folder.is_symlink():
        folder.unlink()
    folder.mkdir(parents=True, exist_ok=True)
    for one in folder.iterdir():
        if one.is_dir() and not one.is_symlink():
            shutil.rmtree(one)
        else:
            one.unlink()


def copy_published(published: Path, target: Path) -> None:
    """A durable copy of a published output, file or folder, under its temporary name."""
    if published.is_dir():
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(published, target, symlinks=True)
        sync_file_system(target)
    else:
        with contextlib.suppress(FileNotFoundError):
            target.unlink()
        shutil.copyfile(published, target)
        with target.open("rb") as file:
            os.fsync(file.fileno())
    sync_folder(target.parent)
