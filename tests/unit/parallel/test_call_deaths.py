"""Workers that die: which call is to blame, and when the pool gives up."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from unit.parallel.played import Outcome, Table

from batchflow.errors import EntryScriptError, WorkerDiedError
from batchflow.pool.events import ZygoteDied
from batchflow.worker.calls import pickled_failure


def test_a_worker_that_dies_is_blamed_for_the_call_it_was_running_and_for_no_other():
    table = Table(attempts=2)
    table.submit(*range(9))
    table.get_ready()
    table.answer(0, table.take())
    table.pump()
    assert table.held() == [1, 2, 3, 4]
    assert table.take() == 1
    table.pool.die(0)
    assert table.pump() == []
    table.get_ready()
    assert table.held() == [1]  # first again, and the others behind it
    assert table.take() == 1
    table.pool.die(0, signal=11)
    ((index, value, error),) = table.pump()
    assert (index, value) == (1, None)
    assert isinstance(error, WorkerDiedError)
    assert str(error) == "worker 0 died: signal 11 (SIGSEGV), pid=4711, attempt=2"
    for expected in (2, 3, 4, 5, 6, 7, 8):
        table.get_ready()
        assert table.take() == expected
        table.answer(0, expected)
        assert table.pump() == [Outcome(expected, b"value %d" % expected, None)]


def test_what_a_dead_worker_has_published_counts():
    table = Table(attempts=1)
    table.submit(0, 1)
    table.get_ready()
    table.answer(0, table.take())
    table.pool.die(0)
    assert table.pump() == [Outcome(0, b"value 0", None)]
    table.get_ready()
    assert table.held() == [1]


def test_a_worker_that_dies_before_it_begins_a_call_costs_no_attempt():
    table = Table(attempts=1)
    table.submit(0)
    for _ in range(4):
        table.get_ready()
        assert table.held() == [0]
        table.pool.die(0)
        assert table.pump() == []


def test_workers_that_keep_dying_while_idle_end_the_pool():
    table = Table(attempts=1)
    table.submit(0)
    for _ in range(5):
        table.get_ready()
        table.pool.die(0)
        table.pump()
    table.get_ready()
    table.pool.die(0, signal=15)
    with pytest.raises(WorkerDiedError, match=r"^6 workers died one after another while idle, the last of signal 15"):
        table.pump()


def test_a_result_in_between_forgives_idle_deaths():
    table = Table()
    for index in range(20):
        table.submit(2 * index, 2 * index + 1)
        table.get_ready()
        table.answer(0, table.take())
        table.pump()
        table.pool.die(0)
        table.pump()
        table.get_ready()
        table.answer(0, table.take())
        assert len(table.pump()) == 1


def test_a_worker_that_dies_with_its_zygote_costs_no_attempt():
    table = Table(attempts=1)
    table.submit(0)
    table.get_ready()
    assert table.take() == 0
    table.pool.die(0, with_zygote=True)
    table.pool.news.append(ZygoteDied(-9))
    assert table.pump() == []
    assert table.pool.zygotes == 2
    table.get_ready()
    assert table.take() == 0
    table.answer(0, 0)
    assert table.pump() == [Outcome(0, b"value 0", None)]


def test_a_zygote_that_keeps_dying_ends_the_pool():
    table = Table()
    table.pool.news += [ZygoteDied(-9), ZygoteDied(-9), ZygoteDied(-11)]
    with pytest.raises(WorkerDiedError, match=r"forked from keeps dying, status=-11$"):
        table.pump()


def test_a_call_that_takes_too_long_says_so():
    table = Table(attempts=1, timeout_s=1.5)
    table.submit(0)
    table.get_ready()
    table.take()
    table.pool.die(0, timed_out=True)
    ((_, _, error),) = table.pump()
    assert str(error) == "the call took longer than timeout_s=1.5, attempt=1"


def test_a_worker_that_damages_its_rings_is_killed_and_blamed_once():
    table = Table(attempts=1)
    table.submit(0, 1)
    table.get_ready()
    table.take()
    table.answer(0, 5)  # nobody asked for it
    assert table.pump() == []
    assert table.pool.killed == [0]
    table.answer(0, 0)  # nothing of it is believed any more
    assert table.pump() == []
    assert table.pool.killed == [0]
    table.pool.die(0)
    ((index, _, error),) = table.pump()
    assert index == 0
    assert str(error) == "worker 0 wrote over memory that is not its own and was killed, pid=4711, attempt=1"
    table.get_ready()
    assert table.held() == [1]


def init_failure(message: str) -> bytes:
    return json.dumps({"error_type": "ValueError", "message": message, "traceback": ""}).encode()


def test_when_no_worker_gets_ready_the_last_cause_is_told():
    table = Table()
    table.submit(0)
    for number in (1, 2, 3):
        table.pump()
        table.pool.ports[0].publish_init_failed(init_failure(f"no model {number}"))
        if number < 3:
            table.pump()
            assert table.pool.slots[0].init_failed
            table.pool.die(0)
        else:
            table.pool.die(0)  # the report comes with the death
            with pytest.raises(
                EntryScriptError, match=r"^3 workers in a row did not get ready\nValueError: no model 3$"
            ):
                table.pump()


def test_workers_that_die_before_they_are_ready_count_as_failures():
    table = Table(workers=3)
    table.submit(0, 1, 2)
    table.pump()
    for number in (0, 1, 2):
        table.pool.die(number)
    with pytest.raises(EntryScriptError, match=r"did not get ready\nworker 2 died before it was ready: signal 9"):
        table.pump()


def test_the_others_may_still_get_ready_when_three_have_failed():
    table = Table(workers=4)
    table.submit(0, 1, 2, 3)
    table.pump()
    for number in (0, 1, 2):
        table.pool.die(number)
    table.pump()
    table.pool.ports[3].publish_ready()
    table.pump()
    assert table.held(3) == [0]
    assert table.pool.started == [0, 1, 2, 3, 0, 1, 2]


class Model:
    """Plays workers at random against a ``Caller`` and keeps the truth."""

    def __init__(self, draw: Any, workers: int, attempts: int) -> None:
        self.draw = draw
        self.table = Table(workers, attempts=attempts)
        self.attempts = attempts
        self.running: dict[int, int] = {}  # worker → call
        self.tries: dict[int, int] = {}
        self.finished: dict[int, bytes | None] = {}
        self.submitted = 0

    def book(self) -> None:
        for index, value, error in self.table.pump():
            assert index not in self.finished
            assert value == (None if error else b"value %d" % index)
            if error is not None:
                assert self.tries[index] == self.attempts
            self.finished[index] = value

    def act(self) -> None:
        table, pool = self.table, self.table.pool
        living = [slot for slot in pool.slots if slot.asked_for]
        action = self.draw(st.sampled_from(("submit", "ready", "take", "answer", "die", "pump")))
        if action == "submit":
            table.submit(*range(self.submitted, self.submitted + 3))
            self.submitted += 3
        elif action == "pump":
            self.book()
        elif living:
            number = self.draw(st.sampled_from(living)).number
            self.let(action, number)

    def let(self, action: str, number: int) -> None:
        table, slot = self.table, self.table.pool.slots[number]
        if action == "ready" and not slot.ready:
            table.pool.ports[number].publish_ready()
            self.book()
        elif action == "take" and number not in self.running and table.held(number) and slot.ready:
            index = self.running[number] = table.take(number)
            self.tries[index] = self.tries.get(index, 0) + 1
        elif action == "answer" and number in self.running:
            index = self.running.pop(number)
            table.answer(number, index, self.tries[index])
            self.book()
        elif action == "die" and number in self.running:
            self.running.pop(number)
            table.pool.die(number)
            self.book()

    def finish(self) -> None:
        """Everybody does what they should: then every call ends, once."""
        for _ in range(20 * self.submitted + 20):
            for slot in list(self.table.pool.slots):
                if slot.asked_for:
                    for action in ("ready", "take", "answer"):
                        self.let(action, slot.number)
            self.book()
        assert sorted(self.finished) == list(range(self.submitted))
        assert (self.table.caller.outstanding, self.table.caller.outstanding_size) == (0, 0)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data(), st.integers(1, 3), st.integers(1, 3))
def test_whatever_workers_do_every_call_ends_exactly_once(data, workers, attempts):
    model = Model(data.draw, workers, attempts)
    for _ in range(data.draw(st.integers(0, 40))):
        model.act()
    model.finish()
    assert all(
        value == b"value %d" % index or model.tries[index] == attempts for index, value in model.finished.items()
    )


@pytest.mark.fault("A9")
def test_where_memory_runs_out_there_is_one_worker_less_but_never_none():
    table = Table(workers=3, attempts=9)
    table.submit(*range(30))
    table.get_ready()
    assert table.pool.started == [0, 1, 2]
    for number in (1, 0):
        table.take(number)
        table.pool.die(number, out_of_memory=True, peak_rss=300 << 20)
        table.pump()
    assert (table.pool.started, table.pool.alive_count) == ([0, 1, 2], 1)
    table.take(2)
    table.pool.die(2, out_of_memory=True)
    table.pump()
    assert table.pool.started == [0, 1, 2, 2]


@pytest.mark.fault("A9")
def test_a_call_that_has_no_memory_says_so_at_last():
    table = Table(attempts=1)
    table.submit(0)
    table.get_ready()
    table.take()
    table.pool.die(0, out_of_memory=True, peak_rss=300 << 20)
    ((_, _, error),) = table.pump()
    assert isinstance(error, WorkerDiedError)
    assert str(error) == (
        "worker 0 was killed by the kernel because memory ran out, peak memory 300 MiB, pid=4711, attempt=1"
    )


@pytest.mark.fault("B5")
def test_a_worker_that_cannot_be_killed_is_left_behind():
    table = Table(workers=2, attempts=2)
    table.submit(*range(10))
    table.get_ready()
    for number in (0, 1):
        table.take(number)
        table.pool.die(number, stuck=True, timed_out=True)
        if number == 0:
            table.pump()
    with pytest.raises(WorkerDiedError, match=r"^no worker is left: the kernel holds them all$"):
        table.pump()
    assert table.pool.started == [0, 1]


@pytest.mark.fault("A10")
def test_a_worker_whose_call_had_no_memory_makes_room_for_a_fresh_one():
    table = Table()
    table.submit(0, 1)
    table.get_ready()
    assert table.take() == 0
    table.pool.ports[0].publish_failure(0, 1, pickled_failure(MemoryError("too much")))
    assert table.pool.slots[0].retired is False
    ((index, _, error),) = table.pump()
    assert (index, type(error)) == (0, MemoryError)
    # It may hold another call already; it is sent away when it has answered that, and blamed for nothing.
    for index in table.held():
        assert table.take() == index
        table.answer(0, index)
        table.pump()
    assert table.pool.ports[0].take_call() is None
    for _ in range(3):
        table.submit(10 + _)
        table.pump()
    assert table.pool.started == [0]
    table.pool.die(0, signal=None, exit_code=0, retired=True)
    table.get_ready()
    assert table.pool.started == [0, 0]
    assert table.held() == [1]
