"""Whose rings they are: a forked child does not inherit them, and nobody inherits those of the dead."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

import batchflow
from batchflow import _core

pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")


def test_a_process_that_user_code_forks_cannot_answer() -> None:
    channel = _core.Channel()
    port = _core.Port(channel.fd, -1, 1)
    channel.run_range(0, 2, 0, 5, 10)
    assert port.take() == (0, 1, 0, 5)
    pid = os.fork()
    if pid == 0:
        try:
            signal.alarm(60)
            signal.signal(signal.SIGSEGV, signal.SIG_DFL)  # no report of it
            port.publish_result(0, 1, 5, b"", b"a stranger's\n")
        finally:
            os._exit(0)
    _, status = os.waitpid(pid, 0)
    assert (os.WIFSIGNALED(status), os.WTERMSIG(status)) == (True, signal.SIGSEGV)
    port.publish_result(0, 1, 5, b"", b"the worker's\n")
    assert [note.payload for note in channel.drain()] == [b"the worker's\n"]
    assert port.take() == (1, 1, 5, 5)


def square(calls: list[tuple[int, str]]) -> list[int]:
    """Kills its process when it first sees a number that ends in 3."""
    for number, folder in calls:
        marker = Path(folder) / f"died-{number}"
        if number % 10 == 3 and not marker.exists():
            marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
    return [number * number for number, _ in calls]


def test_after_a_death_the_next_worker_has_rings_of_its_own(tmp_path: Path) -> None:
    calls = [(number, str(tmp_path)) for number in range(40)]
    answers = list(batchflow.map(square, calls, workers=2, mini_batch_size=2))
    assert answers == [number * number for number in range(40)]
    assert len(list(tmp_path.glob("died-*"))) == 4
