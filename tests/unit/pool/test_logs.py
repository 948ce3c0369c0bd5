"""The last words of a worker."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import batchflow
from batchflow.pool import logs
from batchflow.pool.logs import TAIL_SIZE, WorkerLog

OURS = f'  File "{Path(batchflow.__file__).parent}/worker/loop.py", line 52 in work\n'


@pytest.fixture
def log(tmp_path: Path) -> Iterator[WorkerLog]:
    log = WorkerLog(tmp_path / "worker-0.log")
    yield log
    log.close()
    log.close()


def test_the_tail_is_the_last_lines(log: WorkerLog) -> None:
    assert log.tail() == ""
    log.path.write_text("".join(f"line {number}\n" for number in range(100)))
    assert log.tail(3) == "line 97\nline 98\nline 99"
    assert log.tail().splitlines() == [f"line {number}" for number in range(80, 100)]
    assert log.tail(2, end=len("line 0\nline 1\nline 2\n")) == "line 1\nline 2"
    assert log.tail(end=0) == ""
    first = len("line 0\nline 1\n")
    assert log.tail(start=first, end=first + len("line 2\nline 3\n")) == "line 2\nline 3"
    assert log.tail(start=log.size()) == log.tail(start=log.size() + 9) == ""


def test_a_tail_has_a_bounded_size_whatever_it_holds(log: WorkerLog) -> None:
    log.path.write_bytes(b"\xff" * (3 * TAIL_SIZE))
    assert log.tail() == "\N{REPLACEMENT CHARACTER}" * TAIL_SIZE


def test_a_dump_of_a_stack_shows_the_users_frames(log: WorkerLog) -> None:
    log.path.write_text(f'before\nThread 0x1:\n  File "/home/me/score.py", line 3 in run\n{OURS}{OURS}')
    assert log.tail() == 'before\nThread 0x1:\n  File "/home/me/score.py", line 3 in run'
    assert log.read_from(7) == 'Thread 0x1:\n  File "/home/me/score.py", line 3 in run'
    assert log.size() == log.path.stat().st_size


def test_a_log_is_private_and_never_a_link(tmp_path: Path) -> None:
    log = WorkerLog(tmp_path / "log")
    log.close()
    assert (tmp_path / "log").stat().st_mode & 0o777 == 0o600
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="link"):
        WorkerLog(tmp_path / "link")


BLOCK = 4096


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two blocks are kept at the beginning and three at the end; copies are made byte by byte, or nearly."""
    monkeypatch.setattr(logs, "HEAD_SIZE", 2 * BLOCK)
    monkeypatch.setattr(logs, "END_SIZE", 3 * BLOCK)
    monkeypatch.setattr(logs, "STEP_SIZE", BLOCK)
    monkeypatch.setattr(logs, "_PART_SIZE", 100)


def disk_size(path: Path) -> int:
    return path.stat().st_blocks * 512


def text(size: int) -> bytes:
    return b"".join(b"%07d\n" % number for number in range(size // 8 + 1))[:size]


def expected(written: bytes) -> bytes:
    """What is left of a log of which so much was written."""
    dropped = len(written) - 5 * BLOCK
    if dropped <= 0:
        return written
    return written[: 2 * BLOCK] + b"\n[%d bytes dropped]\n" % dropped + written[-3 * BLOCK :]


@pytest.mark.fault("C15")
@pytest.mark.usefixtures("small")
@given(
    pieces=st.lists(st.integers(0, 4 * BLOCK), max_size=12) | st.lists(st.sampled_from([0, 1, BLOCK, 5 * BLOCK])),
    looks=st.integers(1, 5),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None)
def test_of_a_long_log_the_beginning_and_the_end_are_kept(tmp_path: Path, pieces: list[int], looks: int) -> None:
    path = tmp_path / "log"
    path.unlink(missing_ok=True)
    log = WorkerLog(path)
    written = text(sum(pieces))
    place = 0
    for number, size in enumerate(pieces):
        os.write(log.fd, written[place : place + size])
        place += size
        if number % looks == 0:
            log.trim()
            assert disk_size(path) <= (2 + 3 + 1) * BLOCK + BLOCK
            assert log.size() == place
    log.close()
    assert path.read_bytes() == expected(written)


@pytest.mark.fault("C15")
@pytest.mark.usefixtures("small")
def test_a_file_system_without_holes_keeps_the_beginning_and_what_came_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "_punch_hole", lambda *_: False)
    log = WorkerLog(tmp_path / "log")
    written = text(20 * BLOCK)
    os.write(log.fd, written[: 11 * BLOCK])
    log.trim()
    assert log.size() == 2 * BLOCK
    os.write(log.fd, written[11 * BLOCK : 12 * BLOCK])
    log.trim()
    log.close()
    words = b"\n[%d bytes dropped]\n" % (9 * BLOCK)
    assert log.path.read_bytes() == written[: 2 * BLOCK] + words + written[11 * BLOCK : 12 * BLOCK]


@pytest.mark.usefixtures("small")
def test_what_was_cut_off_is_told_even_if_nothing_came_after(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "_punch_hole", lambda *_: False)
    log = WorkerLog(tmp_path / "log")
    os.write(log.fd, text(7 * BLOCK))
    log.trim()
    log.close()
    assert log.path.read_bytes() == text(2 * BLOCK) + b"\n[%d bytes dropped]\n" % (5 * BLOCK)


@pytest.mark.usefixtures("small")
def test_a_script_that_shortens_its_log_gets_no_hole(tmp_path: Path) -> None:
    log = WorkerLog(tmp_path / "log")
    os.write(log.fd, text(20 * BLOCK))
    log.trim()
    os.ftruncate(log.fd, 10)
    log.trim()
    log.close()
    assert log.path.read_bytes() == text(10)


@pytest.mark.usefixtures("small")
def test_without_room_to_copy_the_log_stays_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = WorkerLog(tmp_path / "log")
    os.write(log.fd, text(20 * BLOCK))
    log.trim()

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    log.close()
    assert log.path.stat().st_size == 20 * BLOCK
    assert log.path.read_bytes()[-3 * BLOCK :] == text(20 * BLOCK)[-3 * BLOCK :]


@pytest.mark.usefixtures("small")
def test_the_tail_of_a_log_with_a_hole_is_its_end(tmp_path: Path) -> None:
    log = WorkerLog(tmp_path / "log")
    os.write(log.fd, text(20 * BLOCK))
    log.trim()
    assert log.tail(1) == f"{20 * BLOCK // 8 - 1:07}"
    log.close()
