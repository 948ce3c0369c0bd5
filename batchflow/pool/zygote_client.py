"""The driver's end of the conversation with its zygote (``worker/zygote.py`` has the messages).

Never blocks, except in ``close``.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import select
import signal
import socket
import subprocess
import sys
import weakref
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import batchflow
from batchflow.errors import ResourceError
from batchflow.pool.session import kill_session
from batchflow.worker.lifeline import wake_at_end
from batchflow.worker.spec import WorkerSpec
from batchflow.worker.variables import zygote_environment
from batchflow.worker.wire import receive


@dataclass(frozen=True)
class Message:
    """What the zygote said, with the descriptors that came along; the receiver closes them."""

    values: dict[str, Any]
    descriptors: tuple[int, ...] = ()


CLOSE_S = 10.0
"""How long to wait for the end of all processes together: one that waits for a dead file system may never go."""

_live: weakref.WeakSet[ZygoteClient] = weakref.WeakSet()


def _forget_after_fork() -> None:
    """A forked copy of the driver is not the driver: it must not keep the zygote alive, nor speak with it."""
    for client in list(_live):
        client.forget()


os.register_at_fork(after_in_child=_forget_after_fork)


class ZygoteClient:
    """One zygote and its guard, from exec to their end; ``close`` ends with them all that they have started."""

    def __init__(self, spec: WorkerSpec, pickled: bytes | None, log_fd: int | None) -> None:
        self._spec = spec
        self._pickled = pickled
        self._log_fd = log_fd
        self._process: subprocess.Popen[bytes] | None = None
        self._pidfd = -1
        self._control: socket.socket | None = None
        self._lifeline = -1
        self._outbox: deque[tuple[bytes, list[int]]] = deque()

    def start(self) -> None:
        """Exec a fresh interpreter; it loads the user's code at once and says so in a message.

        Raises ``ResourceError`` if the machine gives no process or no descriptors for it.
        """
        _live.add(self)
        try:
            with contextlib.ExitStack() as ours_no_more:
                descriptors = self._make_descriptors(ours_no_more)
                self._process = self._exec(descriptors)
                wake_at_end(descriptors[0], self._process.pid)
            self._pidfd = os.pidfd_open(self._process.pid)
        except OSError as error:
            self.close()
            raise ResourceError(f"cannot start the process that workers are forked from: {error}") from error

    def _make_descriptors(self, stack: contextlib.ExitStack) -> list[int]:
        """What the process inherits, closed with ``stack``: lifeline, control, spec, pickled functions (-1: none)."""

        def handed_over(descriptor: int) -> int:
            stack.callback(os.close, descriptor)
            return descriptor

        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._control.setblocking(False)
        stack.callback(theirs.close)
        lifeline, self._lifeline = os.pipe()
        handed_over(lifeline)
        spec = handed_over(_memory_file("batchflow-spec", self._spec.to_json()))
        pickled = -1
        if self._pickled is not None:
            pickled = handed_over(_memory_file("batchflow-function", self._pickled))
        return [lifeline, theirs.fileno(), spec, pickled]

    def _exec(self, descriptors: list[int]) -> subprocess.Popen[bytes]:
        boot = Path(batchflow.__file__).parent / "worker" / "boot.py"
        variables = dict(os.environ) | dict(self._spec.environment)
        return subprocess.Popen(
            [sys.executable, str(boot), *map(str, descriptors)],
            stdin=subprocess.DEVNULL,
            stdout=self._log_fd,
            stderr=self._log_fd,
            pass_fds=[descriptor for descriptor in descriptors if descriptor >= 0],
            env=variables | zygote_environment(variables),
            start_new_session=True,  # Ctrl-C is for the driver, which knows what to do
        )

    @property
    def started(self) -> bool:
        return self._control is not None

    def fileno(self) -> int:
        """The descriptor that becomes readable when there is a message, or the zygote is gone."""
        if self._control is None:
            raise ValueError("the zygote has not been started")
        return self._control.fileno()

    def send_input(self, description: Mapping[str, Any], descriptors: tuple[int, ...]) -> None:
        """What workers are told of an input, see ``worker.inputs``; descriptors stay the caller's."""
        self._send({"op": "input", "description": description}, descriptors)

    def send_fork(self, worker: int, generation: int, descriptors: tuple[int, ...]) -> None:
        """Ask for a worker; ``descriptors``: its rings, the eventfd, and its log if it has one."""
        self._send({"op": "fork", "worker": worker, "generation": generation}, descriptors)

    def _send(self, values: dict[str, Any], descriptors: tuple[int, ...]) -> None:
        if self._control is None:
            return
        self._outbox.append((json.dumps(values).encode(), [os.dup(one) for one in descriptors]))
        self.flush()

    def flush(self) -> None:
        """Send what waits for room: the zygote may be busy loading, or stopped."""
        while self._outbox and self._control is not None:
            payload, descriptors = self._outbox[0]
            try:
                socket.send_fds(self._control, [payload], descriptors)
            except BlockingIOError:
                return
            except (BrokenPipeError, ConnectionResetError):
                pass  # it is gone; receive() will say so
            except OSError as error:
                if error.errno != errno.ETOOMANYREFS:  # too many descriptors are on their way
                    raise
                return
            self._drop_first()

    def _drop_first(self) -> None:
        for descriptor in self._outbox.popleft()[1]:
            os.close(descriptor)

    def receive(self) -> Message | None:
        """The next message, None if there is none; raises ``EOFError`` when the zygote is gone."""
        if self._control is None:
            return None
        try:
            payload, descriptors = receive(self._control)
        except BlockingIOError:
            return None
        except ConnectionResetError:
            payload, descriptors = b"", []
        if not payload:
            raise EOFError("the zygote is gone")
        return Message(json.loads(payload), tuple(descriptors))

    def forget(self) -> None:
        """Let go of the zygote without ending it: it belongs to another process."""
        self._hang_up()
        self._forget_pidfd()
        if self._process is not None:
            self._process.returncode = 0  # not our child: nothing to wait for
            self._process = None

    def close(self, timeout_s: float = CLOSE_S) -> int | None:
        """End zygote, workers and all that they have started; returns the zygote's exit status (negative: a signal).

        None if they have not ended within ``timeout_s``: one of them is in the kernel's hands.
        """
        self._hang_up()
        process, self._process = self._process, None
        if process is None:
            return None
        if self._pidfd < 0:  # there was no descriptor for it; but then it has started nothing yet
            return process.wait()
        has_ended = is_readable(self._pidfd, timeout_s)
        if not has_ended:
            signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
        self._forget_pidfd()
        if not has_ended or _was_killed(process.pid):
            kill_session(process.pid)  # what the guard could not end is ours to end, as long as its number is ours
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=1.0)
        if not has_ended or process.returncode is None:
            return None
        return process.returncode if process.returncode <= 128 else 128 - process.returncode

    def _forget_pidfd(self) -> None:
        if self._pidfd >= 0:
            os.close(self._pidfd)
            self._pidfd = -1

    def _hang_up(self) -> None:
        while self._outbox:
            self._drop_first()
        if self._control is not None:
            self._control.close()
            self._control = None
        if self._lifeline >= 0:
            os.close(self._lifeline)  # with the last copy of it the guard ends them, whatever they are doing
            self._lifeline = -1


def _was_killed(pid: int) -> bool:
    """Whether a child, which has ended, was ended by a signal; it is not collected."""
    try:
        found = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT | os.WNOHANG)
    except ChildProcessError:  # somebody else collected it
        return False
    return found is not None and found.si_code != os.CLD_EXITED


def is_readable(descriptor: int, timeout_s: float) -> bool:
    """Wait until it is, or the time is over; knows descriptors beyond 1023, as ``select()`` does not."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(max(0.0, timeout_s * 1000)))


def _memory_file(name: str, content: bytes) -> int:
    try:
        descriptor = os.memfd_create(name, os.MFD_CLOEXEC)
        with open(descriptor, "wb", closefd=False) as file:
            file.write(content)
    except OSError as error:
        raise ResourceError(f"this machine gives no shared memory: {error.strerror}") from error
    return descriptor
