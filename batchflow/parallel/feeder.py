"""How much work a worker is given in advance, and giving it.

Short mini-batches want deep queues, so that nobody waits for the driver; long ones want shallow queues, so that no
mini-batch waits behind a slow one while another worker idles.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from batchflow._core import Gather
from batchflow.model import Dispatch
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
        self._failures_of: defaultdict[int, set[int]] = defaultdict(set)  # the same by worker

    def failed_on(self, mini_batch_index: int, worker: int) -> None:
        """Try this one elsewhere next time, if there is an elsewhere."""
        self._failed_on[mini_batch_index] = worker
        self._failures_of[worker].add(mini_batch_index)

    def fill(self, slots: Sequence[Slot]) -> list[Slot]:
        """Give every ready worker what it should hold.

        Returns the workers whose rings took less than there is room for: something has written over them.
        """
        left = self._plan.ready_count + self._plan.fresh_count
        if not left:
            for slot in slots:
                slot.channel.set_low_water(0)  # there is nothing more to give: be woken when all is answered
            return []
        ready = [slot for slot in slots if slot.ready]
        worker_count = sum(slot.asked_for for slot in slots)  # those that are not ready yet will want some, too
        return [slot for slot in ready if not self._fill_one(slot, left, worker_count, alone=len(ready) == 1)]

    def _fill_one(self, slot: Slot, left: int, worker_count: int, *, alone: bool) -> bool:
        channel = slot.channel
        depth = depth_for(channel.run_ns, channel.result_count, left, worker_count)
        channel.set_low_water(depth // 2)
        if channel.in_flight > depth // 2:
            return True
        # What was tried before goes first, or a long step would not know of a bad item before its end.
        taken = self._fill_ready(slot, depth, alone=alone)
        if taken and self._gather.held_bytes <= WINDOW_SIZE:
            taken = self._fill_fresh(slot, depth)
        return taken

    def _fill_ready(self, slot: Slot, depth: int, *, alone: bool) -> bool:
        while self._plan.ready_count and slot.channel.in_flight < depth:
            dispatch = self._plan.take_ready(() if alone else self._failures_of[slot.number])
            if dispatch is None:
                return True
            index = dispatch.mini_batch_index
            start = index * self._mini_batch_size
            count = min(self._mini_batch_size, self._plan.item_count - start)
            if not slot.channel.run(index, dispatch.attempt, start, count):
                self._plan.returned(dispatch)
                return False
            self._failures_of[self._failed_on.pop(index, -1)].discard(index)
        return True

    def _fill_fresh(self, slot: Slot, depth: int) -> bool:
        start, stop = self._plan.take_fresh(depth - slot.channel.in_flight)
        size = self._mini_batch_size
        written = slot.channel.run_range(start, stop, start * size, size, self._plan.item_count)
        for index in range(start + written, stop):
            self._plan.returned(Dispatch(index, 1))
        return written == stop - start
