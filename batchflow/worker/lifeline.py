"""Dying with the driver, whatever this process is doing at that moment."""

from __future__ import annotations

import fcntl
import os
import select
import signal

_F_SETSIG = 10


def hang_on(pipe: int) -> None:
    """Die when the other end of ``pipe`` is closed, that is when the driver ends.

    The kernel does it, by the signal that announces the hang-up: no loop of ours has to run, so an import that never
    returns cannot outlive the driver.  (PR_SET_PDEATHSIG would fire when the driver's *thread* ends.)
    """
    fcntl.fcntl(pipe, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(pipe, _F_SETSIG, signal.SIGKILL)
    fcntl.fcntl(pipe, fcntl.F_SETFL, fcntl.fcntl(pipe, fcntl.F_GETFL) | os.O_ASYNC | os.O_NONBLOCK)
    poll = select.poll()
    poll.register(pipe, select.POLLHUP)
    if poll.poll(0):  # it was closed before the line above
        os.kill(os.getpid(), signal.SIGKILL)
