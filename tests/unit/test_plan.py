"""The plan against a naive model, and its thresholds against numbers worked out by hand."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from batchflow.model import Dispatch, Failure, Shortfall
from batchflow.plan import Plan, Policy


def failure(index: int, attempt: int) -> Failure:
    return Failure(Dispatch(index, attempt), "exception", "ValueError", "x")


class PlanMachine(RuleBasedStateMachine):
    """A dict of states, one for each mini-batch, beside the plan; items: ``size`` for each, the last one shorter."""

    @initialize(item_count=st.integers(0, 30), size=st.integers(1, 4), attempts_max=st.integers(1, 3))
    def begin(self, item_count: int, size: int, attempts_max: int) -> None:
        self.sizes = [min(size, item_count - start) for start in range(0, item_count, size)]
        self.attempts_max = attempts_max
        self.plan = Plan(len(self.sizes), item_count, Policy(attempts_max=attempts_max, failed_items_limit=None))
        self.states: dict[int, tuple[str, int]] = dict.fromkeys(range(len(self.sizes)), ("fresh", 0))
        self.missing: dict[int, int] = {}
        self.attempts = 0

    def of(self, state: str) -> list[int]:
        return [index for index, (one, _) in self.states.items() if one == state]

    @rule(count=st.integers(-1, 5))
    def take_fresh(self, count: int) -> None:
        expected = self.of("fresh")[: max(0, count)]
        start, stop = self.plan.take_fresh(count)
        assert list(range(start, stop)) == expected
        self.attempts += len(expected)
        self.states |= dict.fromkeys(expected, ("flight", 1))

    @rule(excluding=st.sets(st.integers(0, 30)))
    def take_ready(self, excluding: set[int]) -> None:
        allowed = [index for index in self.of("ready") if index not in excluding]
        dispatch = self.plan.take_ready(excluding)
        if not allowed:
            assert dispatch is None
            return
        attempt = self.states[allowed[0]][1]
        assert dispatch == Dispatch(allowed[0], attempt)
        self.attempts += 1
        self.states[allowed[0]] = ("flight", attempt)

    @precondition(lambda self: self.of("flight"))
    @rule(data=st.data())
    def some_succeed(self, data: st.DataObject) -> None:
        """In bulk, one of them perhaps with a shortfall."""
        indices = data.draw(st.lists(st.sampled_from(self.of("flight")), min_size=1, unique=True))
        missing = data.draw(st.integers(0, self.sizes[indices[0]]))
        self.plan.succeeded(len(indices), sum(self.sizes[index] for index in indices) - missing)
        if missing:
            attempt = self.states[indices[0]][1]
            self.plan.fell_short(Shortfall(indices[0], attempt, self.sizes[indices[0]] - missing, missing))
            self.missing[indices[0]] = missing
        self.states |= dict.fromkeys(indices, ("succeeded", 0))

    @precondition(lambda self: self.of("flight"))
    @rule(data=st.data())
    def one_fails(self, data: st.DataObject) -> None:
        index = data.draw(st.sampled_from(self.of("flight")))
        attempt = self.states[index][1]
        lost = self.plan.failed(failure(index, attempt), self.sizes[index])
        if attempt < self.attempts_max:
            assert lost is None
            self.states[index] = ("ready", attempt + 1)
        else:
            assert lost is not None
            assert (lost.dispatch, lost.item_count) == (Dispatch(index, attempt), self.sizes[index])
            self.states[index] = ("failed", 0)

    @precondition(lambda self: self.of("flight"))
    @rule(data=st.data())
    def one_comes_back(self, data: st.DataObject) -> None:
        index = data.draw(st.sampled_from(self.of("flight")))
        attempt = self.states[index][1]
        self.plan.returned(Dispatch(index, attempt))
        self.attempts -= 1
        self.states[index] = ("ready", attempt)

    @invariant()
    def every_mini_batch_is_in_exactly_one_state(self) -> None:
        if not hasattr(self, "plan"):
            return
        plan = self.plan
        counts = {state: len(self.of(state)) for state in ("fresh", "ready", "flight", "succeeded", "failed")}
        assert counts == {
            "fresh": plan.fresh_count,
            "ready": plan.ready_count,
            "flight": plan.in_flight_count,
            "succeeded": plan.succeeded_count,
            "failed": plan.lost_count,
        }
        assert sum(counts.values()) == plan.mini_batch_count
        assert plan.attempts == self.attempts
        assert plan.done == (counts["succeeded"] + counts["failed"] == plan.mini_batch_count)

    @invariant()
    def every_item_is_counted_once(self) -> None:
        if not hasattr(self, "plan"):
            return
        failed = sum(self.sizes[index] for index in self.of("failed")) + sum(self.missing.values())
        assert self.plan.failed_item_count == failed
        succeeded = sum(self.sizes[index] for index in self.of("succeeded")) - sum(self.missing.values())
        assert self.plan.succeeded_item_count == succeeded
        assert self.plan.failed_mini_batch_count == len(self.of("failed")) + len(self.missing)
        if self.plan.done:
            assert succeeded + failed == self.plan.item_count


TestPlan = PlanMachine.TestCase
TestPlan.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


def plan_with(*, lost: int, short: tuple[int, ...] = (), fresh: int = 0, **policy: Any) -> Plan:
    """Ten mini-batches of ten items: so many lost, so many short by so many items, the rest but ``fresh`` succeeded."""
    plan = Plan(10, 100, Policy(attempts_max=1, **policy))
    plan.take_fresh(10 - fresh)
    for index in range(lost):
        plan.failed(failure(index, 1), 10)
    good = 10 - fresh - lost
    plan.succeeded(good, 10 * good - sum(short))
    for index, missing in enumerate(short):
        plan.fell_short(Shortfall(lost + index, 1, 10 - missing, missing))
    return plan


@pytest.mark.parametrize(
    ("plan", "reason"),
    [
        (plan_with(lost=0), None),
        (plan_with(lost=1), "error_threshold: 10 items failed, 0 are tolerated"),
        (plan_with(lost=1, fresh=9), "error_threshold: 10 items failed, 0 are tolerated"),
        (plan_with(lost=1, failed_items_limit=9), "error_threshold: 10 items failed, 9 are tolerated"),
        (plan_with(lost=1, failed_items_limit=10), None),
        (plan_with(lost=1, short=(1,), failed_items_limit=10), "error_threshold: 11 items failed, 10 are tolerated"),
        (plan_with(lost=9, failed_items_limit=None), None),
        (plan_with(lost=10, failed_items_limit=None), "every item failed"),
        (plan_with(lost=9, fresh=1, failed_items_limit=None), None),
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
        (plan_with(lost=2, fresh=1, failed_items_limit=None, failed_percent_limit=0), None),
        (
            plan_with(lost=1, short=(1,), failed_items_limit=None, failed_percent_limit=10),
            "allowed_failed_percent: 20 % of the mini-batches failed, 10 % are tolerated",
        ),
    ],
)
def test_the_threshold_that_was_passed_is_named_with_its_numbers(plan: Plan, reason: str | None) -> None:
    assert plan.passed_threshold() == reason


def test_an_empty_plan_is_done_and_has_passed_nothing() -> None:
    plan = Plan(0, 0, Policy())
    assert plan.done
    assert plan.passed_threshold() is None


@pytest.mark.parametrize(
    ("mini_batch_count", "item_count", "attempts_max", "message"),
    [
        (-1, 0, 1, "more mini-batches than items, mini_batch_count=-1, item_count=0"),
        (3, 2, 1, "more mini-batches than items, mini_batch_count=3, item_count=2"),
        (1, 1, 0, "a mini-batch needs at least one attempt, attempts_max=0"),
    ],
)
def test_a_plan_that_cannot_be_is_refused(
    mini_batch_count: int, item_count: int, attempts_max: int, message: str
) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        Plan(mini_batch_count, item_count, Policy(attempts_max=attempts_max))


def test_more_cannot_come_back_than_went_out() -> None:
    plan = Plan(3, 3, Policy())
    plan.take_fresh(1)
    with pytest.raises(ValueError, match=r"^2 mini-batches came back, in_flight_count=1$"):
        plan.succeeded(2, 2)
    plan.succeeded(1, 1)
    with pytest.raises(ValueError, match=r"^1 mini-batches came back, in_flight_count=0$"):
        plan.failed(failure(0, 1), 1)


def test_failures_are_not_kept() -> None:
    plan = Plan(1, 1, Policy(attempts_max=1))
    plan.take_fresh(1)
    why = failure(0, 1)
    reference = weakref.ref(why)
    plan.failed(why, 1)
    del why
    gc.collect()
    assert reference() is None
