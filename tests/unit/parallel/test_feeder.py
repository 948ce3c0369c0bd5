"""How much work a worker is given in advance, and who is given what."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchflow import _core
from batchflow._core import Channel, Gather, Port
from batchflow.mini_batches import MiniBatches
from batchflow.model import Dispatch, Failure
from batchflow.parallel import feeder as feeder_module
from batchflow.parallel.feeder import DEPTH_MAX, Feeder, depth_for
from batchflow.parallel.pace import QUEUE_NS, QUEUE_SIZE, Pace
from batchflow.parallel.pieces import Piece, Pieces
from batchflow.plan import Plan, Policy
from batchflow.pool.slot import Slot
from batchflow.pool.watch import Watch

US, MS, S = 1_000, 1_000_000, 1_000_000_000


class Timed:
    """Stands in for a channel: what its worker has answered, and how long that took."""

    def __init__(self) -> None:
        self.result_count = self.run_ns = self.result_size = 0

    def answer(self, count: int, each_ns: int, each_size: int) -> None:
        self.result_count += count
        self.run_ns += count * each_ns
        self.result_size += count * each_size


def paced(*times: tuple[int, int], each_size: int = 10) -> Pace:
    """Looked at after each of these (how many answers, nanoseconds of each)."""
    pace, channel = Pace(), Timed()
    for count, each_ns in times:
        channel.answer(count, each_ns, each_size)
        pace.look(channel)  # type: ignore[arg-type]
    return pace


def test_the_latest_attempts_weigh_most() -> None:
    assert paced().mean_ns is None
    assert paced((0, 5)).mean_ns is None
    assert paced((4, 100)).mean_ns == 100
    assert paced((4, 100), (0, 0), (1, 300)).mean_ns == 200
    assert paced((1000, 100), (1, 300), (1, 400)).mean_ns == 300
    assert paced().mean_size == 0
    assert paced((4, 100), (1, 300), each_size=50).mean_size == 50


@pytest.mark.parametrize(
    ("pace", "depth"),
    [
        (paced(), 3),
        (paced((1, 1 * S)), 1),
        (paced((1, 4 * MS)), 5),
        (paced((9, 1 * MS)), 20),
        (paced((1, 0)), 500),
        (paced((1, 1 * MS), each_size=1_000), 10),
        (paced((1, 1 * MS), each_size=20_000), 1),
    ],
)
def test_what_keeps_a_worker_busy(pace: Pace, depth: int) -> None:
    assert pace.depth(3, 500, 10_000) == depth


@pytest.mark.parametrize(
    ("pace", "left_count", "worker_count", "depth"),
    [
        # 20 ms of work by the worker's own measure, once there is one, at least two.
        (paced(), 10_000, 2, 2),
        (paced((1, 1 * S)), 10_000, 2, 2),
        (paced((1, 10 * MS)), 10_000, 2, 2),
        (paced((1, 4 * MS)), 10_000, 2, 5),
        (paced((100, 1 * MS)), 10_000, 2, 20),
        (paced((1, 100 * US)), 10_000, 2, 200),
        (paced((1, 1 * US)), 10_000_000, 2, 2048),
        (paced((5, 0)), 10_000_000, 2, 2048),
        # Long results are few, so that those of one worker do not wait too long for those of another.
        (paced((1, 1 * MS), each_size=1_000_000), 10_000, 2, 8),
        (paced((1, 1 * MS), each_size=1_000_000), 10_000, 8, 2),
        (paced((1, 1 * MS), each_size=100_000_000), 10_000, 2, 2),
        # Towards the end the rest is shared out, and the last ones go one by one.
        (paced((1, 100 * US)), 400, 2, 100),
        (paced((1, 100 * US)), 400, 10, 20),
        (paced((1, 100 * US)), 8, 2, 2),
        (paced((1, 100 * US)), 7, 2, 1),
        (paced((1, 100 * US)), 0, 2, 1),
        (paced(), 4, 2, 1),
        (paced(), 1000, 0, 2),
    ],
)
def test_the_depth_of_a_queue(pace: Pace, left_count: int, worker_count: int, depth: int) -> None:
    assert depth_for(pace, left_count, worker_count) == depth


@given(st.integers(0, 10**15), st.integers(0, 10**10), st.integers(0, 10**9), st.integers(0, 1000))
def test_a_depth_is_bounded_and_never_more_than_a_fair_share(
    each_ns: int, each_size: int, left_count: int, worker_count: int
) -> None:
    depth = depth_for(paced((1, each_ns), each_size=each_size), left_count, worker_count)
    assert 1 <= depth <= DEPTH_MAX
    assert depth == 1 or depth * worker_count <= left_count
    assert depth <= 2 or depth * each_ns <= QUEUE_NS
    assert depth <= 2 or depth * each_size * worker_count <= QUEUE_SIZE


@given(st.lists(st.integers(1, 10**10), min_size=2, max_size=10, unique=True).map(sorted))
def test_slower_mini_batches_never_make_deeper_queues(times_ns: list[int]) -> None:
    depths = [depth_for(paced((1, one)), 10**9, 2) for one in times_ns]
    assert all(first >= second for first, second in pairwise(depths))


class Desk:
    """A feeder over real rings without processes."""

    def __init__(
        self,
        mini_batch_count: int = 0,
        *,
        gaps: list[tuple[int, int]] | None = None,
        size: int = 10,
        workers: int = 2,
        attempts_max: int = 3,
    ) -> None:
        work = MiniBatches.of(gaps or [(0, mini_batch_count * size)], size)
        self.plan = Plan(work, Policy(attempts_max=attempts_max))
        self.gather = Gather()
        self.pieces = Pieces()
        self.feeder = Feeder(self.plan, self.gather, self.pieces)
        self.generation = workers
        self.slots = [
            Slot(number, Channel(generation=number + 1), Watch(1.0), asked_for=True, ready=True)
            for number in range(workers)
        ]

    def fill(self) -> list[list[tuple[int, int]]]:
        self.feeder.fill(self.slots)
        return [[flight[:2] for flight in slot.channel.flights()] for slot in self.slots]

    def ranges(self, number: int) -> list[tuple[int, int]]:
        """Items and their count, of all that this worker holds."""
        return [flight[2:] for flight in self.slots[number].channel.flights()]

    def renew(self, number: int) -> None:
        self.generation += 1
        self.slots[number].channel = Channel(generation=self.generation)

    def fail(self, number: int) -> Dispatch:
        """The first flight of this worker fails, and its rings are new."""
        flights = [
            Dispatch(*flight, is_part=self.plan.is_isolating(flight[0]))
            for flight in self.slots[number].channel.flights()
        ]
        self.renew(number)
        self.plan.failed(Failure(flights[0], "exception", "ValueError", "x"))
        self.feeder.failed_on(flights[0].mini_batch_index, number)
        for flight in flights[1:]:
            self.plan.returned(flight)
        return flights[0]


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
    assert desk.fail(0) == Dispatch(0, 1, 0, 10)
    desk.renew(1)
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


def test_mini_batches_of_several_gaps_are_asked_for_by_their_items() -> None:
    desk = Desk(gaps=[(0, 15), (15, 17), (40, 95)], workers=1)
    pace = Pace()
    pace.mean_ns = 1
    desk.feeder._paces[0] = 1, pace
    assert desk.fill() == [[(0, 1), (1, 1), (2, 1), (3, 1)]]  # half of the nine
    assert desk.ranges(0) == [(0, 10), (10, 5), (15, 2), (40, 10)]


def test_parts_are_asked_for_as_parts() -> None:
    desk = Desk(1, attempts_max=1, workers=1)
    desk.fill()
    assert desk.fail(0) == Dispatch(0, 1, 0, 10)
    assert desk.fill() == [[(0, 2)]]
    assert desk.ranges(0) == [(0, 5)]
    channel = desk.slots[0].channel
    port = Port(channel.fd, -1, channel.generation)
    assert port.take() == (0, 2, 0, 5)
    port.publish_result(0, 2, 5, b"", b"rows")
    (note,) = desk.gather.drain(channel)
    assert (note.kind, note.start, note.item_count, note.payload) == (_core.PART, 0, 5, b"rows")


def test_a_part_goes_to_another_worker_than_the_one_that_failed_the_part_before() -> None:
    desk = Desk(1, attempts_max=1)
    desk.fill()
    desk.fail(0)
    assert desk.fill() == [[], [(0, 2)]]
    desk.fail(1)
    assert desk.fill() == [[(0, 3)], [(0, 2)]]
    assert (desk.ranges(0), desk.ranges(1)) == ([(0, 2)], [(5, 5)])


def test_what_isolation_holds_counts_as_the_window_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feeder_module, "WINDOW_SIZE", 1000)
    desk = Desk(100)
    desk.pieces.keep(0, 1, Piece(0, 5, 5, b"", b"x" * 1000))
    assert desk.fill() == [[], []]
    assert desk.pieces.take(0) == (1, [Piece(0, 5, 5, b"", b"x" * 1000)])
    assert desk.pieces.held_bytes == 0
    assert desk.fill() == [[(0, 1), (1, 1)], [(2, 1), (3, 1)]]


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
    desk.renew(1)
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
        desk.plan.returned(Dispatch(0, 1, 0, 10))
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
        self.retired = False
        self.in_flight, self.run_ns, self.result_count, self.result_size, self.generation = 0, 0, 0, 0, 9
        self.set_low_water, self.run_range = self._channel.set_low_water, self._channel.run_range
        self.run = self._channel.run
