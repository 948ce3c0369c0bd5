"""The program that stands between the driver and one command: nothing that the command starts outlives it.

Run as ``python -I -S guard.py STATUS_FD COMMAND…``, as a child of the driver.  It starts the command in a process group
of its own, becomes the parent of everything that loses its own parent, and ends all of it when the command ends, when
the driver says so, or when the driver is gone.

```
stdin       lifeline: b"T" asks (SIGTERM, SIGKILL after the grace time), b"K" kills; its end means the driver is gone
STATUS_FD   one line "pid N" when the command runs, one line "status N" (as of waitpid) when nothing of it lives
```

Imports nothing of ours and nothing heavy.  Invariant: when this program ends by itself, none of its descendants lives.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import sys
import time
from pathlib import Path

_GRACE_S = 10.0
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_LIFELINE = 0


def main() -> int:
    """Run the command to its end; the command's own status goes to STATUS_FD."""
    status_descriptor = int(sys.argv[1])
    os.set_inheritable(status_descriptor, False)
    wake_in, wake_out = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(wake_out)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    libc = ctypes.CDLL(None)
    libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    pid = os.fork()
    if pid == 0:
        _become_command(sys.argv[2:], libc)
    # From both sides, so that the group exists before either goes on.
    with contextlib.suppress(OSError):
        os.setpgid(pid, pid)
    _tell(status_descriptor, f"pid {pid}\n")
    status = Guard(pid, wake_in).wait()
    _tell(status_descriptor, f"status {status}\n")
    return 0


def _become_command(command: list[str], libc: ctypes.CDLL) -> None:
    """In the child: turn into the command; never returns."""
    try:
        os.setpgid(0, 0)
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, signal.SIGPIPE, signal.SIGINT, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_DFL)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.execvp(command[0], command)
    except OSError as error:
        os.write(2, f"cannot start {command[0]}: {error.strerror}\n".encode(errors="surrogateescape"))
    finally:
        os._exit(127)


class Guard:
    """Waits for the command with process id ``pid`` and for everything it leaves behind."""

    def __init__(self, pid: int, wake_in: int) -> None:
        self._pid = pid
        self._wake_in = wake_in
        self._status: int | None = None
        self._deadline: float | None = None
        self._asked: set[int] = set()
        self._driver: int | None = None
        self._poller = select.poll()
        self._poller.register(_LIFELINE, select.POLLIN)
        self._poller.register(wake_in, select.POLLIN)
        # The lifeline alone would miss the driver's end while a process forked from the driver holds a copy of it.
        with contextlib.suppress(OSError):
            self._driver = os.pidfd_open(os.getppid())
            self._poller.register(self._driver, select.POLLIN)

    def wait(self) -> int:
        """The command's wait status, when neither it nor any of its descendants lives."""
        while self._reap():
            if self._deadline is None:
                if self._status is not None:
                    self._kill()
            elif time.monotonic() >= self._deadline:
                self._kill()
            else:
                self._ask()
            self._listen()
        if self._status is None:
            raise ChildProcessError("the command is no child of this process")
        return self._status

    def _reap(self) -> bool:
        """Collect every child that has ended; False when there is none left."""
        try:
            while True:
                ended, status = os.waitpid(-1, os.WNOHANG)
                if ended == 0:
                    return True
                if ended == self._pid:
                    self._status = status
        except ChildProcessError:
            return False

    def _listen(self) -> None:
        """Sleep until a child ends, the driver speaks or dies, or the time of grace is over."""
        pause_ms = None if self._deadline is None else max(0.0, self._deadline - time.monotonic()) * 1000
        ready = {descriptor for descriptor, _ in self._poller.poll(pause_ms)}
        if self._wake_in in ready:
            os.read(self._wake_in, 512)
        word = os.read(_LIFELINE, 1) if _LIFELINE in ready else None
        if word == b"" or self._driver in ready:
            for descriptor in (_LIFELINE, self._driver):
                with contextlib.suppress(KeyError, TypeError):
                    self._poller.unregister(descriptor)  # type: ignore[arg-type]
            word = b"K"
        if word == b"K":
            self._deadline = 0.0
            self._kill()
        elif word == b"T" and self._deadline is None:
            self._deadline = time.monotonic() + _GRACE_S
            self._signal_group(signal.SIGTERM)
            self._asked.add(self._pid)

    def _ask(self) -> None:
        """Ask those that left the command's group and have become our children since."""
        for child in _children():
            if child not in self._asked and _group_of(child) != self._pid:
                self._asked.add(child)
                with contextlib.suppress(OSError):
                    os.kill(child, signal.SIGTERM)

    def _kill(self) -> None:
        """Kill the command's group and all children; what these leave comes to us next, with a SIGCHLD."""
        self._signal_group(signal.SIGKILL)
        for child in _children():
            with contextlib.suppress(OSError):
                os.kill(child, signal.SIGKILL)

    def _signal_group(self, number: int) -> None:
        # Once the command is collected, its number may belong to somebody else.
        if self._status is None:
            with contextlib.suppress(OSError):
                os.killpg(self._pid, number)


def _children() -> list[int]:
    """The processes whose parent is this one."""
    mine = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError):
                if int((folder / "stat").read_bytes().rpartition(b")")[2].split()[1]) == os.getpid():
                    mine.append(int(folder.name))
    return mine


def _group_of(pid: int) -> int | None:
    try:
        return os.getpgid(pid)
    except OSError:
        return None


def _tell(descriptor: int, line: str) -> None:
    with contextlib.suppress(OSError):
        os.write(descriptor, line.encode())


if __name__ == "__main__":
    raise SystemExit(main())
