"""The lock of a workflow: one holder at a time, patience by the clock, and a name that is believed only with proof."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from batchflow.clock import FakeClock
from batchflow.errors import RefusedError
from batchflow.journal import lock as room
from batchflow.journal.lock import LOCK_NAME, WorkflowLock, describe_live_holder, holder_is_alive, read_holder


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / ".batchflow" / "flow"


def held_by(state: Path, **changes: Any) -> None:
    """The lock file as a holder left it, with something else in it."""
    with WorkflowLock(state):
        holder = dict(read_holder(state))
    (state / LOCK_NAME).write_text(json.dumps(holder | changes))


def test_it_is_held_until_it_is_given_back(state: Path) -> None:
    first, second = WorkflowLock(state, wait_s=0.0), WorkflowLock(state, wait_s=0.0)
    first.acquire()
    assert read_holder(state)["pid"] == os.getpid()
    assert holder_is_alive(state)
    with pytest.raises(
        RefusedError, match=f"another run of this workflow is going on: pid={os.getpid()}, host="
    ) as caught:
        second.acquire()
    assert caught.value.hint == "wait for it or end it, then give the same command again"
    second.release()  # it holds nothing: without effect
    assert holder_is_alive(state)
    first.release()
    first.release()
    assert (read_holder(state), describe_live_holder(state)) == ({}, None)
    with second:
        assert holder_is_alive(state)


def test_it_waits_as_long_as_it_is_told(state: Path) -> None:
    clock, slept = FakeClock(), []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        clock.advance(seconds)

    with WorkflowLock(state), pytest.raises(RefusedError):
        WorkflowLock(state, wait_s=1.0, clock=clock, sleep=sleep).acquire()
    assert 1.0 <= sum(slept) < 1.1
    assert set(slept) == {0.05}


def test_who_waits_gets_it_when_it_is_given_back(state: Path) -> None:
    first = WorkflowLock(state)
    first.acquire()
    second = WorkflowLock(state, clock=FakeClock(), sleep=lambda seconds: first.release())
    second.acquire()
    assert holder_is_alive(state)
    second.release()


@pytest.mark.parametrize("change", ["deleted", "replaced"])
def test_a_file_that_has_not_the_name_any_more_is_no_lock(
    state: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    real, calls = fcntl.flock, []

    def flock(descriptor: int, operation: int) -> None:
        if not calls:
            (state / LOCK_NAME).unlink()
            if change == "replaced":
                (state / LOCK_NAME).touch(0o600)
        calls.append(operation)
        real(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", flock)
    waited: list[float] = []
    lock = WorkflowLock(state, clock=FakeClock(), sleep=waited.append)
    lock.acquire()
    assert (len(calls), len(waited)) == (2, 1)
    assert read_holder(state)["pid"] == os.getpid()
    lock.release()


@pytest.mark.parametrize("broken", ["ftruncate", "flock", "close"])
def test_it_is_given_back_even_where_that_fails(state: Path, monkeypatch: pytest.MonkeyPatch, broken: str) -> None:
    close = os.close

    def fails(descriptor: int, *arguments: object) -> None:
        if broken == "close":  # which says so and has closed it all the same
            close(descriptor)
        raise OSError(errno.EIO, "Input/output error")

    lock = WorkflowLock(state)
    lock.acquire()
    with monkeypatch.context() as patch:
        patch.setattr(fcntl if broken == "flock" else os, broken, fails)
        lock.release()
    WorkflowLock(state, wait_s=0.0).acquire()


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"7", b"[" * 100_000, b"\xff\xfe", b'{"pid": 1' + b" " * 100_000 + b"}"]
)
def test_a_name_that_cannot_be_read_is_none(state: Path, content: bytes) -> None:
    with WorkflowLock(state):
        pass
    (state / LOCK_NAME).write_bytes(content)
    assert (read_holder(state), holder_is_alive(state), describe_live_holder(state)) == ({}, False, None)


def test_where_no_run_ever_was_nobody_holds_it(state: Path) -> None:
    assert (read_holder(state), holder_is_alive(state)) == ({}, False)


def test_a_holder_that_has_not_written_its_name_yet_is_said_to_be_nameless(state: Path) -> None:
    with WorkflowLock(state, wait_s=0.0):
        (state / LOCK_NAME).write_bytes(b"")
        with pytest.raises(RefusedError, match=r"is going on: its owner has not written its name yet$"):
            WorkflowLock(state, wait_s=0.0).acquire()


@pytest.mark.parametrize(
    ("change", "lives"),
    [
        ({}, True),
        ({"pid": 2**22 + 1}, False),  # beyond the largest that the kernel gives
        ({"pid": "1"}, False),
        ({"pid": None}, False),
        ({"boot_id": "another"}, False),
        ({"start_ticks": 1}, False),
        ({"host": "another"}, True),
        ({"host": "another", "pid": None}, True),
    ],
)
def test_a_holder_lives_if_its_process_does(state: Path, change: dict[str, Any], lives: bool) -> None:
    held_by(state, **change)
    assert holder_is_alive(state) == lives
    found = describe_live_holder(state)
    assert (found is not None) == lives
    if found is not None:
        host = change.get("host", socket.gethostname())
        assert found.startswith(f"pid={change.get('pid', os.getpid())}, host={host}, started=20")


@pytest.mark.parametrize(
    "text", [b"7 (odd) name) S" + b" 1" * 18 + b" 4242 1", b"7 (short) S 1", b"", b"7 (x) S" + b" x" * 30]
)
def test_when_a_process_started_is_read_from_the_kernels_line(monkeypatch: pytest.MonkeyPatch, text: bytes) -> None:
    read: Callable[[Path], bytes] = lambda path: text  # noqa: E731
    monkeypatch.setattr(Path, "read_bytes", read)
    assert room._start_ticks(7) == (4242 if b"odd" in text else None)
