"""One command of a step, run so that nothing of it outlives the step or this process.

The command's parent is ``worker/guard.py``, which ends everything the command started.  Its output goes to a log file,
its input is empty.

Invariant: when ``run_command`` returns or raises, no process that the command started lives.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from batchflow.control import StopLevel, StopRequest
from batchflow.errors import InternalError, ResourceError
from batchflow.journal.state_folder import open_private_file
from batchflow.pool.session import kill_session
from batchflow.worker import guard
from batchflow.worker.lifeline import wake_at_end

_STOP_LOOK_MS = 100
_TAIL_SIZE = 64 * 1024
TAIL_LINE_COUNT = 20
_LINE_LENGTH_MAX = 500


@dataclass(frozen=True)
class CommandEnd:
    """How a command ended: exactly one of ``signal_number`` and ``exit_code`` is set."""

    signal_number: int | None
    exit_code: int | None
    stopped: bool
    """The command was told to end because the run stops."""

    def describe(self) -> str:
        """``exit code 3`` or ``signal 9 (SIGKILL)``."""
        if self.signal_number is None:
            return f"exit code {self.exit_code}"
        try:
            return f"signal {self.signal_number} ({signal.Signals(self.signal_number).name})"
        except ValueError:
            return f"signal {self.signal_number}"


def run_command(
    command: Sequence[str],
    *,
    folder: Path,
    log_path: Path,
    environment: Mapping[str, str],
    stop: StopRequest,
    descriptors: Sequence[int] = (),
) -> CommandEnd:
    """Run ``command`` in ``folder`` to its end, or until ``stop`` asks: DRAIN asks it to end, NOW kills it.

    ``descriptors`` stay open in the command under their numbers.  Raises ``ResourceError`` if the machine cannot start
    another process.
    """
    log = open_private_file(log_path, os.O_WRONLY | os.O_APPEND | os.O_TRUNC)
    status_in, status_out = os.pipe()
    lifeline_in, lifeline_out = os.pipe()
    try:
        try:
            process = subprocess.Popen(
                [_interpreter(), "-I", "-S", str(Path(guard.__file__)), str(status_out), *command],
                cwd=folder,
                env=dict(environment),
                stdin=lifeline_in,
                stdout=log,
                stderr=log,
                pass_fds=(status_out, *descriptors),
                start_new_session=True,
            )
            wake_at_end(lifeline_in, process.pid)
        except OSError as error:
            os.close(lifeline_out)
            raise ResourceError(f"cannot start a process: {error.strerror or error}") from error
        finally:
            os.close(log)
            os.close(status_out)
            os.close(lifeline_in)
        # Closing the lifeline, which leaving this block does, kills whatever still runs.
        process.stdin = open(lifeline_out, "wb", buffering=0)  # noqa: SIM115, PTH123 - closed with the process
        with process:
            text, stopped = _wait(process, status_in, stop)
            if b"status" not in text:
                # The guard was killed: its command dies with it, what the command started is ours to end.
                kill_session(process.pid)
    finally:
        os.close(status_in)
    return _read_status(text, stopped)


def read_tail(path: Path, line_count: int = TAIL_LINE_COUNT) -> str:
    """The last lines of a log; empty if there is none."""
    with contextlib.suppress(OSError), path.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL_SIZE))
        lines = file.read().decode(errors="backslashreplace").splitlines()[-line_count:]
        return "\n".join(line if len(line) <= _LINE_LENGTH_MAX else f"{line[:_LINE_LENGTH_MAX]}…" for line in lines)
    return ""


def _wait(process: subprocess.Popen[bytes], status_in: int, stop: StopRequest) -> tuple[bytes, bool]:
    """What the guard says until it ends, and whether it was told to end the command."""
    told = StopLevel.NONE
    text = b""
    poller = select.poll()
    poller.register(status_in, select.POLLIN)
    while True:
        if stop.level > told and b"status" not in text:
            told = stop.level
            _speak(process, b"K" if told is StopLevel.NOW else b"T")
        if poller.poll(_STOP_LOOK_MS):
            part = os.read(status_in, 512)
            if not part:
                return text, told is not StopLevel.NONE
            text += part


def _speak(process: subprocess.Popen[bytes], word: bytes) -> None:
    if process.stdin is not None:
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(word)


def _read_status(text: bytes, stopped: bool) -> CommandEnd:
    said = dict(line.split() for line in text.decode().splitlines())
    if "status" not in said:
        return CommandEnd(int(signal.SIGKILL), None, stopped)
    status = int(said["status"])
    if os.WIFSIGNALED(status):
        return CommandEnd(os.WTERMSIG(status), None, stopped)
    return CommandEnd(None, os.WEXITSTATUS(status), stopped)


def _interpreter() -> str:
    if not sys.executable:
        raise InternalError("this process does not know its own Python interpreter, sys.executable is empty")
    return sys.executable
