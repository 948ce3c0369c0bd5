"""How much work a worker is given in advance, and giving it.

Short mini-batches want deep queues, so that nobody waits for the driver; long ones want shallow queues, so that no
mini-batch waits behind a slow one while another worker idles.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence

from batchflow._core import Gather
from batchflow.model import Dispatch
from batchflow.parallel.pace import QUEUE_SIZE, Pace
from batchflow.parallel.pieces import Pieces
from batchflow.plan import Plan
from batchflow.pool.slot import Slot

DEPTH_MAX = 2048
"""Half the requests that fit a ring of 256 KiB."""
DEPTH_FIRST = 2
"""Before the first mini-batch has been timed, and at least as long as there is plenty."""
WINDOW_SIZE = 64 << 20
"""Bytes of results that may wait for an earlier one; then nothing fresh is dispatched until it has come."""


def depth_for(pace: Pace, left_count: int, worker_count: int) -> int:
    """How many mini-batches one worker should hold, the one it works on included; at least 1.

    Towards the end the rest, ``left_count``, is shared out, so that nobody holds several while another has none.
    """
    worker_count = max(1, worker_count)
    depth = max(DEPTH_FIRST, pace.depth(DEPTH_FIRST, DEPTH_MAX, QUEUE_SIZE // worker_count))
    return max(1, min(depth, left_count // (2 * worker_count)))


class Feeder:
    """Hands out what the plan has, to the workers that are ready."""

    def __init__(self, plan: Plan, gather: Gather, pieces: Pieces) -> None:
        self._plan = plan
        self._gather = gather
        self._pieces = pieces
        self._paces: dict[int, tuple[int, Pace]] = {}  # by worker, with the generation
        self._given: dict[int, tuple[int, int]] = {}  # by worker: generation, items
        self.items_left: Callable[[Slot], int | None] = lambda slot: None
        """How many items a worker may still be given, None for any number: whoever limits it says so."""
        self._failed_on: dict[int, int] = {}  # mini-batch → the worker of its last failed attempt
        self._failures_of: defaultdict[int, set[int]] = defaultdict(set)  # the same by worker

    def failed_on(self, mini_batch_index: int, worker: int) -> None:
        """Try this one, or the next part of it, elsewhere, if there is an elsewhere."""
        self._forget_failure(mini_batch_index)
        self._failed_on[mini_batch_index] = worker
        self._failures_of[worker].add(mini_batch_index)

    def given_items(self, slot: Slot) -> int:
        """How many items the worker in this slot was given in its life."""
        generation, count = self._given.get(slot.number, (0, 0))
        return count if generation == slot.channel.generation else 0

    def _count(self, slot: Slot, item_count: int) -> None:
        self._given[slot.number] = slot.channel.generation, self.given_items(slot) + item_count

    def _may_take(self, slot: Slot) -> bool:
        left = self.items_left(slot)
        return left is None or left > 0

    def _forget_failure(self, mini_batch_index: int) -> None:
        self._failures_of[self._failed_on.pop(mini_batch_index, -1)].discard(mini_batch_index)

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
        depth = depth_for(self._pace_of(slot), left, worker_count)
        channel.set_low_water(depth // 2)
        if channel.in_flight > depth // 2 or slot.retired:
            return True
        # What was tried before goes first, or a long step would not know of a bad item before its end.
        taken = self._fill_ready(slot, depth, alone=alone)
        if taken and self._gather.held_bytes + self._pieces.held_bytes <= WINDOW_SIZE:
            taken = self._fill_fresh(slot, depth)
        return taken

    def _pace_of(self, slot: Slot) -> Pace:
        generation, pace = self._paces.get(slot.number, (0, None))
        if pace is None or generation != slot.channel.generation:
            pace = Pace()
            self._paces[slot.number] = slot.channel.generation, pace
        pace.look(slot.channel)
        return pace

    def _fill_ready(self, slot: Slot, depth: int, *, alone: bool) -> bool:
        while self._plan.ready_count and slot.channel.in_flight < depth and self._may_take(slot):
            dispatch = self._plan.take_ready(() if alone else self._failures_of[slot.number])
            if dispatch is None:
                return True
            index, attempt = dispatch.mini_batch_index, dispatch.attempt
            if not slot.channel.run(index, attempt, dispatch.start, dispatch.count, dispatch.is_part):
                self._plan.returned(dispatch)
                return False
            self._count(slot, dispatch.count)
            self._forget_failure(index)
        return True

    def _fill_fresh(self, slot: Slot, depth: int) -> bool:
        mini_batches, channel = self._plan.mini_batches, slot.channel
        left = self.items_left(slot)
        room = depth - channel.in_flight
        if left is not None:
            room = mini_batches.needed(self._plan.fresh_index, left, room)
        first, stop = self._plan.take_fresh(room)
        while first < stop:
            next_first, start, size, stop_item = mini_batches.consecutive(first, stop)
            written = channel.run_range(first, next_first, start, size, stop_item)
            self._count(slot, min(written * size, stop_item - start))
            first += written
            if first < next_first:
                break
        for index in range(first, stop):
            start, stop_item = mini_batches.range(index)
            self._plan.returned(Dispatch(index, 1, start, stop_item - start))
        return first == stop
