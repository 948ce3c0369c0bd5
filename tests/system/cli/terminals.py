"""A program on a pseudo-terminal of its own, with a leash: it is killed when the test ends."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

TIMEOUT_S = 60.0


class Terminal:
    def __init__(self, process: subprocess.Popen[bytes], descriptor: int) -> None:
        self.process = process
        self._descriptor = descriptor
        self.text = ""

    def read_until(self, pattern: str) -> str:
        """Everything shown so far, once the regular expression is found in it; fails when it never is."""
        deadline = time.monotonic() + TIMEOUT_S
        while re.search(pattern, self.text) is None:
            if time.monotonic() > deadline or not self._read(deadline):
                raise AssertionError(f"never saw {pattern!r} in …{self.text[-1_000:]!r}")
        return self.text

    def wait(self) -> int:
        """The exit code; everything shown is in ``text`` then."""
        deadline = time.monotonic() + TIMEOUT_S
        while self._read(deadline):
            pass
        return self.process.wait(TIMEOUT_S)

    def press_ctrl_c(self) -> None:
        os.write(self._descriptor, b"\x03")

    def _read(self, deadline: float) -> bool:
        ready, _, _ = select.select([self._descriptor], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            return False
        try:
            data = os.read(self._descriptor, 65_536)
        except OSError:  # the other side was closed
            return False
        self.text += data.decode("utf-8", "replace")
        return bool(data)


@contextlib.contextmanager
def terminal(
    command: Sequence[str], folder: Path, *, columns: int = 120, environment: dict[str, str] | None = None
) -> Iterator[Terminal]:
    """``command`` with a terminal as its controlling one, its input and its three streams."""
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    variables = {key: value for key, value in os.environ.items() if key not in ("COLUMNS", "LINES", "NO_COLOR", "CI")}
    process = subprocess.Popen(
        ["setsid", "--ctty", "--wait", *command],
        cwd=folder,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=variables | {"TERM": "xterm-256color", "LANG": "C.UTF-8"} | (environment or {}),
    )
    os.close(theirs)
    try:
        yield Terminal(process, ours)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        os.close(ours)
