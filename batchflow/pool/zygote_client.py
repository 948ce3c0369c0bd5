"""The driver's end of the conversation with its zygote (``worker/zygote.py`` has the messages).

Never blocks, except in ``close``.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import socket
import subprocess
import sys
import weakref
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import batchflow
from batchflow.errors import ResourceError
from batchflow.worker.capture import zygote_environment
from batchflow.worker.spec import WorkerSpec
from batchflow.worker.wire import receive


@dataclass(frozen=True)
class Message:
    """What the zygote said, with the descriptors that came along; the receiver closes them."""

    values: dict[str, Any]
    descriptors: tuple[int, ...] = ()


GRACE_S = 0.5
"""How long a zygote may take to end its workers; one that is importing does not even hear of it."""

_live: weakref.WeakSet[ZygoteClient] = weakref.WeakSet()


def _forget_after_fork() -> None:
    """A forked copy of the driver is not the driver: it must not keep the zygote alive, nor speak with it."""
    for client in list(_live):
        client.forget()


os.register_at_fork(after_in_child=_forget_after_fork)


class ZygoteClient:
    """One zygote process, from exec to its end."""

    def __init__(self, spec: WorkerSpec, pickled: bytes | None, log_fd: int | None) -> None:
        self._spec = spec
        self._pickled = pickled
        self._log_fd = log_fd
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._lifeline = -1
        self._outbox: deque[tuple[bytes, list[int]]] = deque()

    def start(self) -> None:
        """Exec a fresh interpreter; it loads the user's code at once and says so in a message."""
        _live.add(self)
        control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        lifeline_read, self._lifeline = os.pipe()
        spec_fd = _memory_file("batchflow-spec", self._spec.to_json())
        pickled_fd = -1 if self._pickled is None else _memory_file("batchflow-function", self._pickled)
        inherited = [fd for fd in (theirs.fileno(), lifeline_read, spec_fd, pickled_fd) if fd >= 0]
        boot = Path(batchflow.__file__).parent / "worker" / "boot.py"
        variables = dict(os.environ) | dict(self._spec.environment)
        numbers = [str(fd) for fd in (theirs.fileno(), lifeline_read, spec_fd, pickled_fd)]
        try:
            self._process = subprocess.Popen(
                [sys.executable, str(boot), "batchflow.worker.zygote", *numbers],
                stdin=subprocess.DEVNULL,
                stdout=self._log_fd,
                stderr=self._log_fd,
                pass_fds=inherited,
                env=variables | zygote_environment(variables),
                start_new_session=True,  # Ctrl-C is for the driver, which knows what to do
            )
        except OSError as error:
            control.close()
            raise ResourceError(f"cannot start the process that workers are forked from: {error}") from error
        finally:
            theirs.close()
            for descriptor in inherited[1:]:
                os.close(descriptor)
        control.setblocking(False)
        self._control = control

    @property
    def started(self) -> bool:
        return self._control is not None

    def fileno(self) -> int:
        """The descriptor that becomes readable when there is a message, or the zygote is gone."""
        if self._control is None:
            raise ValueError("the zygote has not been started")
        return self._control.fileno()

    def send_listing(self, description: dict[str, int], descriptors: tuple[int, ...]) -> None:
        self._send({"op": "listing", "description": description}, descriptors)

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
        while self._outbox:
            self._drop_first()
        if self._control is not None:
            self._control.close()
            self._control = None
        if self._lifeline >= 0:
            os.close(self._lifeline)
            self._lifeline = -1
        if self._process is not None:
            self._process.returncode = 0  # not our child: nothing to wait for
            self._process = None

    def close(self) -> int | None:
        """End the zygote and with it every worker; returns its exit status (negative: a signal)."""
        while self._outbox:
            self._drop_first()
        if self._control is not None:
            self._control.close()
            self._control = None
        process, self._process = self._process, None
        if process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(GRACE_S)  # it ends what its workers have started
        if self._lifeline >= 0:
            os.close(self._lifeline)  # the kernel kills it now, whatever it is doing
            self._lifeline = -1
        if process is None:
            return None
        try:
            return process.wait(timeout=10)
        except subprocess.TimeoutExpired:  # it waits for a dead file system, and ends when that answers
            return None


def _memory_file(name: str, content: bytes) -> int:
    descriptor = os.memfd_create(name, os.MFD_CLOEXEC)
    with open(descriptor, "wb", closefd=False) as file:
        file.write(content)
    return descriptor
