"""The clock of a step, and a whole step under it whose workers the test plays."""

from __future__ import annotations

import mmap
import os
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from unit.parallel.test_run import ALL, DrivenPool, Theatre, all_work, answer

from batchflow._core import Channel, Port
from batchflow.clock import FakeClock
from batchflow.control import StopLevel
from batchflow.errors import InterruptedRunError
from batchflow.model import StepProfiled, WorkerExit
from batchflow.parallel.profiling import StepClock
from batchflow.pool.events import ForkFailed, WorkerDied
from batchflow.pool.slot import Slot
from batchflow.pool.watch import Watch
from batchflow.profiles import StepProfile

LAP_SINCE = 1024


@pytest.fixture
def theatre(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Theatre:
    return Theatre(tmp_path, monkeypatch)


def told(theatre: Theatre) -> StepProfile:
    """The only profile that the step told."""
    (event,) = [one for one in theatre.events if isinstance(one, StepProfiled)]
    assert event.step == "score"
    return StepProfile.from_dict(event.profile)


# The whole step


def test_nobody_is_told_who_did_not_ask(theatre: Theatre) -> None:
    receipt = theatre.perform(all_work)
    assert not any(isinstance(one, StepProfiled) for one in theatre.events)
    assert "profile" not in receipt.details
    assert list(receipt.details["timings"]) == ["list", "start", "dispatch", "finish"]


def test_the_phases_are_the_elapsed_time_and_dispatch_is_what_the_driver_did(theatre: Theatre) -> None:
    def play(pool: DrivenPool) -> None:
        """A second until the workers are ready, two for each answer, four until they have ended."""
        is_ready = all(slot.ready for slot in pool.slots)
        theatre.clock.advance(4 if pool.stopped else 2 if is_ready else 1)
        all_work(pool)

    receipt = theatre.perform(play, profile=True)
    profile = told(theatre)
    assert receipt.details["profile"] == profile.as_dict()
    assert profile.elapsed_s == receipt.elapsed_s == sum(receipt.details["timings"].values())
    assert (profile.phases_s["start"], profile.phases_s["shutdown"]) == (1.0, 4.0)
    assert profile.dispatch_s["wait"] == profile.phases_s["dispatch"] >= 2.0
    assert sum(profile.dispatch_s.values()) == profile.phases_s["dispatch"]
    assert (profile.workers, profile.mini_batches, profile.items, profile.mini_batch_size) == (2, 3, 6, 2)
    assert sum(profile.workers_s.values()) == 2 * profile.phases_s["dispatch"]
    assert theatre.rows == ALL


def test_what_commits_take_is_theirs(theatre: Theatre) -> None:
    real = os.fdatasync

    def slow(descriptor: int) -> None:
        theatre.clock.advance(3)
        real(descriptor)

    theatre.patch.setattr(os, "fdatasync", slow)
    profile = theatre.perform(all_work, profile=True).details["profile"]
    assert profile["dispatch_s"]["commit"] >= 3.0
    assert profile["dispatch_s"]["wait"] == 0.0


def test_a_step_that_is_stopped_says_how_far_it_came(theatre: Theatre) -> None:
    def play(pool: DrivenPool) -> None:
        theatre.clock.advance(1)
        all_work(pool)
        theatre.stop.request(StopLevel.NOW)

    with pytest.raises(InterruptedRunError):
        theatre.perform(play, profile=True)
    profile = told(theatre)
    assert (profile.phases_s["start"], profile.phases_s["shutdown"]) == (1.0, 0.0)
    assert profile.elapsed_s == 1.0


def test_a_step_that_cannot_list_has_a_profile_without_workers(theatre: Theatre) -> None:
    def fails(patterns: object) -> None:
        theatre.clock.advance(5)
        raise OSError(5, "Input/output error")

    theatre.patch.setattr("batchflow.parallel.opening.list_files", fails)
    with pytest.raises(OSError, match="Input/output"):
        theatre.perform(all_work, profile=True)
    profile = told(theatre)
    assert (profile.phases_s["list"], profile.elapsed_s, profile.workers) == (5.0, 5.0, 0)
    assert profile.bottleneck.kind == "listing"


def test_who_cannot_bear_to_hear_it_does_not_keep_the_pool_from_being_closed(theatre: Theatre) -> None:
    class Deaf(list[Any]):
        def append(self, event: Any) -> None:
            if isinstance(event, StepProfiled):
                raise RuntimeError("enough")

    theatre.events = Deaf()
    with pytest.raises(RuntimeError, match="enough"):
        theatre.perform(all_work, profile=True)
    assert theatre.pools[0].closed == 1


def test_where_all_was_done_the_profile_is_short(theatre: Theatre) -> None:
    theatre.perform(all_work)
    theatre.perform(all_work, resumes=True, profile=True)
    assert told(theatre).phases_s["dispatch"] == 0.0


# The clock


class Desk:
    """A clock of a step in dispatch, hours after it began, and workers that the test plays."""

    def __init__(self, job: Any) -> None:
        self.clock = FakeClock()
        self.times = StepClock(job, self.clock)
        self.clock.advance(10_000)
        self.times.begin("dispatch")
        self.slots: list[Slot] = []

    def worker(self, laps: dict[str, int], *, now: str = "wait", open_ns: int = 0) -> Channel:
        """One that has spent so many nanoseconds."""
        generation = len(self.slots) + 1
        channel = Channel(generation=generation)
        port = Port(channel.fd, -1, generation)
        port.begin_lap(now)  # type: ignore[arg-type]
        names = ("init", "wait", "decode", "run", "encode", "publish", "blocked")
        with mmap.mmap(channel.fd, 4096) as memory:
            since = struct.unpack_from("=Q", memory, LAP_SINCE)[0] - open_ns
            struct.pack_into("=8Q", memory, LAP_SINCE, since, *(laps.get(name, 0) for name in names))
        self.slots.append(Slot(generation - 1, channel, Watch(1.0), asked_for=True))
        return channel

    def die(self, number: int) -> None:
        channel = self.slots[number].channel
        exit = WorkerExit(number, channel.generation, 1, 9, None)
        facts: dict[str, Any] = {"timed_out": False, "was_ready": True, "init_failed": False, "with_zygote": False}
        death = WorkerDied(number, channel, exit, peak_rss=0, output_tail="", stack="", **facts)
        self.times.hearing(lambda: [death])()
        self.slots[number].asked_for = False

    def profile(self) -> StepProfile:
        self.times.end_dispatch(self.slots)
        profile = self.times.profile()
        assert profile is not None
        return profile


@pytest.fixture
def desk(theatre: Theatre) -> Desk:
    return Desk(replace(theatre.job, profile=True))


def test_a_dead_worker_counts_once(desk: Desk) -> None:
    desk.worker({"init": 2_000_000_000, "run": 3_000_000_000})
    desk.worker({"init": 1_000_000_000, "run": 5_000_000_000})
    desk.die(0)
    profile = desk.profile()
    assert profile.workers_s["run"] == 8.0
    assert profile.init_s == 2.0


def test_news_that_are_no_deaths_are_handed_on(desk: Desk) -> None:
    refusal = ForkFailed(0, "no more processes", 1)
    assert desk.times.hearing(lambda: [refusal])() == [refusal]


def test_a_damaged_page_is_as_if_it_had_said_nothing(desk: Desk) -> None:
    desk.worker({"run": 3_000_000_000})
    desk.worker({"run": 2**64 - 1, "decode": 2**63})
    profile = desk.profile()
    assert profile.workers_s["run"] == 3.0
    assert all(seconds >= 0 for seconds in profile.workers_s.values())


def test_who_had_nothing_to_do_while_another_worked_on(desk: Desk) -> None:
    desk.worker({"run": 60_000_000_000})
    desk.worker({"run": 10_000_000_000}, open_ns=50_000_000_000)
    profile = desk.profile()
    assert 49.9 < profile.straggling_s <= profile.workers_s["wait"] < 50.2


def test_what_happens_before_and_after_dispatch_is_not_of_it(desk: Desk) -> None:
    drain = desk.times.timed("drain", desk.clock.advance)
    drain(2)
    desk.times.end_dispatch([])
    drain(4)
    desk.times.end_dispatch([])
    profile = desk.profile()
    assert (profile.dispatch_s["drain"], profile.phases_s["shutdown"]) == (2.0, 4.0)


def test_without_the_option_functions_stay_what_they_are(theatre: Theatre) -> None:
    times = StepClock(theatre.job, FakeClock())
    pool = DrivenPool.wait
    assert times.timed("drain", answer) is answer
    assert times.hearing(pool) is pool  # type: ignore[arg-type]
    assert times.profile() is None
