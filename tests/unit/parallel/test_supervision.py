"""Who is blamed, replaced, given up or sent away: the supervisor over real rings, with a pool that the test plays."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from unit.parallel.driven import Table
from unit.parallel.played import PlayedPool

from batchflow._core import Channel
from batchflow.clock import FakeClock
from batchflow.errors import EntryScriptError, ResourceError, RunAbortedError
from batchflow.parallel import recycling as room
from batchflow.parallel.recycling import LEAVE_S, Recycling, items_limit, resident_size
from batchflow.parallel.supervision import FORK_FAILURES_MAX, Supervisor
from batchflow.parallel.values import ParallelJob
from batchflow.pool.events import ForkFailed, InitTimedOut, LoadedLate, LoadFailed, ZygoteDied
from batchflow.pool.slot import PoolLimits, Slot
from batchflow.pool.watch import Watch
from batchflow.worker.spec import WorkerSpec
from batchflow.workflow.values import ParallelSettings


class Floor:
    """Two workers, a table of four mini-batches, and the supervisor over them."""

    def __init__(self, tmp_path: Path, **settings: Any) -> None:
        values = ParallelSettings(tmp_path / "score.py", tmp_path, ("files",), 3, **settings)
        job = ParallelJob("score", "r1", values, (), (), tmp_path, tmp_path, None, None, None, workers=2)
        self.table = Table(attempts_max=3)
        self.clock = FakeClock()
        self.pool: Any = PlayedPool(WorkerSpec("function", 2), PoolLimits(), None)
        self.pool.loaded = True
        self.notices: list[str] = []
        log: Any = SimpleNamespace(path=tmp_path / "logs" / "worker-0.log", tail=lambda: "its last words")
        self.supervisor = Supervisor(
            job,
            self.pool,
            self.table.gather,
            self.table.outcomes,
            self.table.feeder,
            needed=2,
            logs=[log, log],
            notice=self.notices.append,
            clock=self.clock,
        )
        for number in range(2):
            self.pool.start_worker(number)

    def ready(self, *numbers: int) -> None:
        for number in numbers or (0, 1):
            self.pool.ports[number].publish_ready()
        self.supervisor.read()

    def begin(self, number: int = 0) -> None:
        """Give a worker what is to be done next, and let it begin."""
        channel = self.pool.slots[number].channel
        again = self.table.plan.take_ready()
        if again is None:
            first, _ = self.table.plan.take_fresh(1)
            start, stop = self.table.plan.mini_batches.range(first)
            assert channel.run(first, 1, start, stop - start)
        else:
            assert channel.run(again.mini_batch_index, again.attempt, again.start, again.count, again.is_part)
        assert self.pool.ports[number].take() is not None

    def dies(self, number: int = 0, **facts: Any) -> None:
        self.pool.die(number, **facts)
        self.supervisor.take(self.pool.wait(0))


@pytest.fixture
def floor(tmp_path: Path) -> Floor:
    return Floor(tmp_path)


# Deaths


def test_a_worker_that_wrote_over_its_rings_is_killed_and_not_listened_to_any_more(floor: Floor) -> None:
    floor.ready()
    floor.begin()
    floor.supervisor.condemn(floor.pool.slots[0])
    assert (floor.pool.killed, floor.pool.slots[0].ready) == ([0], False)
    floor.pool.ports[0].publish_result(0, 1, 3, b"", b"lies\n")
    floor.supervisor.read()
    assert floor.table.gather.counts.done == 0
    floor.dies()
    assert floor.table.plan.ready_count == 1
    assert floor.supervisor.worker_deaths == 1


def test_rings_that_make_no_sense_condemn_their_worker(floor: Floor, monkeypatch: pytest.MonkeyPatch) -> None:
    floor.ready()
    monkeypatch.setattr("batchflow.parallel.supervision.read", lambda *arguments: {"damaged"})
    floor.supervisor.read()
    assert floor.pool.killed == [0, 1]
    floor.supervisor.read()
    assert floor.pool.killed == [0, 1]


def test_who_never_got_ready_by_itself_or_left_with_nothing_is_no_death(floor: Floor) -> None:
    floor.dies(0, init_failed=True)
    floor.ready(1)
    floor.dies(1, retired=True)
    assert (floor.supervisor.worker_deaths, floor.notices) == (0, [])


def test_deaths_with_the_zygote_are_counted_and_not_told(floor: Floor) -> None:
    floor.ready()
    floor.begin()
    floor.dies(with_zygote=True)
    assert (floor.supervisor.worker_deaths, floor.notices, floor.table.plan.ready_count) == (1, [], 1)


def test_three_deaths_are_told_and_then_they_are_counted(floor: Floor) -> None:
    for _ in range(4):
        floor.ready(0)
        floor.dies(0)
        floor.supervisor.replace()
    assert len(floor.notices) == 3
    assert floor.notices[0].endswith(", another takes its place")
    assert floor.notices[2].endswith("; further deaths are not shown")


def test_too_many_deaths_in_a_row_end_the_step(floor: Floor) -> None:
    with pytest.raises(RunAbortedError, match="7 workers died one after another while idle, the last one of signal 9"):
        for _ in range(10):
            floor.ready(0)
            floor.dies(0)
            floor.supervisor.replace()
    assert floor.supervisor.worker_deaths == 7


def test_where_memory_runs_out_there_is_one_worker_less(floor: Floor) -> None:
    floor.ready()
    floor.begin(0)
    floor.dies(0, out_of_memory=True)
    assert (floor.supervisor.oom_deaths, floor.notices[0].partition("; ")[2]) == (1, "going on with 1 worker")
    floor.supervisor.replace()
    assert not floor.pool.slots[0].asked_for
    # The last one stays: without it nothing would ever be done.
    floor.begin(1)
    floor.dies(1, out_of_memory=True)
    floor.supervisor.replace()
    assert (floor.supervisor.oom_deaths, floor.pool.slots[1].asked_for) == (2, True)


def test_one_mini_batch_that_needs_too_much_costs_one_worker_only(tmp_path: Path) -> None:
    floor = Floor(tmp_path)
    floor.supervisor._needed = 2
    floor.ready()
    floor.begin(0)
    floor.dies(0, out_of_memory=True)
    floor.supervisor._given_up.clear()  # as if there had been a third one
    floor.supervisor.replace()
    floor.ready(0)
    floor.begin(1)  # the same mini-batch again
    floor.dies(1, out_of_memory=True)
    assert (floor.supervisor.oom_deaths, floor.supervisor._given_up) == (2, set())


def test_memory_that_ran_out_while_nothing_was_held_costs_a_worker_too(floor: Floor) -> None:
    floor.ready()
    floor.dies(0, out_of_memory=True)
    assert floor.supervisor._given_up == {0}


def test_a_worker_that_the_kernel_holds_has_no_successor(floor: Floor) -> None:
    floor.ready()
    floor.dies(0, stuck=True)
    floor.supervisor.replace()
    assert floor.pool.started == [0, 1]
    floor.dies(1, stuck=True)
    with pytest.raises(ResourceError, match="no worker is left: the kernel holds them all") as caught:
        floor.supervisor.replace()
    assert caught.value.hint == "look at the file systems in use"


# Starting


def test_workers_that_never_get_ready_are_given_up_and_at_last_the_step(floor: Floor) -> None:
    floor.ready(1)
    for _ in range(3):
        floor.dies(0)
        floor.supervisor.replace()
    assert floor.notices[-1].startswith("worker 0 never gets ready and is given up: ")
    assert floor.pool.started == [0, 1, 0, 0]
    floor.pool.slots[1].ready = False
    for left in (2, 1, 0):
        floor.dies(1)
        if left:
            floor.supervisor.replace()
    with pytest.raises(EntryScriptError) as caught:
        floor.supervisor.replace()
    assert caught.value.hint == (
        f"fix init(), then run the same command again; worker output: {floor.supervisor._logs[0].path.parent}"
    )


def test_where_nobody_ever_got_ready_three_failures_are_enough(floor: Floor) -> None:
    floor.dies(0)
    floor.dies(1, timed_out=True)
    floor.supervisor.take([InitTimedOut(0)])
    floor.supervisor.replace()
    floor.dies(0)
    assert floor.table.outcomes.init.no_success
    floor.dies(1)
    with pytest.raises(EntryScriptError):
        floor.supervisor.replace()


def test_a_slot_whose_last_start_failed_is_left_alone_for_a_while(floor: Floor) -> None:
    floor.pool.not_due = {0}
    floor.ready(0)
    floor.dies(0)
    floor.supervisor.replace()
    assert floor.pool.started == [0, 1]


def test_refused_forks_are_told_once_and_end_the_step_if_nobody_is_left(floor: Floor) -> None:
    floor.pool.news = [ForkFailed(0, "no more processes", FORK_FAILURES_MAX + 5)]
    floor.supervisor.take(floor.pool.wait(0))
    assert floor.notices == ["worker 0 cannot be started: no more processes; going on with fewer, and trying again"]
    floor.pool.news = [ForkFailed(1, "no more processes", FORK_FAILURES_MAX)]
    floor.supervisor.take(floor.pool.wait(0))
    floor.pool.news = [ForkFailed(1, "no more processes", FORK_FAILURES_MAX + 1)]
    with pytest.raises(ResourceError, match=r"^no worker can be started: no more processes$"):
        floor.supervisor.take(floor.pool.wait(0))
    assert len(floor.notices) == 1


def test_code_that_cannot_be_loaded_ends_the_step_and_code_with_threads_is_told(floor: Floor, tmp_path: Path) -> None:
    floor.supervisor.take([LoadedLate(3, "numpy")])
    assert "numpy" in floor.notices[0]
    with pytest.raises(EntryScriptError, match=f"{tmp_path}/score.py") as caught:
        floor.supervisor.take([LoadFailed({"error_type": "ImportError", "message": "no", "traceback": ""})])
    assert caught.value.hint == "fix the entry script, then run the same command again"


@pytest.mark.parametrize("loaded", [False, True])
def test_a_zygote_that_dies_is_replaced_twice(floor: Floor, loaded: bool) -> None:
    floor.pool.loaded = loaded
    floor.supervisor.take([ZygoteDied(-9, True)])
    floor.supervisor.take([ZygoteDied(-11, False)])
    assert floor.notices == [
        "the process that workers are forked from died of a lack of memory; starting another",
        "the process that workers are forked from died; starting another",
    ]
    assert floor.pool.zygotes == 2
    floor.supervisor.committed()
    for _ in range(2):
        floor.supervisor.take([ZygoteDied(1, False)])
    with pytest.raises(RunAbortedError, match="its last words") as caught:
        floor.supervisor.take([ZygoteDied(1, False)])
    assert ("score.py" in caught.value.message) == (not loaded)


# Age and memory


class Crew:
    """Slots with real rings, and what the recycling does to them."""

    def __init__(self, tmp_path: Path, count: int = 2, **settings: Any) -> None:
        self.slots = [Slot(number, Channel(generation=number + 1), Watch(1.0)) for number in range(count)]
        self.killed: list[int] = []
        self.given = dict.fromkeys(range(count), 0)
        self.clock = FakeClock()
        pool: Any = SimpleNamespace(slots=self.slots, kill_worker=self.killed.append)
        values = ParallelSettings(tmp_path / "score.py", tmp_path, ("files",), **settings)
        self.recycling = Recycling(values, pool, lambda slot: self.given[slot.number], self.clock)
        for slot in self.slots:
            slot.asked_for = slot.ready = True
            slot.pid = os.getpid()

    def look(self, seconds: float = 0.0) -> None:
        self.clock.advance(seconds)
        self.recycling.look()


def test_without_limits_nobody_is_sent_away(tmp_path: Path) -> None:
    crew = Crew(tmp_path)
    crew.look(100)
    crew.recycling.check_start(crew.slots[0])
    assert crew.recycling.items_left(crew.slots[0]) is None
    assert not any(slot.retired for slot in crew.slots)


def test_the_first_workers_leave_at_different_times(tmp_path: Path) -> None:
    assert [items_limit(100, number, 4, is_first=True) for number in range(4)] == [100, 88, 75, 63]
    assert items_limit(100, 3, 4, is_first=False) == 100
    assert items_limit(1, 3, 4, is_first=True) == 1
    crew = Crew(tmp_path, max_items_per_worker=10)
    assert [crew.recycling.items_left(slot) for slot in crew.slots] == [10, 8]
    crew.given[1] = 8
    crew.look()
    assert [slot.retired for slot in crew.slots] == [False, True]
    crew.slots[1].channel = Channel(generation=9)  # its successor
    crew.slots[1].retired = False
    crew.given[1] = 3
    assert crew.recycling.items_left(crew.slots[1]) == 7
    crew.given[1] = 30
    assert crew.recycling.items_left(crew.slots[1]) == 0


def test_who_has_done_enough_leaves_when_it_holds_nothing_and_not_for_ever(tmp_path: Path) -> None:
    crew = Crew(tmp_path, max_items_per_worker=10)
    slot = crew.slots[0]
    slot.channel.run(0, 1, 0, 10)
    crew.given[0] = 10
    crew.look()
    assert slot.retired
    crew.look(100)
    assert crew.killed == []
    slot.channel = Channel(generation=1)  # the same worker, with nothing in hand
    crew.look()
    for _ in range(int(LEAVE_S)):
        crew.look(1)
        assert crew.killed == []
    crew.look(1.5)
    crew.look(1.5)
    assert crew.killed[0] == 0
    crew.slots[1].retired = True
    crew.slots[0].asked_for = False
    crew.look()
    assert set(crew.recycling._watches) == {1, 2}


def test_who_holds_too_much_memory_leaves_and_who_holds_far_too_much_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = {0: 90, 1: 90}
    crew = Crew(tmp_path, worker_memory=100)
    for slot in crew.slots:
        slot.pid = slot.number
    monkeypatch.setattr(room, "resident_size", held.__getitem__)
    crew.look(1)
    assert not any(slot.retired for slot in crew.slots)
    held |= {0: 101, 1: 151}
    crew.look(0.05)  # not at every turn
    assert not any(slot.retired for slot in crew.slots)
    crew.slots[1].channel.run(0, 1, 0, 1)
    crew.look(0.1)
    assert [slot.retired for slot in crew.slots] == [True, True]
    assert (crew.killed, crew.slots[0].memory_held, crew.slots[1].memory_held) == ([1], 0, 151)


def test_one_that_holds_too_much_from_the_beginning_ends_the_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    crew = Crew(tmp_path, worker_memory=100 << 20)
    monkeypatch.setattr(room, "resident_size", lambda pid: 200 << 20)
    with pytest.raises(
        EntryScriptError, match="worker 0 holds 200 MiB before its first mini-batch, more than"
    ) as caught:
        crew.recycling.check_start(crew.slots[0])
    assert caught.value.hint == "raise worker_memory, or load less in init() and at the import"
    monkeypatch.setattr(room, "resident_size", lambda pid: 100 << 20)
    crew.recycling.check_start(crew.slots[0])


def test_how_much_a_process_holds_is_asked_of_the_kernel() -> None:
    assert resident_size(os.getpid()) > 1 << 20
    assert resident_size(2**22 + 1) == 0
