"""Workers that have done enough, or hold too much memory, make room for fresh ones.

```
max_items_per_worker   after so many items a worker goes; the first ones earlier, so that not all go at once
worker_memory          above it a worker goes when it has answered what it holds; above KILL_FACTOR times it, at once
```

Between mini-batches nobody is blamed.  A worker killed in the middle of ``run()`` has failed that attempt.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path

from batchflow.clock import Clock
from batchflow.errors import EntryScriptError
from batchflow.pool.pool import WorkerPool
from batchflow.pool.slot import TICK_S, Slot
from batchflow.pool.watch import Watch
from batchflow.text import mebibytes
from batchflow.workflow.values import ParallelSettings

KILL_FACTOR = 1.5
LEAVE_S = 10.0
"""How long ``shutdown()`` of a worker that leaves may take."""
_PAGE_SIZE = os.sysconf("SC_PAGE_SIZE")


def items_limit(maximum: int, worker: int, worker_count: int, *, is_first: bool) -> int:
    """After how many items a worker leaves: the first ones at different times, no worker ever after ``maximum``."""
    return max(1, maximum - maximum * worker // (2 * worker_count)) if is_first else maximum


def resident_size(pid: int) -> int:
    """Bytes of memory that a process holds; 0 if it is gone."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        return int(Path(f"/proc/{pid}/statm").read_bytes().split()[1]) * _PAGE_SIZE
    return 0


class Recycling:
    """``look`` often; a slot that is ``retired`` is not to be fed any more."""

    def __init__(
        self, settings: ParallelSettings, pool: WorkerPool, given_items: Callable[[Slot], int], clock: Clock
    ) -> None:
        """``given_items``: how many items a worker was given in its life."""
        self._items_max = settings.max_items_per_worker
        self._memory_max = settings.worker_memory
        self._pool = pool
        self._given_items = given_items
        self._clock = clock
        self._looked_s = float("-inf")
        self._first = {slot.number: slot.channel.generation for slot in pool.slots}
        self._watches: dict[int, Watch] = {}

    def check_start(self, slot: Slot) -> None:
        """Raises ``EntryScriptError`` if a worker that has just got ready holds too much already: every one would."""
        held = 0 if self._memory_max is None else resident_size(slot.pid)
        if self._memory_max is not None and held > self._memory_max:
            raise EntryScriptError(
                f"worker {slot.number} holds {mebibytes(held)} before its first mini-batch, more than "
                f"worker_memory={mebibytes(self._memory_max)}",
                hint="raise worker_memory, or load less in init() and at the import",
            )

    def items_left(self, slot: Slot) -> int | None:
        """How many items the worker may still be given, with the rest of the last mini-batch; None for any number."""
        if self._items_max is None:
            return None
        is_first = self._first.get(slot.number) == slot.channel.generation
        limit = items_limit(self._items_max, slot.number, len(self._pool.slots), is_first=is_first)
        return max(0, limit - self._given_items(slot))

    def look(self) -> None:
        """Send away who is due, a few times a second."""
        now_s = self._clock.monotonic()
        memory_max = self._memory_max if now_s - self._looked_s >= TICK_S else None
        if memory_max is not None:
            self._looked_s = now_s
        for slot in self._pool.slots:
            if slot.asked_for and slot.ready:
                if memory_max is not None:
                    self._look_at_memory(slot, memory_max)
                if self.items_left(slot) == 0:
                    slot.retired = True
                if slot.retired and slot.channel.in_flight == 0:
                    self._send_away(slot, now_s)

    def _look_at_memory(self, slot: Slot, memory_max: int) -> None:
        held = resident_size(slot.pid)
        if held > memory_max:
            slot.retired = True
        if held > KILL_FACTOR * memory_max and slot.channel.in_flight:
            slot.memory_held = held
            self._pool.kill_worker(slot.number)

    def _send_away(self, slot: Slot, now_s: float) -> None:
        watch = self._watches.get(slot.channel.generation)
        if watch is None:
            self._watches = {slot.channel.generation: Watch(1.0)} | {
                one.channel.generation: self._watches[one.channel.generation]
                for one in self._pool.slots
                if one.channel.generation in self._watches
            }
            slot.channel.stop()
        elif watch.look(None, now_s) > LEAVE_S:
            self._pool.kill_worker(slot.number)
