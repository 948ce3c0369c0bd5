"""Ending a session: only processes that are in it, for sure, and not for ever."""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest

from batchflow.pool import session as room
from batchflow.pool.session import kill_session

SESSION = 100


class Machine:
    """Processes and their sessions; ``looks`` are what is found each time somebody asks for the session of one."""

    def __init__(self, patch: pytest.MonkeyPatch, sessions: dict[int, list[int | None]]) -> None:
        self.sessions = sessions
        self.opened: dict[int, int] = {}
        self.killed: list[int] = []
        self.slept = 0
        patch.setattr(room, "_processes", lambda: list(self.sessions))
        patch.setattr(room, "_session_of", self._session_of)
        patch.setattr(room.time, "sleep", self._sleep)
        patch.setattr(os, "pidfd_open", self._open)
        patch.setattr(signal, "pidfd_send_signal", self._kill)

    def _session_of(self, pid: int) -> int | None:
        looks = self.sessions[pid]
        return looks.pop(0) if len(looks) > 1 else looks[0]

    def _open(self, pid: int) -> int:
        if pid == 666:
            raise ProcessLookupError
        descriptor = os.eventfd(0)
        self.opened[descriptor] = pid
        return descriptor

    def _kill(self, descriptor: int, number: int) -> None:
        assert number == signal.SIGKILL
        self.killed.append(self.opened[descriptor])
        if self.opened[descriptor] < 500:
            self.sessions[self.opened[descriptor]] = [None]

    def _sleep(self, seconds: float) -> None:
        self.slept += 1


def test_its_members_are_killed_but_not_its_leader(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch, {SESSION: [SESSION], 101: [SESSION], 102: [7], 103: [SESSION], 104: [None]})
    kill_session(SESSION)
    assert (machine.killed, machine.slept) == ([101, 103], 1)


def test_where_there_is_nobody_nothing_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch, {SESSION: [SESSION], 102: [7]})
    kill_session(SESSION)
    assert (machine.killed, machine.slept) == ([], 0)


def test_a_number_that_is_somebody_elses_by_now_is_let_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch, {101: [SESSION, 7]})
    kill_session(SESSION)
    assert machine.killed == []


def test_who_has_just_gone_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch, {666: [SESSION, None], 101: [SESSION]})
    kill_session(SESSION)
    assert machine.killed == [101]


def test_what_does_not_die_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    before = len(os.listdir("/proc/self/fd"))
    machine = Machine(monkeypatch, {500: [SESSION]})
    kill_session(SESSION)
    assert machine.killed == [500] * room._LOOKS_MAX == [500] * machine.slept
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize(
    ("line", "session"),
    [(b"7 (odd) name) S 1 7 42 0", 42), (b"7 (x) Z 1 7 42 0", None), (b"7 (x) X 1 7 42 0", None), (None, None)],
)
def test_the_session_is_read_from_the_kernels_line(
    monkeypatch: pytest.MonkeyPatch, line: bytes | None, session: int | None
) -> None:
    def read(path: Any) -> bytes:
        if line is None:
            raise FileNotFoundError
        return line

    monkeypatch.setattr(room.Path, "read_bytes", read)
    assert room._session_of(7) == session


def test_this_process_is_one_of_those_there_are() -> None:
    assert os.getpid() in room._processes()
    assert room._session_of(os.getpid()) == os.getsid(0)
