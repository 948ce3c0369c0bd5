"""What a bad item costs its mini-batch, and what becomes of what was saved."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit.plans import failure, fresh

from batchflow.mini_batches import MiniBatches
from batchflow.model import Dispatch
from batchflow.plan import Lost, Plan, Policy


def cost(size: int, bad: set[int], **policy: Any) -> tuple[int, int, list[int], list[int]]:
    """One mini-batch whose ``run()`` fails whenever a bad item is in it.

    Returns calls of ``run()``, items given to it in all of them, and the items that were lost and saved.
    """
    plan = Plan(MiniBatches.of([(0, size)], size), Policy(failed_items_limit=None, **policy))
    calls = items = 0
    lost: list[int] = []
    saved: list[int] = []
    todo = fresh(plan, 1)
    while todo:
        dispatch = todo.pop()
        calls += 1
        items += dispatch.count
        given = range(dispatch.start, dispatch.start + dispatch.count)
        if not bad.isdisjoint(given):
            if plan.failed(failure(dispatch)) is not None:
                lost += given
        elif dispatch.is_part:
            saved += given
            plan.part_succeeded(dispatch)
        else:
            saved += given
            plan.succeeded(1, dispatch.count)
        if plan.is_isolated(0) and plan.finish_isolation(0):
            plan.succeeded(1, len(saved))
        following = plan.take_ready()
        todo += [] if following is None else [following]
    assert plan.done
    assert (plan.succeeded_item_count, plan.failed_item_count) == (len(saved), len(lost))
    assert plan.failed_mini_batch_count == bool(lost)
    return calls, items, sorted(lost), sorted(saved)


@pytest.mark.parametrize("attempts_max", [1, 2, 3])
@pytest.mark.parametrize("size", range(1, 65))
def test_one_bad_item_costs_only_itself_and_at_most_three_times_its_mini_batch(size: int, attempts_max: int) -> None:
    for bad in range(size):
        calls, items, lost, saved = cost(size, {bad}, attempts_max=attempts_max)
        assert (lost, saved) == ([bad], [item for item in range(size) if item != bad])
        assert items - size <= 3 * size
        assert calls <= (attempts_max if size == 1 else min(2, attempts_max) + 2 * (size - 1).bit_length())


@pytest.mark.parametrize(
    ("size", "bad", "attempts_max", "calls", "items"),
    [
        # Two whole attempts of 64, then 32 + 32, 16 + 16, 8 + 8, 4 + 4, 2 + 2, 1 + 1.
        (64, {0}, 3, 14, 2 * 64 + 126),
        # Two whole attempts of 64, then the good halves 32, 16, 8, 4, 2, and 1 + 1.
        (64, {63}, 3, 9, 2 * 64 + 64),
        (64, {0}, 1, 13, 64 + 126),
        (10, {7}, 3, 6, 2 * 10 + 5 + 2 + 1 + 2),
        (5, {2}, 3, 5, 2 * 5 + 2 + 1 + 2),
        (2, {0, 1}, 3, 4, 2 * 2 + 2),
        (1, {0}, 3, 3, 3),
        (1, {0}, 1, 1, 1),
        # Nothing is good: all 64 are tried in halves of each size.
        (64, set(range(64)), 3, 2 + 126, 2 * 64 + 6 * 64),
        (64, set(), 3, 1, 64),
    ],
)
def test_costs_written_by_hand(size: int, bad: set[int], attempts_max: int, calls: int, items: int) -> None:
    assert cost(size, bad, attempts_max=attempts_max)[:2] == (calls, items)


@given(st.integers(1, 100), st.integers(1, 5), st.data())
def test_whatever_is_bad_is_lost_and_nothing_else(size: int, attempts_max: int, data: st.DataObject) -> None:
    bad = data.draw(st.sets(st.integers(0, size - 1)))
    _, _, lost, saved = cost(size, bad, attempts_max=attempts_max)
    assert (lost, saved) == (sorted(bad), [item for item in range(size) if item not in bad])


def test_without_isolation_one_bad_item_costs_all() -> None:
    assert cost(5, {2}, isolate=False) == (3, 15, [0, 1, 2, 3, 4], [])


def test_parts_are_handed_out_lowest_first() -> None:
    plan = Plan(MiniBatches.of([(0, 16)], 8), Policy(attempts_max=1, failed_items_limit=None))
    for dispatch in reversed(fresh(plan, 2)):
        plan.failed(failure(dispatch))
    taken = [plan.take_ready() for _ in range(3)]
    assert taken == [Dispatch(0, 2, 0, 4, is_part=True), Dispatch(1, 2, 8, 4, is_part=True), None]
    for dispatch in taken[:2]:
        assert dispatch is not None
        plan.failed(failure(dispatch))
    taken = [plan.take_ready(excluding={0}), *(plan.take_ready() for _ in range(3))]
    ranges = [(one.mini_batch_index, one.start, one.count, one.attempt) for one in taken if one is not None]
    assert ranges == [(1, 8, 2, 3), (0, 0, 2, 3), (0, 4, 4, 2), (1, 12, 4, 2)]


def test_of_very_many_that_one_has_failed_it_gets_the_lowest() -> None:
    """Rather than looking through all of them."""
    plan = Plan(MiniBatches.of([(0, 100)], 1), Policy(attempts_max=2, failed_items_limit=None))
    for dispatch in fresh(plan, 64):
        plan.failed(failure(dispatch))
    assert plan.take_ready(excluding=range(64)) == Dispatch(0, 2, 0, 1)
    assert plan.take_ready(excluding=range(64)) is None


def test_what_was_saved_is_committed_as_one() -> None:
    plan = Plan(MiniBatches.of([(10, 12)], 2), Policy(attempts_max=1, failed_items_limit=None))
    (whole,) = fresh(plan, 1)
    assert plan.failed(failure(whole)) is None
    assert (plan.is_isolating(0), plan.is_isolated(0), plan.isolating_count) == (True, False, 1)
    first = plan.take_ready()
    assert first == Dispatch(0, 2, 10, 1, is_part=True)
    assert plan.is_first_open(first)
    assert plan.take_ready() is None  # the second half waits
    assert plan.failed(failure(first)) == Lost(first, failure(first))
    assert (plan.failed_item_count, plan.failed_mini_batch_count) == (1, 1)
    with pytest.raises(ValueError, match=r"^parts of mini-batch 0 are not decided yet$"):
        plan.finish_isolation(0)


def test_saved_items_that_cannot_be_committed_have_failed() -> None:
    plan = Plan(MiniBatches.of([(0, 2)], 2), Policy(attempts_max=1, failed_items_limit=None))
    plan.failed(failure(fresh(plan, 1)[0]))
    parts: list[Dispatch] = []
    while (part := plan.take_ready()) is not None:
        parts.append(part)
        plan.part_succeeded(part)
    assert [(part.start, part.count) for part in parts] == [(0, 1), (1, 1)]
    assert (plan.is_isolated(0), plan.done, plan.failed_mini_batch_count) == (True, False, 0)
    assert not plan.finish_isolation(0, parts)
    assert (plan.failed_item_count, plan.failed_mini_batch_count, plan.lost_count) == (2, 1, 1)
    assert plan.done
    assert plan.in_flight_count == 0


def test_some_of_what_was_saved_may_be_spoilt() -> None:
    plan = Plan(MiniBatches.of([(0, 2)], 2), Policy(attempts_max=1, failed_items_limit=None))
    plan.failed(failure(fresh(plan, 1)[0]))
    parts: list[Dispatch] = []
    while (part := plan.take_ready()) is not None:
        parts.append(part)
        plan.part_succeeded(part)
    assert [(part.start, part.count) for part in parts] == [(0, 1), (1, 1)]
    assert plan.finish_isolation(0, parts[1:])
    plan.succeeded(1, 1)
    assert (plan.succeeded_item_count, plan.failed_item_count, plan.failed_mini_batch_count) == (1, 1, 1)
    assert plan.done


def test_what_was_saved_when_the_step_ends_early_is_committed() -> None:
    plan = Plan(MiniBatches.of([(0, 4)], 4), Policy(attempts_max=1, failed_items_limit=None))
    plan.failed(failure(fresh(plan, 1)[0]))
    part = plan.take_ready()
    assert part == Dispatch(0, 2, 0, 2, is_part=True)
    plan.part_succeeded(part)
    plan.stop_isolation(0)
    assert not plan.is_isolating(0)
    plan.succeeded(1, 2)
    assert (plan.succeeded_item_count, plan.failed_item_count, plan.in_flight_count) == (2, 0, 0)
