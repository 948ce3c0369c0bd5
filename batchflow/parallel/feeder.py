"""How much work a worker is given in advance, and giving it.

Short mini-batches want deep queues, so that nobody waits for the driver; long ones want shallow queues, so that no
mini-batch waits behind a slow one while another worker idles.
"""

from __future__ import annotations

from collections.abc import Sequence

from batchflow._core import Gather
from batchflow.errors import InternalError
from batchflow.plan import Plan
from batchflow.pool.pool import Slot

QUEUE_NS = 20_000_000
"""How much work, by the worker's own measure, lies before it: a wake-up of the driver is small against this."""
DEPTH_MAX = 2048
"""Half the requests that fit a ring of 256 KiB."""
DEPTH_FIRST = 2
"""Before the first mini-batch has been timed."""
WINDOW_SIZE = 64 << 20
"""Bytes of results that may wait for an earlier one; then nothing fresh is dispatched until it has come."""


def depth_for(run_ns: int, result_count: int, fresh_count: int, worker_count: int) -> int:
    """How many mini-batches one worker should hold, the one it works on included; at least 1.

    ``run_ns`` is what its ``result_count`` attempts took.  Towards the end the rest is shared out, so that nobody
    holds several while another has none.
    """
    depth = DEPTH_FIRST
    if result_count:
        depth = max(DEPTH_FIRST, min(DEPTH_MAX, QUEUE_NS * result_count // max(1, run_ns)))
    return max(1, min(depth, fresh_count // (2 * max(1, worker_count))))


class Feeder:
    """Hands out what the plan has, to the workers that are ready."""

    def __init__(self, plan: Plan, gather: Gather, mini_batch_size: int) -> None:
        self._plan = plan
        self._gather = gather
        self._mini_batch_size = mini_batch_size
        self._failed_on: dict[int, int] = {}  # mini-batch → the worker of its last failed attempt

    def failed_on(self, mini_batch_index: int, worker: int) -> None:
        """Try this one elsewhere next time, if there is an elsewhere."""
        self._failed_on[mini_batch_index] = worker

    def fill(self, slots: Sequence[Slot]) -> None:
        """Give every ready worker what it should hold."""
        if not self._plan.ready_count and not self._plan.fresh_count:
            for slot in slots:
                slot.channel.set_low_water(0)  # there is nothing more to give: be woken when all is answered
            return
        ready = [slot for slot in slots if slot.ready]
        for slot in ready:
            self._fill_ready(slot, alone=len(ready) == 1)
        if self._gather.held_bytes <= WINDOW_SIZE:
            worker_count = sum(slot.asked_for for slot in slots)  # those that are not ready yet will want some, too
            for slot in ready:
                self._fill_fresh(slot, worker_count)

    def _fill_ready(self, slot: Slot, *, alone: bool) -> None:
        while self._plan.ready_count and slot.channel.in_flight < DEPTH_FIRST:
            excluded = [] if alone else [index for index, worker in self._failed_on.items() if worker == slot.number]
            dispatch = self._plan.take_ready(excluded)
            if dispatch is None:
                return
            self._failed_on.pop(dispatch.mini_batch_index, None)
            start = dispatch.mini_batch_index * self._mini_batch_size
            count = min(self._mini_batch_size, self._plan.item_count - start)
            if not slot.channel.run(dispatch.mini_batch_index, dispatch.attempt, start, count):
                raise InternalError(f"a request ring was full, worker={slot.number}")

    def _fill_fresh(self, slot: Slot, worker_count: int) -> None:
        channel = slot.channel
        depth = depth_for(channel.run_ns, channel.result_count, self._plan.fresh_count, worker_count)
        channel.set_low_water(depth // 2)
        if channel.in_flight > depth // 2:
            return
        start, stop = self._plan.take_fresh(depth - channel.in_flight)
        if start < stop:
            written = channel.run_range(start, stop, self._mini_batch_size, self._plan.item_count)
            if written != stop - start:
                raise InternalError(f"a request ring was full, worker={slot.number}")
