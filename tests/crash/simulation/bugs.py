"""Known bugs, each put into the product while its context lasts: the simulation must find every one of them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from batchflow.isolation import Isolation, Part
from batchflow.mini_batches import FailedMiniBatches, MiniBatches, UniformGrid
from batchflow.model import Dispatch
from batchflow.parallel.books import Books
from batchflow.parallel.feeder import Feeder
from batchflow.parallel.outcomes import Outcomes
from batchflow.parallel.pieces import Pieces
from batchflow.plan import Before, Plan


@contextlib.contextmanager
def _patched(owner: Any, name: str, make: Callable[[Any], Any]) -> Iterator[None]:
    """``make`` gets the original and gives what takes its place."""
    original = owner.__dict__[name]
    setattr(owner, name, make(original))
    try:
        yield
    finally:
        setattr(owner, name, original)


def _second_half_forgotten(original: Any) -> Any:
    def failed(self: Isolation, start: int) -> list[Part]:
        self._waiting.pop(start, None)
        return original(self, start)

    return failed


def _second_half_never_tried(original: Any) -> Any:
    """The first half failed, so the second one is taken for good."""

    def failed(self: Isolation, start: int) -> list[Part]:
        second = self._waiting.get(start)
        ready = original(self, start)
        if second is None or second not in ready:
            return ready
        del self._open[second.start]
        self.saved_count += second.item_count
        return [part for part in ready if part is not second]

    return failed


def _halves_overlap(original: Any) -> Any:
    def halve(self: Isolation, part: Part, attempt: int) -> Part:
        first = original(self, part, attempt)
        second = self._waiting[part.start]
        self._waiting[part.start] = second._replace(start=second.start - 1, item_count=second.item_count + 1)
        return first

    return halve


def _returned_as_a_whole(original: Any) -> Any:
    def returned(self: Plan, dispatch: Dispatch) -> None:
        original(self, Dispatch(dispatch.mini_batch_index, dispatch.attempt, dispatch.start, dispatch.count))

    return returned


def _single_items_tried_again(original: Any) -> Any:
    def failed(self: Plan, failure: Any) -> Any:
        dispatch = failure.dispatch
        if dispatch.is_part and dispatch.count == 1:
            self._leave_flight(1)
            self._make_ready(dispatch, dispatch.attempt + 1)
            return None
        return original(self, failure)

    return failed


def _blamed_and_given_back(original: Any) -> Any:
    def bury(self: Outcomes, death: Any, **how: Any) -> Any:
        blamed = original(self, death, **how)
        if blamed is not None:
            self._plan.in_flight_count += 1
            self._plan.returned(blamed)
        return blamed

    return bury


def _blame_without_beginning(original: Any) -> Any:
    def bury(self: Outcomes, death: Any, **how: Any) -> Any:
        return original(self, death, **how | {"damaged": True})

    return bury


def _lost_ones_hold_up_the_order(original: Any) -> Any:
    def put(self: Outcomes, index: int, attempt: int, pieces: Any) -> Any:
        return original(self, index, attempt, pieces) if pieces else []

    return put


def _columns_not_awaited(original: Any) -> Any:
    def is_good(self: Outcomes, part: Dispatch, piece: Any) -> Any:
        verdict = original(self, part, piece)
        return True if verdict is None else verdict

    return is_good


def _failures_one_commit_late(original: Any) -> Any:
    def take_failures(self: Any) -> Any:
        late, self.late = getattr(self, "late", []), original(self)
        return late

    return take_failures


def _shortfalls_booked_twice(original: Any) -> Any:
    def settle(self: Outcomes) -> Any:
        self._unbooked *= 2
        return original(self)

    return settle


def _refused_requests_forgotten(original: Any) -> Any:
    def fill_fresh(self: Feeder, slot: Any, depth: int) -> bool:
        work, channel = self._plan.mini_batches, slot.channel
        first, stop = self._plan.take_fresh(depth - channel.in_flight)
        while first < stop:
            next_first, start, size, stop_item = work.consecutive(first, stop)
            channel.run_range(first, next_first, start, size, stop_item)
            first = next_first
        return True

    return fill_fresh


def _gaps_run_together(original: Any) -> Any:
    """Mini-batches do not stop where a gap does."""

    def consecutive(self: MiniBatches, ordinal: int, stop: int) -> tuple[int, int, int, int]:
        stop_ordinal, start, size, _ = original(self, ordinal, stop)
        return stop_ordinal, start, size, min(start + (stop_ordinal - ordinal) * size, self._stops[-1])

    return consecutive


def _pieces_as_they_came(original: Any) -> Any:
    def take(self: Pieces, index: int) -> Any:
        kept = list(self._pieces.get(index, []))
        attempt, _ = original(self, index)
        return attempt, kept

    return take


def _earlier_runs_forgotten(original: Any) -> Any:
    return property(lambda self: Before(0, 0, FailedMiniBatches(UniformGrid(1, 0))))


def _failed_ones_counted_anew(original: Any) -> Any:
    """A mini-batch that failed in an earlier run counts once more when the rest of it fails."""

    def before(self: Books) -> Before:
        totals = self.state.totals
        failed = FailedMiniBatches(self.journal.grid)
        failed.count = totals.failed_mini_batches
        return Before(totals.succeeded, totals.failed, failed)

    return property(before)


BUGS: dict[str, Callable[[], contextlib.AbstractContextManager[None]]] = {
    name: lambda owner=owner, attribute=attribute, make=make: _patched(owner, attribute, make)  # type: ignore[misc]
    for name, owner, attribute, make in (
        ("second-half-forgotten", Isolation, "failed", _second_half_forgotten),
        ("second-half-never-tried", Isolation, "failed", _second_half_never_tried),
        ("halves-overlap", Isolation, "_halve", _halves_overlap),
        ("returned-as-a-whole", Plan, "returned", _returned_as_a_whole),
        ("single-items-tried-again", Plan, "failed", _single_items_tried_again),
        ("blamed-and-given-back", Outcomes, "bury", _blamed_and_given_back),
        ("blame-without-beginning", Outcomes, "bury", _blame_without_beginning),
        ("lost-ones-hold-up-the-order", Outcomes, "_put", _lost_ones_hold_up_the_order),
        ("columns-not-awaited", Outcomes, "_is_good", _columns_not_awaited),
        ("failures-one-commit-late", Outcomes, "take_failures", _failures_one_commit_late),
        ("shortfalls-booked-twice", Outcomes, "settle", _shortfalls_booked_twice),
        ("refused-requests-forgotten", Feeder, "_fill_fresh", _refused_requests_forgotten),
        ("gaps-run-together", MiniBatches, "consecutive", _gaps_run_together),
        ("pieces-as-they-came", Pieces, "take", _pieces_as_they_came),
        ("earlier-runs-forgotten", Books, "before", _earlier_runs_forgotten),
        ("failed-ones-counted-anew", Books, "before", _failed_ones_counted_anew),
    )
}
