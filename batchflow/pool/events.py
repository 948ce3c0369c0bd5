"""What the pool tells whoever drives it.  One tagged type for each kind of news."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import Any, TypeAlias

from batchflow._core import Channel
from batchflow.model import WorkerExit

_FRAME = re.compile(r'^  File "(.+)", line (\d+) in (.+)$', re.MULTILINE)
"""As ``faulthandler`` writes it."""
_LIBRARIES = (f"{os.path.dirname(os.__file__)}/", "<")  # noqa: PTH120 - as Python names it


@dataclass(frozen=True)
class WorkerDied:
    """A worker that had begun its life is gone; its channel still holds what it published.

    Drain ``channel`` first, then ask it what was in hand.
    """

    worker: int
    channel: Channel
    exit: WorkerExit
    timed_out: bool
    """We killed it because ``run()`` took too long."""
    was_ready: bool
    init_failed: bool
    """It had reported by itself that it could not get ready."""
    with_zygote: bool
    """It ended because its zygote did: nothing that it ran is to blame."""
    peak_rss: int
    output_tail: str
    stack: str
    """The Python stack of a worker that was killed for taking too long."""
    retired: bool = False
    """It was sent away, because of its age or its memory."""
    memory_held: int = 0
    """Bytes that it held when it was killed for that; 0: it was not."""
    out_of_memory: bool = False
    """The kernel killed it because memory had run out."""
    stuck: bool = False
    """It has not ended although it was killed: the kernel holds it.  Its slot stays empty."""

    @property
    def crashed_at(self) -> str:
        """Where the user's code was when a signal ended it, ``score.py line 8 in run``; empty if Python did not say.

        The innermost frame that is no library's, if there is one.
        """
        _, marker, dump = self.output_tail.rpartition("Fatal Python error: ")
        frames = [] if not marker or self.exit.signal is None else _FRAME.findall(dump)
        own = next((one for one in frames if not one[0].startswith(_LIBRARIES) and "-packages/" not in one[0]), None)
        if not frames:
            return ""
        path, line, function = own or frames[0]
        return f"{path.rpartition('/')[2]} line {line} in {function}"


@dataclass(frozen=True)
class InitTimedOut:
    """A worker was killed because ``init()`` took too long; its death follows."""

    worker: int


@dataclass(frozen=True)
class LoadFailed:
    """The user's code could not be loaded in the zygote: its description, as ``worker.failures`` makes it."""

    description: dict[str, Any]


@dataclass(frozen=True)
class ForkFailed:
    """The machine gives no more processes, or no descriptors or memory for one."""

    worker: int
    message: str
    failure_count: int
    """How often in a row for this worker."""


@dataclass(frozen=True)
class LoadedLate:
    """Importing the user's code started threads, so each worker imports it for itself."""

    thread_count: int
    culprit: str | None


@dataclass(frozen=True)
class ZygoteDied:
    """The zygote is gone and with it every worker."""

    status: int | None
    out_of_memory: bool = False
    """The kernel killed it because memory had run out."""


PoolEvent: TypeAlias = WorkerDied | InitTimedOut | LoadFailed | ForkFailed | LoadedLate | ZygoteDied
