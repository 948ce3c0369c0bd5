"""The driver's side of typed outputs: a child process makes the file, the driver waits for it and hears how it went.

Invariant: the child ends with the call that started it, or with this process.  What it leaves when it is ended is half
a file under a temporary name, which the next call replaces.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from batchflow.errors import JournalError, ResourceError
from batchflow.output import typed_child
from batchflow.output.files import write_trouble
from batchflow.output.segment import RESTART_HINT
from batchflow.worker.variables import zygote_environment

_LOOK_MS = 100
_ANSWER_SIZE_MAX = 1 << 16
_TAIL_SIZE = 2000


@dataclass(frozen=True)
class TypedJob:
    """Which rows, and what to make of them."""

    source: Path
    """A stream of Arrow messages."""
    size: int
    checksum: int
    """Of so many bytes of it: what is committed."""
    target: Path
    output_format: str

    def as_json(self) -> dict[str, Any]:
        return {name: str(value) if isinstance(value, Path) else value for name, value in vars(self).items()}


class Written(NamedTuple):
    """A file as it was written; ``checksum``: CRC-32C."""

    size: int
    checksum: int
    row_count: int


def make_typed(job: TypedJob, is_stopping: Callable[[], bool]) -> Written | None:
    """Make the file, in a process of its own; None if it was ended because ``is_stopping`` says so.

    Raises ``NoRoomError`` if the disk is full, ``ResourceError`` for other trouble of the machine's, ``JournalError``
    if the rows are not those that were committed.
    """
    job_file, log = os.memfd_create("batchflow-job"), os.memfd_create("batchflow-log")
    try:
        os.write(job_file, json.dumps(job.as_json()).encode())
        with _started(job_file, log) as process:
            text = _heard(process, is_stopping)
            if text is None:
                return None
            status = process.wait()
        tail = os.pread(log, _TAIL_SIZE, max(0, os.fstat(log).st_size - _TAIL_SIZE))
    except OSError as error:
        raise ResourceError(f"cannot start the process that writes {job.target}: {error.strerror}") from error
    finally:
        os.close(job_file)
        os.close(log)
    return _answer(job, text, status, tail)


@contextlib.contextmanager
def _started(job_file: int, log: int) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        [sys.executable, typed_child.__file__, str(job_file)],
        stdin=subprocess.PIPE,  # nothing is written to it: it is the child's lifeline
        stdout=subprocess.PIPE,
        stderr=log,
        pass_fds=[job_file],
        env=dict(os.environ) | zygote_environment(os.environ),
        start_new_session=True,  # Ctrl-C is for the driver, which knows what to do
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def _heard(process: subprocess.Popen[bytes], is_stopping: Callable[[], bool]) -> bytes | None:
    """All that it says until it ends; None if it is not to go on."""
    if process.stdout is None:
        return b""
    descriptor, text = process.stdout.fileno(), b""
    poller = select.poll()
    poller.register(descriptor, select.POLLIN)
    while not is_stopping():
        if poller.poll(_LOOK_MS):
            part = os.read(descriptor, _ANSWER_SIZE_MAX)
            if not part:
                return text
            text += part
    return None


def _answer(job: TypedJob, text: bytes, status: int, tail: bytes) -> Written:
    try:
        answer: Mapping[str, Any] = json.loads(text)
    except ValueError:
        answer = {}
    if "damaged" in answer:
        raise JournalError(f"{job.source} is not as it was written: {answer['damaged']}", hint=RESTART_HINT)
    if "errno" in answer:
        number = int(answer["errno"] or 0)
        raise write_trouble(Path(answer["path"]), OSError(number, os.strerror(number)))
    if status != 0 or "size" not in answer:
        how = f"signal {-status} ({signal.Signals(-status).name})" if status < 0 else f"exit code {status}"
        said = tail.decode("utf-8", "replace").strip()
        raise ResourceError(
            f"the process that writes {job.target} ended: {how}" + (f"; it said:\n{said}" if said else ""),
            hint="all items are done; run the same command again to have the file written",
        )
    return Written(**answer)
