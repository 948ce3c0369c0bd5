"""The driver's end of the conversation with its zygote, over a real socket, without a process."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from batchflow.errors import ResourceError
from batchflow.pool import zygote_client as room
from batchflow.pool.zygote_client import ZygoteClient
from batchflow.worker.spec import WorkerSpec


class PlayedProcess:
    """What ``Popen`` gives; ``status`` is how it ends, None: it does not."""

    def __init__(self, pid: int = 4711, status: int | None = 0) -> None:
        self.pid = pid
        self.status = status
        self.returncode: int | None = None
        self.waits: list[float | None] = []

    def wait(self, timeout: float | None = None) -> int | None:
        self.waits.append(timeout)
        if self.status is None:
            raise room.subprocess.TimeoutExpired("zygote", timeout or 0.0)
        self.returncode = self.status
        return self.status


class Wire:
    """A client that was started, and the zygote's ends of everything."""

    def __init__(self, patch: pytest.MonkeyPatch, *, pickled: bytes | None = None, status: int | None = 0) -> None:
        self.process = PlayedProcess(status=status)
        self.ended = True
        self.sessions: list[int] = []
        self.signals: list[int] = []
        self.descriptors: list[int] = []
        self.given: list[bytes] = []
        patch.setattr(room.subprocess, "Popen", self._popen)
        self.woken: list[int] = []
        patch.setattr(room, "wake_at_end", lambda pipe, pid: self.woken.append(pid))
        patch.setattr(room.os, "pidfd_open", lambda pid: os.eventfd(0, os.EFD_NONBLOCK))
        patch.setattr(room, "is_readable", lambda descriptor, timeout_s: self.ended)
        patch.setattr(room, "kill_session", self.sessions.append)
        patch.setattr(room, "_was_killed", lambda pid: False)
        patch.setattr(room.signal, "pidfd_send_signal", lambda descriptor, number: self.signals.append(number))
        self.client = ZygoteClient(WorkerSpec("function", 1), pickled, None)
        self.client.start()

    def _popen(self, command: list[str], **keys: Any) -> PlayedProcess:
        lifeline, control, spec, pickled = (int(one) for one in command[2:])
        assert keys["pass_fds"] == [one for one in (lifeline, control, spec, pickled) if one >= 0]
        assert keys["start_new_session"]
        self.given = [os.pread(one, 1 << 20, 0) for one in (spec, pickled) if one >= 0]
        self.control = socket.socket(fileno=os.dup(control))
        self.lifeline = os.dup(lifeline)
        return self.process

    def said(self) -> tuple[bytes, int]:
        """The next message to the zygote, and how many descriptors came along."""
        message, descriptors, _, _ = socket.recv_fds(self.control, 1 << 17, 8)
        for one in descriptors:
            os.close(one)
        return message, len(descriptors)

    def close(self) -> None:
        self.client.close()
        self.control.close()
        os.close(self.lifeline)


@pytest.fixture
def wire(monkeypatch: pytest.MonkeyPatch) -> Iterator[Wire]:
    wire = Wire(monkeypatch)
    yield wire
    wire.close()


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_before_it_is_started_it_says_and_hears_nothing() -> None:
    client = ZygoteClient(WorkerSpec("function", 1), None, None)
    client.send_fork(0, 1, ())
    assert (client.started, client.receive(), client.close()) == (False, None, None)
    with pytest.raises(ValueError, match="the zygote has not been started"):
        client.fileno()
    client.forget()


@pytest.mark.parametrize("pickled", [None, b"a function"])
def test_it_is_given_what_it_needs_and_nothing_is_left_open(
    monkeypatch: pytest.MonkeyPatch, pickled: bytes | None
) -> None:
    before = open_descriptors()
    wire = Wire(monkeypatch, pickled=pickled)
    assert wire.given == [WorkerSpec("function", 1).to_json(), *([pickled] if pickled else [])]
    assert wire.client.started
    assert wire.woken == [wire.process.pid]
    assert wire.client.fileno() == wire.client._control.fileno()  # type: ignore[union-attr]
    # Both ends of control and lifeline, the pidfd: what was handed over is closed here.
    assert open_descriptors() == before + 5
    wire.close()
    assert open_descriptors() == before


@pytest.mark.parametrize("lacking", ["process", "pidfd", "memory"])
def test_a_machine_that_gives_no_process_is_told(monkeypatch: pytest.MonkeyPatch, lacking: str) -> None:
    def none(*arguments: object, **keys: object) -> Any:
        raise OSError(errno.EAGAIN, "Resource temporarily unavailable")

    before = open_descriptors()
    process = PlayedProcess(status=7)
    monkeypatch.setattr(room.subprocess, "Popen", none if lacking == "process" else lambda *a, **k: process)
    monkeypatch.setattr(room, "wake_at_end", lambda pipe, pid: None)
    monkeypatch.setattr(room.os, "pidfd_open", none)
    if lacking == "memory":
        monkeypatch.setattr(room.os, "memfd_create", none)
    client = ZygoteClient(WorkerSpec("function", 1), None, None)
    what = (
        "this machine gives no shared memory: " if lacking == "memory" else "cannot start the process that workers are"
    )
    with pytest.raises(ResourceError, match=what):
        client.start()
    client.close()
    assert (client.started, open_descriptors()) == (False, before)
    assert process.waits == ([None] if lacking == "pidfd" else [])  # what was started is collected


# Saying


def test_messages_go_with_their_descriptors_which_stay_the_callers(wire: Wire) -> None:
    ours = os.eventfd(0)
    wire.client.send_fork(3, 7, (ours, ours))
    wire.client.send_input({"count": 2}, (ours,))
    assert wire.said() == (b'{"op": "fork", "worker": 3, "generation": 7}', 2)
    assert wire.said() == (b'{"op": "input", "description": {"count": 2}}', 1)
    os.close(ours)


def test_what_finds_no_room_waits_and_goes_later_in_order(wire: Wire) -> None:
    before = open_descriptors()
    ours = os.eventfd(0)
    for worker in range(1000):
        wire.client.send_fork(worker, 1, (ours,))
    waiting = len(wire.client._outbox)
    assert waiting > 0
    assert open_descriptors() == before + 1 + waiting
    found = 0
    while found < 1000:
        message, _ = wire.said()
        assert message == b'{"op": "fork", "worker": %d, "generation": 1}' % found
        found += 1
        wire.client.flush()
    assert (len(wire.client._outbox), open_descriptors()) == (0, before + 1)
    os.close(ours)


@pytest.mark.parametrize("number", [errno.EPIPE, errno.ECONNRESET])
def test_what_is_said_to_a_zygote_that_is_gone_is_dropped(
    wire: Wire, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def gone(*arguments: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(room.socket, "send_fds", gone)
    before = open_descriptors()
    wire.client.send_fork(0, 1, (0,))
    assert (len(wire.client._outbox), open_descriptors()) == (0, before)


def test_too_many_descriptors_on_their_way_are_a_reason_to_wait(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    real, number = room.socket.send_fds, errno.ETOOMANYREFS

    def send(*arguments: Any) -> Any:
        if number:
            raise OSError(number, os.strerror(number))
        return real(*arguments)

    monkeypatch.setattr(room.socket, "send_fds", send)
    wire.client.send_fork(0, 1, ())
    assert len(wire.client._outbox) == 1
    number = errno.EBADF
    with pytest.raises(OSError, match="Bad file descriptor"):
        wire.client.flush()
    number = 0
    wire.client.flush()
    assert wire.said()[0] == b'{"op": "fork", "worker": 0, "generation": 1}'


# Hearing


def test_it_hears_what_the_zygote_says_until_that_is_gone(wire: Wire) -> None:
    assert wire.client.receive() is None
    theirs = os.eventfd(0)
    socket.send_fds(wire.control, [b'{"event": "forked"}'], [theirs])
    os.close(theirs)
    message = wire.client.receive()
    assert message is not None
    assert message.values == {"event": "forked"}
    (descriptor,) = message.descriptors
    assert not os.get_inheritable(descriptor)
    os.close(descriptor)
    wire.control.shutdown(socket.SHUT_RDWR)
    with pytest.raises(EOFError, match="the zygote is gone"):
        wire.client.receive()


def test_a_connection_that_was_reset_is_a_zygote_that_is_gone(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    def reset(control: object) -> Any:
        raise ConnectionResetError

    monkeypatch.setattr(room, "receive", reset)
    with pytest.raises(EOFError, match="the zygote is gone"):
        wire.client.receive()


# The end


@pytest.mark.parametrize(("status", "expected"), [(0, 0), (3, 3), (-9, -9), (128 + 9, -9), (128 + 15, -15), (128, 128)])
def test_how_it_ended_is_told_as_a_status_or_a_signal(
    monkeypatch: pytest.MonkeyPatch, status: int, expected: int
) -> None:
    wire = Wire(monkeypatch, status=status)
    assert wire.client.close() == expected
    assert (wire.client.close(), wire.sessions, wire.signals) == (None, [], [])
    assert os.read(wire.lifeline, 1) == b""  # its other end is closed: the guard ends them all
    wire.close()


def test_what_does_not_end_is_killed_with_its_whole_session(monkeypatch: pytest.MonkeyPatch) -> None:
    wire = Wire(monkeypatch, status=None)
    wire.ended = False
    assert wire.client.close(0.5) is None
    assert (wire.signals, wire.sessions, wire.process.waits) == ([9], [4711], [1.0])
    wire.close()


def test_what_a_killed_guard_could_not_end_is_ended_here(monkeypatch: pytest.MonkeyPatch) -> None:
    wire = Wire(monkeypatch, status=-9)
    monkeypatch.setattr(room, "_was_killed", lambda pid: True)
    assert wire.client.close() == -9
    assert (wire.signals, wire.sessions) == ([], [4711])
    wire.close()


def test_a_message_that_was_never_sent_is_closed_with_the_rest(wire: Wire) -> None:
    ours = os.eventfd(0)
    for worker in range(1000):
        wire.client.send_fork(worker, 1, (ours,))
    os.close(ours)
    wire.client.close()
    assert len(wire.client._outbox) == 0


def test_a_forked_copy_lets_go_without_ending_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    wire = Wire(monkeypatch)
    room._forget_after_fork()  # what a child of the driver does first
    assert (wire.client.started, wire.client.close(), wire.process.waits) == (False, None, [])
    assert (wire.signals, wire.process.returncode) == ([], 0)
    wire.close()


@pytest.mark.parametrize(("code", "killed"), [(os.CLD_EXITED, False), (os.CLD_KILLED, True), (os.CLD_DUMPED, True)])
def test_who_was_killed_is_told_by_the_kernel(monkeypatch: pytest.MonkeyPatch, code: int, killed: bool) -> None:
    monkeypatch.setattr(os, "waitid", lambda *arguments: SimpleNamespace(si_code=code))
    assert room._was_killed(1) == killed
    monkeypatch.setattr(os, "waitid", lambda *arguments: None)
    assert not room._was_killed(1)


def test_a_child_that_somebody_else_has_collected_was_not_killed_as_far_as_we_know() -> None:
    assert not room._was_killed(os.getpid())


def test_waiting_for_a_descriptor_ends_with_it_or_with_the_time() -> None:
    ours = os.eventfd(0)
    assert not room.is_readable(ours, 0.0)
    assert not room.is_readable(ours, -5.0)
    os.eventfd_write(ours, 1)
    assert room.is_readable(ours, 60.0)
    os.close(ours)
