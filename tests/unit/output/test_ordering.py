"""The ordered copy: header, then the extents as they come, each checked; or an error, and the source as it was."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from batchflow._core import Extent, crc32c
from batchflow.errors import JournalError, NoRoomError, ResourceError
from batchflow.output.ordering import ordered_path, write_ordered
from batchflow.output.segment import RESTART_HINT

ROWS = b"h\nccc\naa\nGARBAGE\nb\n"


def extent(first_item: int, offset: int, text: bytes) -> Extent:
    return Extent(first_item, 1, offset, len(text), crc32c(text), 1, 0, 1, 1)


A, B, C = extent(0, 6, b"aa\n"), extent(1, 17, b"b\n"), extent(2, 2, b"ccc\n")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "rows.csv.partial"
    path.write_bytes(ROWS)
    return path


def test_header_and_extents_lie_one_behind_the_other(path: Path) -> None:
    ordered_path(path).write_text("half of an older copy")
    text = b"h\naa\nb\nccc\n"
    assert write_ordered(path, 2, [A, B, C]) == (len(text), crc32c(text))
    assert ordered_path(path) == path.with_name("rows.csv.partial.ordered")
    assert ordered_path(path).read_bytes() == text
    assert path.read_bytes() == ROWS


def test_of_nothing_the_copy_is_empty(path: Path) -> None:
    assert write_ordered(path, 0, []) == (0, 0)
    assert ordered_path(path).read_bytes() == b""


def test_large_extents_are_copied_block_by_block(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("batchflow.output.ordering._BLOCK", 2)
    assert write_ordered(path, 2, [C, A]) == (9, crc32c(b"h\nccc\naa\n"))
    assert ordered_path(path).read_bytes() == b"h\nccc\naa\n"


@pytest.mark.parametrize(
    ("damaged", "place"),
    [
        (ROWS.replace(b"aa", b"ab"), "offset=6, size=3"),
        (ROWS[:-1], "offset=17, size=2"),
        (ROWS[:17], "offset=17, size=2"),
        (ROWS.replace(b"ccc", b"ccd"), "offset=2, size=4"),
    ],
)
def test_bytes_that_are_not_those_committed_are_no_copy(path: Path, damaged: bytes, place: str) -> None:
    path.write_bytes(damaged)
    with pytest.raises(JournalError) as caught:
        write_ordered(path, 2, [A, B, C])
    assert (caught.value.message, caught.value.hint) == (f"{path} is not as it was written, {place}", RESTART_HINT)
    assert path.read_bytes() == damaged


def test_a_link_in_the_place_of_the_copy_is_replaced(path: Path, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("precious")
    ordered_path(path).symlink_to(precious)
    write_ordered(path, 2, [A])
    assert (ordered_path(path).is_symlink(), precious.read_text()) == (False, "precious")


@pytest.mark.parametrize(("number", "kind"), [(errno.ENOSPC, NoRoomError), (errno.EIO, ResourceError)])
def test_a_copy_that_cannot_be_made_durable_is_told(
    path: Path, monkeypatch: pytest.MonkeyPatch, number: int, kind: type[Exception]
) -> None:
    def fails(descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(kind, match=f"cannot write {path}.ordered: {os.strerror(number)}"):
        write_ordered(path, 2, [A])
    assert path.read_bytes() == ROWS
