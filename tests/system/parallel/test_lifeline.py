"""What the kernel does when the other end of a pipe is closed."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from system.runner.processes import wait_until

from batchflow.worker.lifeline import wake_at_end


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(["sleep", "1000"])
    yield process
    process.kill()
    process.wait()


def state_of(process: subprocess.Popen[bytes]) -> str:
    return Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0]


@pytest.mark.fault("E1")
def test_who_was_stopped_goes_on_when_the_pipe_is_closed(sleeper: subprocess.Popen[bytes]) -> None:
    end, other = os.pipe()
    wake_at_end(end, sleeper.pid)
    os.close(other)
    os.set_blocking(end, True)
    assert os.read(end, 1) == b""
    os.close(end)
    end, other = os.pipe()
    wake_at_end(end, sleeper.pid)
    os.kill(sleeper.pid, signal.SIGSTOP)
    wait_until(lambda: state_of(sleeper) == "T")
    os.close(other)
    wait_until(lambda: state_of(sleeper) != "T")
    assert sleeper.poll() is None
    os.close(end)
