"""The plan against a naive model, and its thresholds against numbers worked out by hand."""

from __future__ import annotations

import gc
import weakref
from array import array
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from unit.plans import failure, fresh

from batchflow.mini_batches import CutGrid, FailedMiniBatches, MiniBatches, UniformGrid
from batchflow.model import Dispatch, Shortfall
from batchflow.plan import Before, Lost, Plan, Policy


def grid_of(sizes: list[int], item_count: int) -> CutGrid:
    cuts = array("q", [0])
    for size in sizes:
        if cuts[-1] + size < item_count:
            cuts.append(cuts[-1] + size)
    return CutGrid(array("q", [*cuts, item_count]))


class PlanMachine(RuleBasedStateMachine):
    """Beside the plan a dict of states, one for each item, and one of what is given out, each with its items."""

    @initialize(
        gaps=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 12)), max_size=4),
        sizes=st.integers(1, 5) | st.lists(st.integers(1, 6), min_size=1, max_size=12),
        attempts_max=st.integers(1, 4),
        isolate=st.booleans(),
    )
    def begin(self, gaps: list[tuple[int, int]], sizes: int | list[int], attempts_max: int, isolate: bool) -> None:
        """``sizes``: of all mini-batches, or of each as long as there are any; what follows is the last one."""
        end, ranges = 0, []
        for skip, length in gaps:
            ranges.append((end + skip, end + skip + length))
            end += skip + length
        work = MiniBatches.of(ranges, sizes) if isinstance(sizes, int) else MiniBatches.on(ranges, grid_of(sizes, end))
        self.isolate, self.attempts_max = isolate, attempts_max
        self.plan = Plan(work, Policy(attempts_max=attempts_max, isolate=isolate, failed_items_limit=None))
        self.states = {item: "fresh" for start, stop in ranges for item in range(start, stop)}
        self.given: dict[int, int] = dict.fromkeys(self.states, 0)
        self.flying: list[Dispatch] = []
        self.pending: dict[int, list[int]] = {}  # mini-batches that wait for their commit, with their good items
        self.missing: dict[int, int] = {}  # of a shortfall's items, by its first one
        self.grid = work.grid
        self.attempts = 0

    def items(self, dispatch: Dispatch) -> range:
        return range(dispatch.start, dispatch.start + dispatch.count)

    def give_out(self, dispatch: Dispatch, state: str) -> None:
        for item in self.items(dispatch):
            assert self.states[item] == state
            self.states[item] = "flight"
            self.given[item] += 1
            assert self.given[item] == dispatch.attempt
        self.attempts += 1
        self.flying.append(dispatch)

    @rule(count=st.integers(-1, 5))
    def take_fresh(self, count: int) -> None:
        given = fresh(self.plan, count)
        assert len(given) <= max(0, count)
        for dispatch in given:
            self.give_out(dispatch, "fresh")

    @rule(excluding=st.sets(st.integers(0, 12)))
    def take_ready(self, excluding: set[int]) -> None:
        dispatch = self.plan.take_ready(excluding)
        if dispatch is not None:
            assert dispatch.mini_batch_index not in excluding
            assert dispatch.is_part == self.plan.is_isolating(dispatch.mini_batch_index)
            self.give_out(dispatch, "again")

    @precondition(lambda self: self.flying)
    @rule(data=st.data(), missing=st.integers(0, 2))
    def one_succeeds(self, data: st.DataObject, missing: int) -> None:
        dispatch = data.draw(st.sampled_from(self.flying))
        self.flying.remove(dispatch)
        missing = min(missing, dispatch.count)
        if missing:
            self.missing[dispatch.start] = missing
        for item in self.items(dispatch):
            self.states[item] = "saved"
        if dispatch.is_part:
            self.plan.part_succeeded(dispatch)
            self.finish_if_over(dispatch.mini_batch_index)
        else:
            self.pending[dispatch.mini_batch_index] = list(self.items(dispatch))

    @precondition(lambda self: self.flying)
    @rule(data=st.data())
    def one_fails(self, data: st.DataObject) -> None:
        dispatch = data.draw(st.sampled_from(self.flying))
        self.flying.remove(dispatch)
        isolates = self.isolate and dispatch.count > 1 and not dispatch.is_part
        last = min(2, self.attempts_max) if isolates else self.attempts_max
        lost = self.plan.failed(failure(dispatch))
        if (dispatch.is_part and dispatch.count == 1) or (
            not (isolates or dispatch.is_part) and dispatch.attempt == last
        ):
            assert lost == Lost(dispatch, failure(dispatch))
        else:
            assert lost is None
        for item in self.items(dispatch):
            self.states[item] = "again" if lost is None else "failed"
        index = dispatch.mini_batch_index
        assert self.plan.is_isolating(index) == (dispatch.is_part or (isolates and dispatch.attempt == last))
        self.finish_if_over(index)

    def finish_if_over(self, index: int) -> None:
        start, stop = self.plan.mini_batches.range(index)
        undecided = [item for item in range(start, stop) if self.states[item] not in ("saved", "failed")]
        assert self.plan.is_isolated(index) == (self.plan.is_isolating(index) and not undecided)
        if self.plan.is_isolated(index):
            saved = [item for item in range(start, stop) if self.states[item] == "saved"]
            assert self.plan.finish_isolation(index) == bool(saved)
            if saved:
                self.pending[index] = saved

    @precondition(lambda self: self.flying)
    @rule(data=st.data())
    def one_comes_back(self, data: st.DataObject) -> None:
        dispatch = data.draw(st.sampled_from(self.flying))
        self.flying.remove(dispatch)
        self.plan.returned(dispatch)
        self.attempts -= 1
        for item in self.items(dispatch):
            self.states[item] = "again"
            self.given[item] -= 1

    @precondition(lambda self: self.pending)
    @rule(data=st.data())
    def some_are_committed(self, data: st.DataObject) -> None:
        indices = data.draw(st.lists(st.sampled_from(sorted(self.pending)), min_size=1, unique=True))
        items = [item for index in indices for item in self.pending[index]]
        missing = {item: self.missing[item] for item in items if item in self.missing}
        self.plan.succeeded(len(indices), len(items) - sum(missing.values()))
        for index in indices:
            for start in sorted(missing.keys() & set(self.pending[index])):
                first, stop = self.plan.mini_batches.range(index)
                count = 1 if self.was_isolated(index) else stop - first  # of a part any count but that of the whole
                self.plan.fell_short(Shortfall(index, 1, count - missing[start], missing[start], start, count))
            del self.pending[index]
        for item in items:
            self.states[item] = "done"

    def was_isolated(self, index: int) -> bool:
        start, _ = self.plan.mini_batches.range(index)
        return self.isolate and self.given[start] > min(2, self.attempts_max)

    @invariant()
    def the_books_are_right(self) -> None:
        if not hasattr(self, "plan"):
            return
        plan, states = self.plan, list(self.states.values())
        assert plan.in_flight_count == len(self.flying) + len(self.pending)
        assert plan.attempts == self.attempts
        ranges = [plan.mini_batches.range(index) for index in range(plan.mini_batches.count)]
        assert plan.fresh_count == sum(self.states[start] == "fresh" for start, _ in ranges)
        over = [index for index, (start, stop) in enumerate(ranges) if self.is_over(start, stop)]
        assert plan.succeeded_count + plan.lost_count == len(over)
        assert plan.done == (len(over) == plan.mini_batches.count)
        committed = [item for item, state in self.states.items() if state == "done"]
        missing = sum(self.missing.get(item, 0) for item in committed)
        assert plan.failed_item_count == states.count("failed") + missing
        assert plan.succeeded_item_count == len(committed) - missing
        assert plan.item_count == len(states)
        bad = [item for item in self.states if self.states[item] == "failed" or item in {*self.missing} & {*committed}]
        assert plan.failed_mini_batch_count == len({self.grid.place(item) for item in bad})
        if plan.done:
            assert plan.succeeded_item_count + plan.failed_item_count == plan.item_count
            assert (plan.ready_count, plan.in_flight_count, plan.isolating_count) == (0, 0, 0)

    def is_over(self, start: int, stop: int) -> bool:
        return all(self.states[item] in ("done", "failed") for item in range(start, stop))


TestPlan = PlanMachine.TestCase
TestPlan.settings = settings(max_examples=150, stateful_step_count=60, deadline=None)


# Thresholds


def plan_with(*, lost: int, short: tuple[int, ...] = (), fresh_count: int = 0, **policy: Any) -> Plan:
    """Ten mini-batches of ten items: so many lost, so many short by so many items, the rest but some succeeded."""
    plan = Plan(MiniBatches.of([(0, 100)], 10), Policy(attempts_max=1, isolate=False, **policy))
    given = fresh(plan, 10 - fresh_count)
    for dispatch in given[:lost]:
        plan.failed(failure(dispatch))
    good = 10 - fresh_count - lost
    plan.succeeded(good, 10 * good - sum(short))
    for dispatch, missing in zip(given[lost:], short, strict=False):
        plan.fell_short(Shortfall(dispatch.mini_batch_index, 1, 10 - missing, missing, dispatch.start, 10))
    return plan


@pytest.mark.parametrize(
    ("plan", "reason"),
    [
        (plan_with(lost=0), None),
        (plan_with(lost=1), "error_threshold: 10 items failed, 0 are tolerated"),
        (plan_with(lost=1, fresh_count=9), "error_threshold: 10 items failed, 0 are tolerated"),
        (plan_with(lost=1, failed_items_limit=9), "error_threshold: 10 items failed, 9 are tolerated"),
        (plan_with(lost=1, failed_items_limit=10), None),
        (plan_with(lost=1, short=(1,), failed_items_limit=10), "error_threshold: 11 items failed, 10 are tolerated"),
        (plan_with(lost=9, failed_items_limit=None), None),
        (plan_with(lost=10, failed_items_limit=None), "every item failed"),
        (plan_with(lost=9, fresh_count=1, failed_items_limit=None), None),
        (plan_with(lost=0, short=(10,) * 10, failed_items_limit=None), "every item failed"),
        (
            plan_with(lost=2, failed_items_limit=None, failed_mini_batches_limit=1),
            "mini_batch_error_threshold: 2 mini-batches failed, 1 is tolerated",
        ),
        (plan_with(lost=2, failed_items_limit=None, failed_mini_batches_limit=2), None),
        (
            plan_with(lost=1, short=(3,), failed_items_limit=None, failed_mini_batches_limit=1),
            "mini_batch_error_threshold: 2 mini-batches failed, 1 is tolerated",
        ),
        (
            plan_with(lost=2, failed_items_limit=None, failed_percent_limit=19.9),
            "allowed_failed_percent: 20 % of the mini-batches failed, 19.9 % are tolerated",
        ),
        (plan_with(lost=2, failed_items_limit=None, failed_percent_limit=20), None),
        # Looked at when every mini-batch has been dispatched, not before.
        (plan_with(lost=2, fresh_count=1, failed_items_limit=None, failed_percent_limit=0), None),
        (
            plan_with(lost=1, short=(1,), failed_items_limit=None, failed_percent_limit=10),
            "allowed_failed_percent: 20 % of the mini-batches failed, 10 % are tolerated",
        ),
    ],
)
def test_the_threshold_that_was_passed_is_named_with_its_numbers(plan: Plan, reason: str | None) -> None:
    assert plan.passed_threshold() == reason


def before(succeeded_items: int, *failed: int, size: int = 1) -> Before:
    """So many items have succeeded in earlier sessions, and these have failed."""
    mini_batches = FailedMiniBatches(UniformGrid(size, 100))
    for item in failed:
        mini_batches.add(item, item + 1)
    return Before(succeeded_items, len(failed), mini_batches)


@pytest.mark.parametrize(
    ("past", "policy", "reason"),
    [
        # Ten items of today, one of them lost, and what earlier sessions have decided: ten mini-batches of ten items.
        (before(90), {"failed_items_limit": 1}, None),
        (before(89, 3), {"failed_items_limit": 1}, "error_threshold: 2 items failed, 1 is tolerated"),
        (
            before(89, 3, size=10),
            {"failed_mini_batches_limit": 1},
            "mini_batch_error_threshold: 2 mini-batches failed, 1 is tolerated",
        ),
        (before(88, 3, 7, size=10), {"failed_mini_batches_limit": 2}, None),
        (before(80, *range(80, 90), size=10), {"failed_mini_batches_limit": 2}, None),
        (
            before(89, 3, size=10),
            {"failed_percent_limit": 19.9},
            "allowed_failed_percent: 20 % of the mini-batches failed, 19.9 % are tolerated",
        ),
        (before(89, 3, size=10), {"failed_percent_limit": 20}, None),
    ],
)
def test_thresholds_and_totals_are_over_all_sessions(past: Before, policy: dict[str, Any], reason: str | None) -> None:
    work = MiniBatches.of([(90, 100)], 1, number_size=10)
    succeeded_items, failed_items = past.succeeded_items, past.failed_items
    plan = Plan(work, Policy(attempts_max=1, **{"failed_items_limit": None} | policy), past)
    first, *rest = fresh(plan, 10)
    plan.failed(failure(first))
    plan.succeeded(len(rest), len(rest))
    assert (plan.item_count, plan.done) == (100, True)
    assert plan.succeeded_item_count == succeeded_items + 9
    assert plan.failed_item_count == failed_items + 1
    assert plan.passed_threshold() == reason


def test_a_mini_batch_that_fails_in_pieces_counts_once() -> None:
    plan = Plan(
        MiniBatches.of([(4, 5), (8, 20)], 5, number_size=10, input_count=20),
        Policy(attempts_max=1, isolate=False, failed_items_limit=None),
        before(6, 2, size=10),
    )
    counts = []
    for dispatch in fresh(plan, 4):
        plan.failed(failure(dispatch))
        counts.append((dispatch.start, dispatch.count, plan.failed_mini_batch_count))
    assert counts == [(4, 1, 1), (8, 2, 1), (10, 5, 2), (15, 5, 2)]


def test_every_item_of_all_sessions_must_have_failed_for_every_item_to_have_failed() -> None:
    def over(past: Before) -> str | None:
        plan = Plan(MiniBatches.of([(9, 10)], 1), Policy(attempts_max=1, failed_items_limit=None), past)
        plan.failed(failure(fresh(plan, 1)[0]))
        return plan.passed_threshold()

    assert over(before(0, *range(9))) == "every item failed"
    assert over(before(1, *range(8))) is None


def test_an_empty_plan_is_done_and_has_passed_nothing() -> None:
    plan = Plan(MiniBatches.of([], 10), Policy())
    assert plan.done
    assert plan.passed_threshold() is None


def test_a_plan_that_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^a mini-batch needs at least one attempt, attempts_max=0$"):
        Plan(MiniBatches.of([], 10), Policy(attempts_max=0))


def test_more_cannot_come_back_than_went_out() -> None:
    plan = Plan(MiniBatches.of([(0, 3)], 1), Policy())
    (one,) = fresh(plan, 1)
    with pytest.raises(ValueError, match=r"^2 mini-batches came back, in_flight_count=1$"):
        plan.succeeded(2, 2)
    plan.succeeded(1, 1)
    with pytest.raises(ValueError, match=r"^1 mini-batches came back, in_flight_count=0$"):
        plan.failed(failure(one))


def test_failures_are_not_kept() -> None:
    plan = Plan(MiniBatches.of([(0, 1)], 1), Policy(attempts_max=1))
    why = failure(fresh(plan, 1)[0])
    reference = weakref.ref(why)
    plan.failed(why)
    del why
    gc.collect()
    assert reference() is None
