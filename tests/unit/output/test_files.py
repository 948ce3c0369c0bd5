"""Why a file cannot be written, and the cure that fits."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from batchflow.errors import NoRoomError
from batchflow.output.files import write_trouble


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_needs_room(tmp_path: Path, number: int) -> None:
    error = write_trouble(tmp_path / "x", OSError(number, os.strerror(number)))
    assert isinstance(error, NoRoomError)
    assert error.hint == "make room, then run the same command again: it goes on where it stopped"


@pytest.mark.parametrize(
    ("number", "cure"),
    [
        (errno.EISDIR, "move the folder of this name away"),
        (errno.EACCES, "let this user write there"),
        (errno.EROFS, "mount the file system writable"),
        (errno.EBUSY, "unmount what is mounted there"),
        (errno.EFBIG, "raise the limit or write to another file system"),
    ],
)
def test_every_other_trouble_has_a_cure_of_its_own(tmp_path: Path, number: int, cure: str) -> None:
    error = write_trouble(tmp_path / "x", OSError(number, os.strerror(number)))
    assert not isinstance(error, NoRoomError)
    assert error.message.startswith(f"cannot write {tmp_path}/x: {os.strerror(number)}")
    assert error.hint == f"{cure}, then run the same command again: it goes on where it stopped"


def test_what_has_no_known_cure_gets_no_hint(tmp_path: Path) -> None:
    assert write_trouble(tmp_path / "x", OSError(errno.ENXIO, "No such device")).hint is None
