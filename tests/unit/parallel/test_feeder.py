"""How much work a worker is given in advance, and who is given what."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchflow._core import Channel, Gather
from batchflow.model import Dispatch, Failure
from batchflow.parallel import feeder as feeder_module
from batchflow.parallel.feeder import DEPTH_MAX, QUEUE_NS, Feeder, depth_for
from batchflow.plan import Plan, Policy
from batchflow.pool.pool import Slot
from batchflow.pool.watch import Watch

US, MS, S = 1_000, 1_000_000, 1_000_000_000


@pytest.mark.parametrize(
    ("run_ns", "result_count", "fresh_count", "worker_count", "depth"),
    [
        # 20 ms of work by the worker's own measure, once there is one, at least two.
        (0, 0, 10_000, 2, 2),
        (1 * S, 1, 10_000, 2, 2),
        (10 * MS, 1, 10_000, 2, 2),
        (4 * MS, 1, 10_000, 2, 5),
        (100 * MS, 100, 10_000, 2, 20),
        (100 * US, 1, 10_000, 2, 200),
        (1 * US, 1, 10_000_000, 2, 2048),
        (0, 5, 10_000_000, 2, 2048),
        # Towards the end the rest is shared out, and the last ones go one by one.
        (100 * US, 1, 400, 2, 100),
        (100 * US, 1, 400, 10, 20),
        (100 * US, 1, 8, 2, 2),
        (100 * US, 1, 7, 2, 1),
        (100 * US, 1, 0, 2, 1),
        (0, 0, 4, 2, 1),
        (0, 0, 1000, 0, 2),
    ],
)
def test_the_depth_of_a_queue(run_ns: int, result_count: int, fresh_count: int, worker_count: int, depth: int) -> None:
    assert depth_for(run_ns, result_count, fresh_count, worker_count) == depth


@given(st.integers(0, 10**15), st.integers(0, 10**9), st.integers(0, 10**9), st.integers(0, 1000))
def test_a_depth_is_bounded_and_never_more_than_a_fair_share(
    run_ns: int, result_count: int, fresh_count: int, worker_count: int
) -> None:
    depth = depth_for(run_ns, result_count, fresh_count, worker_count)
    assert 1 <= depth <= DEPTH_MAX
    assert depth == 1 or depth * worker_count <= fresh_count
    if result_count:
        assert depth <= 2 or depth * run_ns <= QUEUE_NS * result_count


@given(st.lists(st.integers(1, 10**10), min_size=2, max_size=10, unique=True).map(sorted))
def test_slower_mini_batches_never_make_deeper_queues(times_ns: list[int]) -> None:
    depths = [depth_for(one, 1, 10**9, 2) for one in times_ns]
    assert all(first >= second for first, second in pairwise(depths))


class Desk:
    """A feeder over real rings without processes."""

    def __init__(
        self, mini_batch_count: int, *, size: int = 10, item_count: int | None = None, workers: int = 2
    ) -> None:
        items = mini_batch_count * size if item_count is None else item_count
        self.plan = Plan(mini_batch_count, items, Policy())
        self.gather = Gather()
        self.feeder = Feeder(self.plan, self.gather, size)
        self.slots = [Slot(number, Channel(), Watch(1.0), asked_for=True, ready=True) for number in range(workers)]

    def fill(self) -> list[list[tuple[int, int]]]:
        self.feeder.fill(self.slots)
        return [[flight[:2] for flight in slot.channel.flights()] for slot in self.slots]

    def fail(self, number: int) -> Dispatch:
        """The first flight of this worker fails, and its rings are new."""
        slot = self.slots[number]
        flights = [flight[:2] for flight in slot.channel.flights()]
        slot.channel = Channel()
        dispatch = Dispatch(*flights[0])
        self.plan.failed(Failure(dispatch, "exception", "ValueError", "x"), 10)
        self.feeder.failed_on(dispatch.mini_batch_index, number)
        for flight in flights[1:]:
            self.plan.returned(Dispatch(*flight))
        return dispatch


def test_ready_workers_get_work_in_order_and_the_others_none() -> None:
    desk = Desk(100, workers=3)
    desk.slots[1].ready = False
    assert desk.fill() == [[(0, 1), (1, 1)], [], [(2, 1), (3, 1)]]
    assert desk.fill() == [[(0, 1), (1, 1)], [], [(2, 1), (3, 1)]]
    assert desk.plan.in_flight_count == 4


def test_few_mini_batches_are_left_for_workers_that_are_not_ready_yet() -> None:
    desk = Desk(5)
    desk.slots[1].ready = False
    assert desk.fill() == [[(0, 1)], []]


def test_nothing_is_handed_out_when_there_is_nothing() -> None:
    desk = Desk(1)
    assert desk.fill() == [[(0, 1)], []]
    assert desk.fill() == [[(0, 1)], []]


def test_a_second_attempt_goes_to_another_worker_before_anything_fresh() -> None:
    desk = Desk(100)
    desk.fill()
    assert desk.fail(0) == Dispatch(0, 1)
    desk.slots[1].channel = Channel()
    desk.plan.succeeded(2, 20)
    first, second = desk.fill()
    assert second[0] == (0, 2)
    assert (1, 1) in first  # it was returned: no blame, same attempt, any worker
    assert all(index != 0 for index, _ in first)


def test_a_worker_that_is_alone_tries_again_itself() -> None:
    desk = Desk(100, workers=1)
    desk.fill()
    desk.fail(0)
    assert desk.fill()[0][:2] == [(0, 2), (1, 1)]


def test_a_worker_that_failed_it_long_ago_may_have_it_after_another_failed_it() -> None:
    desk = Desk(1)
    desk.fill()
    desk.fail(0)
    assert desk.fill() == [[], [(0, 2)]]
    desk.fail(1)
    assert desk.fill() == [[(0, 3)], []]


def test_a_full_window_stops_fresh_work_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk(100)
    desk.fill()
    desk.fail(0)
    monkeypatch.setattr(feeder_module, "WINDOW_SIZE", -1)
    desk.slots[1].channel = Channel()
    desk.plan.succeeded(2, 20)
    assert desk.fill() == [[(1, 1)], [(0, 2)]]
    monkeypatch.undo()
    assert (4, 1) in desk.fill()[0]


@pytest.mark.parametrize("ready", [0, 1])
def test_a_ring_that_takes_too_little_was_written_over_and_nothing_is_lost(ready: int) -> None:
    desk = Desk(100, workers=1)
    desk.slots[0].channel = Channel(request_size=4096)
    for index in range(64):
        assert desk.slots[0].channel.run(index, 1, 0, 1)
    if ready:
        desk.plan.take_fresh(1)
        desk.plan.returned(Dispatch(0, 1))
    full = FullSlot(desk.slots[0])
    assert desk.feeder.fill([full]) == [full]
    assert desk.plan.in_flight_count == 0
    assert desk.plan.ready_count + desk.plan.fresh_count == 100


class FullSlot:
    """Pretends to hold nothing."""

    def __init__(self, slot: Slot) -> None:
        self.number = slot.number
        self.channel = self
        self._channel = slot.channel
        self.ready = self.asked_for = True
        self.in_flight, self.run_ns, self.result_count = 0, 0, 0
        self.set_low_water, self.run_range = self._channel.set_low_water, self._channel.run_range
        self.run = self._channel.run
