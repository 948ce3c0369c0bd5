"""The process that stands between the driver and what the driver starts: nothing of that outlives it.

It becomes the parent of everything that loses its own parent, a daemon in a session of its own too, and ends all of it
when the process it guards ends, when the driver says so, or when the driver is gone.

There are two ways to get one.  ``stay_behind`` turns a process that was exec'd into the guard of its own copy; so the
zygote begins.  For one command it is a program, run as ``python -I -S guard.py STATUS_FD COMMAND…``:

```
stdin       lifeline: b"T" asks (SIGTERM, SIGKILL after the grace time), b"K" kills; its end means the driver is gone
STATUS_FD   one line "pid N" when the command runs, one line "status N" (as of waitpid) when nothing of it lives
```

Imports nothing of ours and nothing heavy.  Invariant: when a guard ends by itself, or by a signal that can be caught,
none of its descendants lives.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import NoReturn

_GRACE_S = 10.0
_KILL_AGAIN_MS = 50.0
"""While children are killed: the kernel's list of them may lack one that just came to us, without a SIGCHLD."""
_PR_SET_PDEATHSIG = 1
_PR_SET_NAME = 15
_PR_SET_CHILD_SUBREAPER = 36
_STDIN = 0


def main() -> int:
    """Run the command to its end; the command's own status goes to STATUS_FD."""
    status_descriptor = int(sys.argv[1])
    os.set_inheritable(status_descriptor, False)
    pid = _fork()
    if pid == 0:
        _become_command(sys.argv[2:])
    _tell(status_descriptor, f"pid {pid}\n")
    status = Guard(pid, _STDIN).wait()
    _tell(status_descriptor, f"status {status}\n")
    return 0


def stay_behind(lifeline: int, others: Iterable[int]) -> None:
    """Fork.  The copy goes on and dies with this process, which guards it and never returns.

    The guard ends with the copy's exit code, or with 128 and the signal that ended it: of a signal only if it was ended
    itself.
    ``lifeline`` is a pipe whose end means that the driver is gone; the guard closes the descriptors ``others``.  To be
    called by a process with one thread.
    """
    pid = _fork()
    if pid == 0:
        return
    for descriptor in others:
        os.close(descriptor)
    _prctl(_PR_SET_NAME, b"batchflow-guard")
    status = Guard(pid, lifeline).wait()
    os._exit(128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status))


def die_with_parent(parent: int) -> None:
    """Die when the parent ends; ``parent`` is its pid as it was before the fork.

    For children of a process with a single thread only: it is the end of the parent's *thread* that counts.
    """
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)


def _fork() -> int:
    """Fork a child in a process group of its own, which dies with this process; what it orphans comes to us."""
    # Whatever our parent did about signals: a child that nobody may wait for, or a death that is not heard of, is lost.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    guard = os.getpid()
    pid = os.fork()
    # From both sides, so that the group exists before either goes on.
    with contextlib.suppress(OSError):
        os.setpgid(pid, pid)
    if pid == 0:
        die_with_parent(guard)
    return pid


def _become_command(command: list[str]) -> NoReturn:
    """In the child: turn into the command."""
    try:
        for number in (signal.SIGPIPE, signal.SIGINT, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_DFL)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.execvp(command[0], command)
    except OSError as error:
        os.write(2, f"cannot start {command[0]}: {error.strerror}\n".encode(errors="surrogateescape"))
    finally:
        os._exit(127)


class Guard:
    """Waits for the child with process id ``pid``, which leads a group, and for everything it leaves behind."""

    def __init__(self, pid: int, lifeline: int) -> None:
        self._pid = pid
        self._lifeline = lifeline
        self._status: int | None = None
        self._deadline: float | None = None
        self._asked: set[int] = set()
        self._driver: int | None = None
        self._ended_by: int | None = None
        self._wake_in, wake_out = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(wake_out, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            signal.signal(number, self._end_by)
        self._poller = select.poll()
        self._poller.register(lifeline, select.POLLIN)
        self._poller.register(self._wake_in, select.POLLIN)
        # One that somebody has stopped goes on then.  (It is the end of the driver's *thread* that counts: no harm.)
        _prctl(_PR_SET_PDEATHSIG, signal.SIGCONT)
        # The lifeline alone would miss the driver's end while a process forked from the driver holds a copy of it.
        with contextlib.suppress(OSError):
            self._driver = os.pidfd_open(os.getppid())
            self._poller.register(self._driver, select.POLLIN)

    def _end_by(self, number: int, _: object) -> None:
        """Somebody ends the guard itself: all that it guards goes first."""
        self._ended_by = number

    def wait(self) -> int:
        """The child's wait status, when neither it nor any of its descendants lives."""
        while self._reap():
            if self._deadline is None:
                if self._status is not None:
                    self._kill()
            elif time.monotonic() >= self._deadline:
                self._kill()
            else:
                self._ask()
            self._listen()
        if self._ended_by is not None:
            signal.signal(self._ended_by, signal.SIG_DFL)
            os.kill(os.getpid(), self._ended_by)
        if self._status is None:
            raise ChildProcessError("what is guarded is no child of this process")
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
        """Sleep until a child or the guard itself is ended, the driver speaks or dies, or the time of grace is over."""
        pause_ms: float | None = None
        if self._deadline is not None:
            left_ms = (self._deadline - time.monotonic()) * 1000
            pause_ms = left_ms if left_ms > 0 else _KILL_AGAIN_MS
        elif self._status is not None:
            pause_ms = _KILL_AGAIN_MS
        ready = {descriptor for descriptor, _ in self._poller.poll(pause_ms)}
        if self._wake_in in ready:
            os.read(self._wake_in, 512)
        word = os.read(self._lifeline, 1) if self._lifeline in ready else None
        if word == b"" or self._driver in ready:
            for descriptor in (self._lifeline, self._driver):
                with contextlib.suppress(KeyError, TypeError):
                    self._poller.unregister(descriptor)  # type: ignore[arg-type]
            word = b"K"
        if word == b"K" or self._ended_by is not None:
            self._deadline = 0.0
            self._kill()
        elif word == b"T" and self._deadline is None:
            self._deadline = time.monotonic() + _GRACE_S
            self._signal_group(signal.SIGTERM)
            self._asked.add(self._pid)

    def _ask(self) -> None:
        """Ask those that left the child's group and have become our children since."""
        for child in _children():
            if child not in self._asked and _group_of(child) != self._pid:
                self._asked.add(child)
                with contextlib.suppress(OSError):
                    os.kill(child, signal.SIGTERM)

    def _kill(self) -> None:
        """Kill the child's group and all children; what these leave comes to us next, with a SIGCHLD."""
        self._signal_group(signal.SIGKILL)
        for child in _children():
            with contextlib.suppress(OSError):
                os.kill(child, signal.SIGKILL)

    def _signal_group(self, number: int) -> None:
        # Once the child is collected, its number may belong to somebody else.
        if self._status is None:
            with contextlib.suppress(OSError):
                os.killpg(self._pid, number)


def _children() -> list[int]:
    """The processes whose parent is this one."""
    with contextlib.suppress(OSError):  # not every kernel has it
        return [int(pid) for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_bytes().split()]
    mine = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError):
                if int((folder / "stat").read_bytes().rpartition(b")")[2].split()[1]) == os.getpid():
                    mine.append(int(folder.name))
    return mine


def _prctl(option: int, value: int | bytes) -> None:
    ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


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
