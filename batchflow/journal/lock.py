"""One run of a workflow at a time: a lock that heals itself.

The kernel holds it (``flock``), so it ends with its owner however that ends; what is written inside only names the
owner for the message.  Nothing ever has to be unlocked by hand.

Invariant: whoever holds the lock holds it on the file that has the name now, not on one deleted meanwhile.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import socket
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any

from batchflow.clock import Clock, SystemClock
from batchflow.errors import RefusedError, ResourceError
from batchflow.journal.state_folder import boot_id, make_state_folder, open_private_file
from batchflow.private import open_regular

LOCK_NAME = "lock"
_RETRY_S = 0.05
_SIZE_MAX = 1 << 12
"""Bytes of what a holder writes about itself, and more."""


class WorkflowLock:
    """Held from ``acquire`` to ``release``; a context manager that does both."""

    def __init__(
        self,
        state_folder: Path,
        *,
        wait_s: float = 5.0,
        clock: Clock | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._path = state_folder / LOCK_NAME
        self._wait_s = wait_s
        self._clock = clock or SystemClock()
        self._sleep = sleep
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Take the lock, trying for ``wait_s`` seconds.

        Raises ``RefusedError`` that names the holder, ``ResourceError`` where the file system has no locks.
        """
        make_state_folder(self._path.parent)
        deadline = self._clock.monotonic() + self._wait_s
        while not self._try_acquire():
            if self._clock.monotonic() >= deadline:
                raise RefusedError(
                    f"another run of this workflow is going on: {_describe(read_holder(self._path.parent))}",
                    hint="wait for it or end it, then give the same command again",
                )
            self._sleep(_RETRY_S)

    def release(self) -> None:
        """Give the lock back; without effect if it is not held."""
        if self._descriptor is not None:
            # A process that lives on after its run, a notebook, must not be taken for a run that goes on.
            with contextlib.suppress(OSError):
                os.ftruncate(self._descriptor, 0)
            # Unlock explicitly: a process forked meanwhile shares the lock through its copy of the descriptor.
            with contextlib.suppress(OSError):
                fcntl.flock(self._descriptor, fcntl.LOCK_UN)
            with contextlib.suppress(OSError):  # the words in it are for messages; the lock is given back all the same
                os.close(self._descriptor)
            self._descriptor = None

    def _try_acquire(self) -> bool:
        descriptor = open_private_file(self._path, os.O_RDWR)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not _same_file(descriptor, self._path):
                os.close(descriptor)
                return False
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, json.dumps(_myself()).encode(), 0)
        except BlockingIOError:
            os.close(descriptor)
            return False
        except OSError as error:
            os.close(descriptor)
            what = "file locks are not supported" if error.errno in (errno.ENOLCK, errno.ENOTSUP) else error.strerror
            raise ResourceError(f"cannot lock path={self._path}: {what}") from error
        self._descriptor = descriptor
        return True

    def __enter__(self) -> WorkflowLock:
        self.acquire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.release()


def read_holder(state_folder: Path) -> Mapping[str, Any]:
    """What the last holder wrote about itself: pid, host, started_at, boot_id, start_ticks; empty if unreadable."""
    try:
        with open_regular(state_folder / LOCK_NAME) as file:
            value = json.loads(file.read(_SIZE_MAX))
    except (OSError, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def describe_live_holder(state_folder: Path) -> str | None:
    """Who holds the lock, ``pid=7, host=h, started=…``; None if nobody does, as far as ``holder_is_alive`` can tell."""
    return _describe(read_holder(state_folder)) if holder_is_alive(state_folder) else None


def holder_is_alive(state_folder: Path) -> bool:
    """Whether the process that last took the lock still lives, without touching the lock.

    A holder on another host counts as alive: nothing here can tell.
    """
    holder = read_holder(state_folder)
    if not holder:
        return False
    if holder.get("host") != socket.gethostname():
        return True
    pid = holder.get("pid")
    if not isinstance(pid, int) or holder.get("boot_id") != boot_id():
        return False
    return holder.get("start_ticks") == _start_ticks(pid)


def _myself() -> dict[str, Any]:
    pid = os.getpid()
    return {
        "pid": pid,
        "host": socket.gethostname(),
        "started_at": datetime.now().astimezone().isoformat(timespec="seconds"),
        "boot_id": boot_id(),
        "start_ticks": _start_ticks(pid),
    }


def _describe(holder: Mapping[str, Any]) -> str:
    if not holder:
        return "its owner has not written its name yet"
    return f"pid={holder.get('pid')}, host={holder.get('host')}, started={holder.get('started_at')}"


def _start_ticks(pid: int) -> int | None:
    """When process ``pid`` started, in clock ticks since boot: with the pid it names one process; None if gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_bytes()
        return int(text.rpartition(b")")[2].split()[19])
    except (OSError, ValueError, IndexError):
        return None


def _same_file(descriptor: int, path: Path) -> bool:
    try:
        named = path.stat()
    except FileNotFoundError:
        return False
    held = os.fstat(descriptor)
    return (held.st_dev, held.st_ino) == (named.st_dev, named.st_ino)
