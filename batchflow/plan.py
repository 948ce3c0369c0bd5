"""Which mini-batch to dispatch next, what an outcome means, and when to stop.

Knows no clock, file or process: the runner tells it what happened and asks what to do.  Mini-batches that go well are
handled in bulk, as ranges and counts; only what goes wrong is known one by one.

Invariant: every mini-batch is in exactly one of fresh, ready (again), in flight (given out, or its result waits to be
committed), isolating, succeeded, failed.  What isolates has each of its items in exactly one part.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection
from dataclasses import dataclass

from batchflow.isolation import Isolation, Part
from batchflow.mini_batches import FailedMiniBatches, MiniBatches
from batchflow.model import Dispatch, Failure, Shortfall
from batchflow.text import count

LOOK_MAX = 64
"""Mini-batches looked at for one that a worker has not failed itself."""
WHOLE_ATTEMPTS_MAX = 2
"""Attempts of a whole mini-batch before it is isolated."""


@dataclass(frozen=True)
class Standing:
    """What thresholds are held against: counts of the whole step, over all its sessions, by its grid."""

    item_count: int
    failed_item_count: int
    mini_batch_count: int
    failed_mini_batch_count: int


@dataclass(frozen=True)
class Policy:
    """When to give up: limits are numbers still tolerated, None for any number."""

    attempts_max: int = 3
    isolate: bool = True
    """Halve a failing mini-batch until its bad items are known."""
    failed_items_limit: int | None = 0
    failed_mini_batches_limit: int | None = None
    failed_percent_limit: float = 100.0
    """Of the mini-batches, checked once every one has been dispatched."""

    def passed(self, standing: Standing, *, is_all_dispatched: bool = True) -> str | None:
        """The threshold that has been passed, in words with the numbers, or None."""
        failed_items, failed_count = standing.failed_item_count, standing.failed_mini_batch_count
        if self.failed_items_limit is not None and failed_items > self.failed_items_limit:
            return f"error_threshold: {_passed(count(failed_items, 'item'), self.failed_items_limit)}"
        if self.failed_mini_batches_limit is not None and failed_count > self.failed_mini_batches_limit:
            words = _passed(count(failed_count, "mini-batch", "mini-batches"), self.failed_mini_batches_limit)
            return f"mini_batch_error_threshold: {words}"
        if is_all_dispatched and failed_count * 100 > self.failed_percent_limit * standing.mini_batch_count:
            percent = 100 * failed_count / standing.mini_batch_count
            return (
                f"allowed_failed_percent: {percent:.3g} % of the mini-batches failed, "
                f"{self.failed_percent_limit:g} % are tolerated"
            )
        if standing.item_count and failed_items == standing.item_count:
            return "every item failed"
        return None


def _passed(failed: str, limit: int) -> str:
    """How far a threshold has been passed, in words; ``failed`` is the count with its noun."""
    return f"{failed} failed, {limit:,} {'is' if limit == 1 else 'are'} tolerated"


@dataclass(frozen=True)
class Before:
    """What earlier sessions of the same step have decided, which thresholds and totals include."""

    succeeded_items: int
    failed_items: int
    failed_mini_batches: FailedMiniBatches
    """The plan's from now on."""


@dataclass(frozen=True)
class Lost:
    """Items that failed for good: those of the dispatch that failed."""

    dispatch: Dispatch
    failure: Failure


class Plan:
    """The books of one parallel step.

    ``take_fresh`` and ``take_ready`` hand out work (ready work first: it is older); ``succeeded``, ``fell_short``,
    ``failed``, ``part_succeeded`` and ``returned`` report what became of it.  A mini-batch is isolating from its last
    failure as a whole until all its parts are decided; then what was saved of it waits, as one, to be committed.
    """

    def __init__(self, mini_batches: MiniBatches, policy: Policy, before: Before | None = None) -> None:
        if policy.attempts_max < 1:
            raise ValueError(f"a mini-batch needs at least one attempt, attempts_max={policy.attempts_max}")
        if before is None:
            before = Before(0, 0, FailedMiniBatches(mini_batches.grid))
        self.mini_batches = mini_batches
        self.policy = policy
        self.item_count = before.succeeded_items + before.failed_items + mini_batches.item_count
        self.fresh_index = 0
        self._ready: list[tuple[int, int, int, int, bool]] = []  # index, start, count, attempt, is_part
        self._isolations: dict[int, Isolation] = {}
        self.in_flight_count = 0
        """Dispatches given out, and mini-batches whose result waits to be committed."""
        self.succeeded_count = 0
        """Mini-batches of this session that are committed, at least in part."""
        self.lost_count = 0
        """Mini-batches of this session of which nothing is left."""
        self.succeeded_item_count = before.succeeded_items
        self.failed_item_count = before.failed_items
        self._failed = before.failed_mini_batches
        self.attempts = 0
        """Dispatches of this session, parts included."""

    # Handing out

    @property
    def fresh_count(self) -> int:
        return self.mini_batches.count - self.fresh_index

    @property
    def ready_count(self) -> int:
        return len(self._ready)

    @property
    def isolating_count(self) -> int:
        return len(self._isolations)

    def take_fresh(self, count: int) -> tuple[int, int]:
        """The next mini-batches never tried: a half-open range, at most ``count`` long, in flight from now on."""
        start = self.fresh_index
        self.fresh_index = min(self.mini_batches.count, start + max(0, count))
        self.in_flight_count += self.fresh_index - start
        self.attempts += self.fresh_index - start
        return start, self.fresh_index

    def take_ready(self, excluding: Collection[int] = ()) -> Dispatch | None:
        """The lowest mini-batch, or part of one, that waits to be tried again, in flight from now on.

        Those in ``excluding`` are passed over, unless there are very many of them.
        """
        passed_over: list[tuple[int, int, int, int, bool]] = []
        while self._ready and len(passed_over) < LOOK_MAX and self._ready[0][0] in excluding:
            passed_over.append(heapq.heappop(self._ready))
        if self._ready:
            entry = heapq.heappop(self._ready)
        elif len(passed_over) == LOOK_MAX:
            entry = passed_over.pop(0)
        else:
            entry = None
        for one in passed_over:
            heapq.heappush(self._ready, one)
        if entry is None:
            return None
        index, start, count, attempt, is_part = entry
        self.in_flight_count += 1
        self.attempts += 1
        return Dispatch(index, attempt, start, count, is_part)

    def _make_ready(self, dispatch: Dispatch, attempt: int) -> None:
        one = (dispatch.mini_batch_index, dispatch.start, dispatch.count, attempt, dispatch.is_part)
        heapq.heappush(self._ready, one)

    # What became of it

    def succeeded(self, mini_batch_count: int, item_count: int) -> None:
        """So many mini-batches are committed, whole or what was saved of them; so many of their items succeeded."""
        self._leave_flight(mini_batch_count)
        self.succeeded_count += mini_batch_count
        self.succeeded_item_count += item_count

    def fell_short(self, shortfall: Shortfall) -> None:
        """Some of what was committed has too few elements: the missing items have failed."""
        self.failed_item_count += shortfall.missing_count
        self._failed.add(shortfall.start, shortfall.start + shortfall.item_count, shortfall.missing_count)

    def failed(self, failure: Failure) -> Lost | None:
        """An attempt failed.  Returns what is lost with it; else its items are to be tried again."""
        dispatch = failure.dispatch
        self._leave_flight(1)
        if dispatch.is_part:
            return self._part_failed(failure)
        isolates = self.policy.isolate and dispatch.count > 1
        attempts_max = self.policy.attempts_max
        if dispatch.attempt < (min(WHOLE_ATTEMPTS_MAX, attempts_max) if isolates else attempts_max):
            self._make_ready(dispatch, dispatch.attempt + 1)
            return None
        if isolates:
            isolation = Isolation(Part(dispatch.start, dispatch.count, dispatch.attempt))
            self._isolations[dispatch.mini_batch_index] = isolation
            self._try_parts(dispatch.mini_batch_index, isolation.open_parts)
            return None
        self.lost_count += 1
        self._count_failed(dispatch)
        return Lost(dispatch, failure)  # not kept: there may be very many

    def _count_failed(self, dispatch: Dispatch) -> None:
        self.failed_item_count += dispatch.count
        self._failed.add(dispatch.start, dispatch.start + dispatch.count)

    def returned(self, dispatch: Dispatch) -> None:
        """A worker went away before it began this one: ready again, same attempt, no blame."""
        self._leave_flight(1)
        self.attempts -= 1
        self._make_ready(dispatch, dispatch.attempt)

    def _leave_flight(self, count: int) -> None:
        if count > self.in_flight_count:
            raise ValueError(f"{count} mini-batches came back, in_flight_count={self.in_flight_count}")
        self.in_flight_count -= count

    # Isolation

    def is_isolating(self, mini_batch_index: int) -> bool:
        """It has failed as a whole and is not finished: what is in flight of it is a part."""
        return mini_batch_index in self._isolations

    def is_isolated(self, mini_batch_index: int) -> bool:
        """All its parts are decided: it is to be finished."""
        isolation = self._isolations.get(mini_batch_index)
        return isolation is not None and isolation.is_over

    def is_first_open(self, part: Dispatch) -> bool:
        """Every item of the isolating mini-batch before this part is saved or lost."""
        return self._isolations[part.mini_batch_index].first_open == part.start

    def part_succeeded(self, part: Dispatch) -> None:
        """A part came back; it is kept until the isolation is finished."""
        self._leave_flight(1)
        isolation = self._isolations[part.mini_batch_index]
        self._try_parts(part.mini_batch_index, isolation.saved(part.start))

    def _part_failed(self, failure: Failure) -> Lost | None:
        part = failure.dispatch
        isolation = self._isolations[part.mini_batch_index]
        self._try_parts(part.mini_batch_index, isolation.failed(part.start))
        if part.count > 1:
            return None
        self._count_failed(part)
        return Lost(part, failure)

    def _try_parts(self, index: int, parts: list[Part]) -> None:
        for part in parts:
            heapq.heappush(self._ready, (index, part.start, part.item_count, part.attempt, True))

    def finish_isolation(self, mini_batch_index: int, spoilt: Collection[Dispatch] = ()) -> bool:
        """What was saved of it waits, as one mini-batch, to be committed from now on; False if there is nothing.

        ``spoilt``: saved parts that cannot be committed, and so have failed after all.
        """
        isolation = self._isolations.pop(mini_batch_index)
        if not isolation.is_over:
            raise ValueError(f"parts of mini-batch {mini_batch_index} are not decided yet")
        for part in spoilt:
            self._count_failed(part)
        if isolation.saved_count > sum(part.count for part in spoilt):
            self.in_flight_count += 1
            return True
        self.lost_count += 1
        return False

    def stop_isolation(self, mini_batch_index: int) -> None:
        """The step ends early: what was saved of it so far waits to be committed, the rest is left to do."""
        del self._isolations[mini_batch_index]
        self.in_flight_count += 1

    # When to stop

    @property
    def done(self) -> bool:
        """Every mini-batch of this session has succeeded or failed."""
        return self.succeeded_count + self.lost_count == self.mini_batches.count

    @property
    def failed_mini_batch_count(self) -> int:
        """Mini-batches of the grid with failed or missing items."""
        return self._failed.count

    def passed_threshold(self) -> str | None:
        """The threshold that has been passed, in words with the numbers, or None."""
        standing = Standing(
            self.item_count, self.failed_item_count, self.mini_batches.grid.count, self.failed_mini_batch_count
        )
        return self.policy.passed(standing, is_all_dispatched=not self.fresh_count)
