"""Dying with the driver, whatever this process is doing at that moment."""

from __future__ import annotations

import fcntl
import os
import select
import signal

_F_SETSIG = 10


def wake_at_end(pipe: int, pid: int) -> None:
    """Have the process ``pid`` go on when the other end of ``pipe`` is closed, should somebody have stopped it.

    For the parent of a process that was just started: until that can see to it itself, nothing else would end it.
    """
    _signal_at_end(pipe, pid, signal.SIGCONT)


def hang_on(pipe: int) -> None:
    """Die when the other end of ``pipe`` is closed, that is when the driver ends.

    The kernel does it, by the signal that announces the hang-up: no loop of ours has to run, so an import that never
    returns cannot outlive the driver.  (PR_SET_PDEATHSIG would fire when the driver's *thread* ends.)
    """
    os.set_blocking(pipe, False)
    _signal_at_end(pipe, os.getpid(), signal.SIGKILL)
    poll = select.poll()
    poll.register(pipe, select.POLLHUP)
    if poll.poll(0):  # it was closed before the line above
        os.kill(os.getpid(), signal.SIGKILL)


def _signal_at_end(pipe: int, pid: int, number: int) -> None:
    """Once for all who share the open pipe: the last call counts."""
    fcntl.fcntl(pipe, fcntl.F_SETOWN, pid)
    fcntl.fcntl(pipe, _F_SETSIG, number)
    fcntl.fcntl(pipe, fcntl.F_SETFL, fcntl.fcntl(pipe, fcntl.F_GETFL) | os.O_ASYNC)
