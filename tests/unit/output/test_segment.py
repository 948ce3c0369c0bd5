"""The growing output file: whole after every call, taken back after an error, and touched by nobody else."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from batchflow._core import crc32c
from batchflow.errors import JournalError, NoRoomError, ResourceError
from batchflow.output.segment import RESTART_HINT, Segment


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "build" / "rows.csv.partial"


@pytest.fixture
def segment(path: Path) -> Iterator[Segment]:
    segment = Segment(path)
    segment.create()
    yield segment
    segment.close()


def append(segment: Segment, content: bytes) -> None:
    segment.append(memoryview(content), crc32c(content, segment.checksum))


class Writes:
    """``os.pwrite`` that does what the list says, call by call: a number of bytes, an error; then as ever."""

    def __init__(self, *script: int | OSError) -> None:
        self._script = list(script)
        self._real = os.pwrite

    def __call__(self, descriptor: int, view: Any, position: int) -> int:
        if not self._script:
            return self._real(descriptor, view, position)
        step = self._script.pop(0)
        if isinstance(step, OSError):
            raise step
        return self._real(descriptor, view[:step], position)


def failing(number: int) -> OSError:
    return OSError(number, os.strerror(number))


def test_it_grows_by_what_is_appended(segment: Segment, path: Path) -> None:
    assert (segment.size, segment.checksum, path.read_bytes()) == (0, 0, b"")
    append(segment, b"one\n")
    append(segment, b"")
    append(segment, b"two\n")
    assert path.read_bytes() == b"one\ntwo\n"
    assert (segment.size, segment.checksum) == (8, crc32c(b"one\ntwo\n"))
    assert segment.file_id == path.stat().st_ino
    segment.sync()
    segment.check()


@pytest.mark.parametrize("left", ["file", "link", "nothing"])
def test_whatever_has_the_name_is_replaced_when_it_is_created(path: Path, tmp_path: Path, left: str) -> None:
    path.parent.mkdir()
    precious = tmp_path / "precious"
    precious.write_text("precious")
    if left == "file":
        path.write_text("old")
    elif left == "link":
        path.symlink_to(precious)
    segment = Segment(path)
    segment.create()
    append(segment, b"new")
    segment.close()
    segment.close()  # as often as you like
    assert (path.is_symlink(), path.read_bytes(), precious.read_text()) == (False, b"new", "precious")


def test_a_file_that_cannot_be_created_is_named(tmp_path: Path) -> None:
    (tmp_path / "build").write_text("in the way")
    with pytest.raises(ResourceError, match=r"cannot write .*/build/rows: "):
        Segment(tmp_path / "build" / "rows").create()


@pytest.mark.parametrize(
    "script",
    [[3, 1, 2], [1] * 8, [failing(errno.EIO)], [3, failing(errno.ENOSPC)], [0, 4, 0, 9]],
    ids=["short", "byte by byte", "at once", "in the middle", "of nothing"],
)
def test_short_writes_go_on_and_what_an_error_left_is_taken_back(
    segment: Segment, path: Path, monkeypatch: pytest.MonkeyPatch, script: list[Any]
) -> None:
    append(segment, b"kept\n")
    fails = any(isinstance(one, OSError) for one in script)
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", Writes(*script))
        if fails:
            with pytest.raises(ResourceError, match=f"cannot write {path}: "):
                append(segment, b"new row\n")
            segment.take_back(5, crc32c(b"kept\n"))
        else:
            append(segment, b"new row\n")
    content = b"kept\n" if fails else b"kept\nnew row\n"
    assert path.read_bytes() == content
    assert (segment.size, segment.checksum) == (len(content), crc32c(content))
    append(segment, b"more\n")  # it can go on
    assert path.read_bytes() == content + b"more\n"


@pytest.mark.parametrize(
    ("number", "kind", "message"),
    [
        (errno.ENOSPC, NoRoomError, r": No space left on device, free=[\d,]+ bytes$"),
        (errno.EDQUOT, NoRoomError, r": Disk quota exceeded, free=[\d,]+ bytes$"),
        (errno.EFBIG, ResourceError, r": File too large, a limit of this process \(ulimit -f\) or of the file system"),
        (errno.EIO, ResourceError, r": Input/output error$"),
    ],
)
def test_an_error_says_whose_fault_it_is(
    segment: Segment, path: Path, monkeypatch: pytest.MonkeyPatch, number: int, kind: type[Exception], message: str
) -> None:
    monkeypatch.setattr(os, "pwrite", Writes(failing(number)))
    with pytest.raises(kind, match=f"^cannot write {path}{message}") as caught:
        append(segment, b"new")
    assert type(caught.value) is kind
    assert caught.value.hint.endswith(", then run the same command again: it goes on where it stopped")  # type: ignore[attr-defined]


def test_an_error_on_a_disk_that_will_not_even_say_how_full_it_is(
    segment: Segment, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*arguments: object) -> Any:
        raise failing(errno.EIO)

    append(segment, b"kept")
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", Writes(2, failing(errno.ENOSPC)))
        patch.setattr(os, "statvfs", broken)
        patch.setattr(os, "ftruncate", broken)
        with pytest.raises(NoRoomError, match=f"^cannot write {path}: No space left on device$"):
            append(segment, b"new")
    # What could not be taken back is garbage; that it is ours is not known any more, so nothing more is written.
    assert path.read_bytes() == b"kept" + b"ne"
    with pytest.raises(JournalError, match="was changed by another program"):
        append(segment, b"more")


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC])
def test_a_failed_sync_is_told_and_not_tried_again(
    segment: Segment, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    calls = []

    def fails(descriptor: int) -> None:
        calls.append(descriptor)
        raise failing(number)

    append(segment, b"row")
    monkeypatch.setattr(os, "fdatasync", fails)
    with pytest.raises(ResourceError, match="cannot write"):
        segment.sync()
    assert len(calls) == 1


@pytest.mark.parametrize(
    ("meddle", "message"),
    [
        (lambda path: path.unlink(), "{path} was removed by another program while it was written"),
        (
            lambda path: (path.rename(path.with_name("x")), path.write_bytes(b"kept")),
            "{path} was replaced by another program while it was written",
        ),
        (
            lambda path: path.write_bytes(b"kept!"),
            "{path} was changed by another program while it was written, size=5, written=4",
        ),
        (
            lambda path: os.truncate(path, 3),
            "{path} was changed by another program while it was written, size=3, written=4",
        ),
        (
            lambda path: os.utime(path, ns=(1, 1)),
            "{path} was changed by another program while it was written, size=4, written=4",
        ),
    ],
    ids=["removed", "replaced", "longer", "shorter", "touched"],
)
def test_who_else_touches_it_is_noticed_before_more_is_written(
    segment: Segment, path: Path, meddle: Any, message: str
) -> None:
    append(segment, b"kept")
    meddle(path)
    for act in (segment.check, lambda: append(segment, b"more")):
        with pytest.raises(JournalError) as caught:
            act()
        assert (caught.value.message, caught.value.hint) == (message.format(path=path), RESTART_HINT)
    assert not path.exists() or b"more" not in path.read_bytes()


def test_what_an_earlier_run_left_is_opened_and_cut(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"kept\ngarb")
    segment = Segment(path)
    assert segment.open() == 9
    assert segment.read_checksum(0, 5) == crc32c(b"kept\n")
    assert segment.read_checksum(5, 100) == crc32c(b"garb")
    assert segment.read_checksum(2, 3, crc32c(b"ke")) == crc32c(b"kept\n")
    segment.cut(5, crc32c(b"kept\n"))
    append(segment, b"more\n")
    assert path.read_bytes() == b"kept\nmore\n"
    assert segment.checksum == crc32c(b"kept\nmore\n")
    segment.take_back(5, crc32c(b"kept\n"))
    assert (path.read_bytes(), segment.size, segment.checksum) == (b"kept\n", 5, crc32c(b"kept\n"))
    segment.check()
    segment.close()


def test_what_cannot_be_taken_back_is_an_error(segment: Segment, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: object) -> None:
        raise failing(errno.EIO)

    append(segment, b"kept\n")
    append(segment, b"lost\n")
    monkeypatch.setattr(os, "ftruncate", broken)
    with pytest.raises(ResourceError, match=f"cannot write {path}: Input/output error"):
        segment.take_back(5, crc32c(b"kept\n"))
    assert segment.size == 10


def test_a_checksum_of_more_than_one_block_is_that_of_the_whole(
    segment: Segment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("batchflow.output.checksums._BLOCK", 3)
    append(segment, b"abcdefgh")
    assert segment.read_checksum(1, 7) == crc32c(b"bcdefgh")
    assert segment.read_checksum(1, 5) == crc32c(b"bcdef")
    assert segment.read_checksum(8, 5) == 0


@pytest.mark.parametrize(
    ("left", "message"),
    [
        ("nothing", "the output of an interrupted run is gone: {path}"),
        ("link", "the output of an interrupted run is no file of ours any more: {path}"),
        ("fifo", "the output of an interrupted run is no file any more: {path}"),
        ("no folder", "the output of an interrupted run is no file of ours any more: {path}"),
    ],
)
def test_what_is_left_is_refused_if_it_is_not_our_file(path: Path, tmp_path: Path, left: str, message: str) -> None:
    if left == "no folder":
        path.parent.write_text("in the way")
    else:
        path.parent.mkdir()
    if left == "link":
        (tmp_path / "precious").write_text("precious")
        path.symlink_to(tmp_path / "precious")
    elif left == "fifo":
        os.mkfifo(path)
    segment = Segment(path)
    with pytest.raises(JournalError) as caught:
        segment.open()
    segment.close()
    assert (caught.value.message, caught.value.hint) == (message.format(path=path), RESTART_HINT)


def test_a_file_that_cannot_be_opened_for_another_reason_is_the_machines_fault(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_descriptors(*arguments: object) -> int:
        raise failing(errno.EMFILE)

    monkeypatch.setattr(os, "open", no_descriptors)
    with pytest.raises(ResourceError, match=f"cannot write {path}: Too many open files"):
        Segment(path).open()
