"""The last words of a worker."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import batchflow
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
