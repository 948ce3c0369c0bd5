"""One place for a worker in a pool, and the pool's limits.

Invariant: the process in a slot, if it lives, holds the rings of the slot's channel and no others.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from batchflow._core import Channel
from batchflow.pool.backoff import Backoff
from batchflow.pool.logs import WorkerLog
from batchflow.pool.watch import Watch

TICK_S = 0.1
"""How often the driver looks at its workers when nothing wakes it."""
STACK_S = 0.5
"""How long a worker past its timeout may take until its stack begins to appear: the machine may be busy."""


@dataclass(frozen=True)
class PoolLimits:
    """Timeouts in seconds (None: none) and sizes in bytes of one pool."""

    init_timeout_s: float | None = 600.0
    run_timeout_s: float | None = 60.0
    request_size: int = 1 << 18
    completion_size: int = 1 << 20
    max_result_size: int = 1 << 28


@dataclass
class Slot:
    """One place for a worker; its process may change, and with it all but number, log and back-off."""

    number: int
    channel: Channel
    watch: Watch
    pid: int = 0
    pidfd: int = -1
    asked_for: bool = False
    """A process was asked for and has not been reported dead."""
    ended: bool = False
    """The kernel says that it has ended; the zygote will say how."""
    ready: bool = False
    init_failed: bool = False
    """Set by whoever drives the pool and reads its reports."""
    condemned: bool = False
    """It is to be killed."""
    killed: Watch | None = None
    """Since we sent it a SIGKILL."""
    retired: bool = False
    """It is to leave when it holds nothing, and to be fed no more: whoever drives the pool sees to it."""
    memory_held: int = 0
    """Bytes it held when it was killed for that."""
    timed_out: bool = False
    init_timed_out: bool = False
    stack_at: int | None = None
    """Where in the log the stack that we asked for begins."""
    log: WorkerLog | None = None
    log_start: int = 0
    """Where in it the words of this process begin; those before it came from earlier ones."""
    backoff: Backoff = field(default_factory=Backoff)
    """Of starts that failed: the fork itself, or a worker that never got ready."""

    @property
    def time_for_stack_s(self) -> float:
        """How long after its timeout the worker lives on, so that the stack it was asked for can be shown."""
        if self.log is None or self.stack_at is None:
            return 0.0
        return TICK_S / 2 if self.log.size() > self.stack_at else STACK_S
