"""The scout: a child that looks into the files of a table, so that the driver need not.

Invariant: it ends with ``Scout.close``, or with this process.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from batchflow.control import StopLevel, StopRequest
from batchflow.errors import DatasetError, InterruptedRunError, NoRoomError, ResourceError
from batchflow.text import safe_text
from batchflow.worker import scout_child
from batchflow.worker.variables import zygote_environment

LOOK_MS = 100
_TAIL_SIZE = 2000


class Scout:
    """Started with its job; ``result`` waits for what it has found."""

    def __init__(self, job: Mapping[str, Any], log_path: Path) -> None:
        """``log_path``: where what it prints goes.  Raises ``ResourceError`` if the machine gives no process for it."""
        self._log_path = log_path
        self._last: Mapping[str, Any] = {}
        try:
            descriptor = os.memfd_create("batchflow-scout", os.MFD_CLOEXEC)
            try:
                with open(descriptor, "wb", closefd=False) as file:
                    file.write(json.dumps(job).encode())
                with log_path.open("wb") as log:
                    self._process = subprocess.Popen(
                        [sys.executable, scout_child.__file__, str(descriptor)],
                        stdin=subprocess.PIPE,
                        stdout=subprocess.PIPE,
                        stderr=log,
                        pass_fds=[descriptor],
                        env=dict(os.environ) | zygote_environment(dict(os.environ)),
                        start_new_session=True,  # Ctrl-C is for the driver, which knows what to do
                    )
            finally:
                os.close(descriptor)
        except OSError as error:
            raise ResourceError(f"cannot start the process that looks into tables: {error}") from error

    def result(self, stop: StopRequest) -> dict[str, Any]:
        """What it has found.

        Raises ``DatasetError`` with what is wrong with the tables, ``InterruptedRunError`` if ``stop`` asks.
        """
        for text in self._lines(stop):
            line = json.loads(text)
            if "result" in line:
                return _checked(line["result"])
            self._last = line
        raise self._died()

    def _lines(self, stop: StopRequest) -> Iterator[bytes]:
        if self._process.stdout is None:
            return
        descriptor, rest = self._process.stdout.fileno(), b""
        poller = select.poll()
        poller.register(descriptor, select.POLLIN)
        while True:
            if stop.level > StopLevel.NONE:
                raise InterruptedRunError("stopped while looking into the tables", signal_number=stop.signal_number)
            if poller.poll(LOOK_MS):
                part = os.read(descriptor, 1 << 16)
                if not part:
                    return
                *lines, rest = (rest + part).split(b"\n")
                yield from lines

    def _died(self) -> Exception:
        """It has ended without a result."""
        status = self._process.wait()
        how = f"exit code {status}" if status >= 0 else f"signal {-status}"
        if status == -signal.SIGKILL:
            return ResourceError(f"the process that looks into tables was killed, {how}: perhaps memory ran out")
        file = self._last.get("path")
        where = f" at {safe_text(str(file))}" if file else ""
        tail = self._log_path.read_bytes()[-_TAIL_SIZE:].decode("utf-8", "replace").strip()
        return DatasetError(
            f"the tables cannot be read: the process that looks into them ended{where}, {how}"
            + (f"\nits last output:\n{tail}" if tail else ""),
        )

    def close(self) -> None:
        """End it, if it has not ended."""
        process = self._process
        if process.stdout is not None:
            process.stdout.close()
        if process.stdin is not None:
            process.stdin.close()  # which the kernel tells it with SIGKILL
        if process.poll() is None:
            process.kill()
        process.wait()


def _checked(result: dict[str, Any]) -> dict[str, Any]:
    if "error" not in result:
        return result
    machine: Mapping[str, type[ResourceError]] = {"NoRoomError": NoRoomError, "ResourceError": ResourceError}
    raise machine.get(result.get("kind", ""), DatasetError)(result["error"], hint=result.get("hint"))
