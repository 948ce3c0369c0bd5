"""Which mini-batch to dispatch next, what an outcome means, and when to stop.

Knows no clock, file or process: the runner tells it what happened and asks what to do.  Mini-batches that go well are
handled in bulk, as ranges and counts; only what goes wrong is known one by one.

Invariant: every mini-batch is in exactly one of fresh, ready (again), in flight, succeeded, failed.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection
from dataclasses import dataclass

from batchflow.model import Dispatch, Failure, Shortfall
from batchflow.text import count

LOOK_MAX = 64
"""Mini-batches looked at for one that a worker has not failed itself."""


@dataclass(frozen=True)
class Policy:
    """When to give up: limits are numbers still tolerated, None for any number."""

    attempts_max: int = 3
    failed_items_limit: int | None = 0
    failed_mini_batches_limit: int | None = None
    failed_percent_limit: float = 100.0
    """Of the mini-batches, checked once every one has been dispatched."""


@dataclass(frozen=True)
class Lost:
    """A mini-batch that failed for good: all its items have failed."""

    dispatch: Dispatch
    item_count: int
    failure: Failure


def passed(failed: str, limit: int) -> str:
    """How far a threshold has been passed, in words; ``failed`` is the count with its noun."""
    return f"{failed} failed, {limit:,} {'is' if limit == 1 else 'are'} tolerated"


class Plan:
    """The books of one parallel step.

    ``take_fresh`` and ``take_ready`` hand out work (ready work first: it is older); ``succeeded``, ``fell_short``,
    ``failed`` and ``returned`` report what became of it.
    """

    def __init__(self, mini_batch_count: int, item_count: int, policy: Policy) -> None:
        if mini_batch_count < 0 or item_count < mini_batch_count:
            raise ValueError(
                f"more mini-batches than items, mini_batch_count={mini_batch_count}, item_count={item_count}"
            )
        if policy.attempts_max < 1:
            raise ValueError(f"a mini-batch needs at least one attempt, attempts_max={policy.attempts_max}")
        self.mini_batch_count = mini_batch_count
        self.item_count = item_count
        self.policy = policy
        self.fresh_index = 0
        self._ready: list[tuple[int, int]] = []
        self.in_flight_count = 0
        self.succeeded_count = 0
        self.lost_count = 0
        self.failed_item_count = 0
        self.succeeded_item_count = 0
        self.short_count = 0
        """Mini-batches that succeeded with a shortfall: failed ones for the mini-batch threshold."""
        self.attempts = 0

    # Handing out

    @property
    def fresh_count(self) -> int:
        return self.mini_batch_count - self.fresh_index

    @property
    def ready_count(self) -> int:
        return len(self._ready)

    def take_fresh(self, count: int) -> tuple[int, int]:
        """The next mini-batches never tried: a half-open range, at most ``count`` long, in flight from now on."""
        start = self.fresh_index
        self.fresh_index = min(self.mini_batch_count, start + max(0, count))
        self.in_flight_count += self.fresh_index - start
        self.attempts += self.fresh_index - start
        return start, self.fresh_index

    def take_ready(self, excluding: Collection[int] = ()) -> Dispatch | None:
        """The lowest mini-batch that waits to be tried again and is not in ``excluding``, in flight from now on."""
        passed: list[tuple[int, int]] = []
        while self._ready and len(passed) < LOOK_MAX and self._ready[0][0] in excluding:
            passed.append(heapq.heappop(self._ready))
        if self._ready:
            entry = heapq.heappop(self._ready)
        elif len(passed) == LOOK_MAX:
            entry = passed.pop(0)
        else:
            entry = None
        for one in passed:
            heapq.heappush(self._ready, one)
        if entry is None:
            return None
        self.in_flight_count += 1
        self.attempts += 1
        return Dispatch(*entry)

    # What became of it

    def succeeded(self, mini_batch_count: int, item_count: int) -> None:
        """So many mini-batches came back and are in the output; so many of their items succeeded."""
        self._leave_flight(mini_batch_count)
        self.succeeded_count += mini_batch_count
        self.succeeded_item_count += item_count

    def fell_short(self, shortfall: Shortfall) -> None:
        """One of the succeeded mini-batches gave too few elements: the missing items have failed."""
        self.short_count += 1
        self.failed_item_count += shortfall.missing_count

    def failed(self, failure: Failure, item_count: int) -> Lost | None:
        """An attempt failed.  Returns the lost mini-batch if it was the last one, else it is ready again."""
        self._leave_flight(1)
        dispatch = failure.dispatch
        if dispatch.attempt < self.policy.attempts_max:
            heapq.heappush(self._ready, (dispatch.mini_batch_index, dispatch.attempt + 1))
            return None
        self.lost_count += 1
        self.failed_item_count += item_count
        return Lost(dispatch, item_count, failure)  # not kept: there may be very many

    def returned(self, dispatch: Dispatch) -> None:
        """A worker went away before it began this one: ready again, same attempt, no blame."""
        self._leave_flight(1)
        self.attempts -= 1
        heapq.heappush(self._ready, (dispatch.mini_batch_index, dispatch.attempt))

    def _leave_flight(self, count: int) -> None:
        if count > self.in_flight_count:
            raise ValueError(f"{count} mini-batches came back, in_flight_count={self.in_flight_count}")
        self.in_flight_count -= count

    # When to stop

    @property
    def done(self) -> bool:
        """Every mini-batch has succeeded or failed."""
        return self.succeeded_count + self.lost_count == self.mini_batch_count

    @property
    def failed_mini_batch_count(self) -> int:
        return self.lost_count + self.short_count

    def passed_threshold(self) -> str | None:
        """The threshold that has been passed, in words with the numbers, or None."""
        policy = self.policy
        if policy.failed_items_limit is not None and self.failed_item_count > policy.failed_items_limit:
            return f"error_threshold: {passed(count(self.failed_item_count, 'item'), policy.failed_items_limit)}"
        failed_count = self.failed_mini_batch_count
        if policy.failed_mini_batches_limit is not None and failed_count > policy.failed_mini_batches_limit:
            words = passed(count(failed_count, "mini-batch", "mini-batches"), policy.failed_mini_batches_limit)
            return f"mini_batch_error_threshold: {words}"
        if not self.fresh_count and failed_count * 100 > policy.failed_percent_limit * self.mini_batch_count:
            percent = 100 * failed_count / self.mini_batch_count
            return (
                f"allowed_failed_percent: {percent:.3g} % of the mini-batches failed, "
                f"{policy.failed_percent_limit:g} % are tolerated"
            )
        if self.done and self.item_count and self.failed_item_count == self.item_count:
            return "every item failed"
        return None
