"""The books of ``Caller``: what is sent, to whom, who is to blame; real rings, workers played by the test."""

from __future__ import annotations

import json
import os
import pickle
import threading
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from batchflow._core import Channel, Port
from batchflow.clock import FakeClock
from batchflow.errors import EntryScriptError, ResourceError, UsageError, WorkerDiedError
from batchflow.model import WorkerExit
from batchflow.parallel.call_setup import call_spec
from batchflow.parallel.calls import Caller, Outcome, RemoteTraceback, exception_of
from batchflow.pool.events import ForkFailed, LoadFailed, PoolEvent, WorkerDied, ZygoteDied
from batchflow.pool.pool import PoolLimits, Slot
from batchflow.pool.watch import Watch
from batchflow.worker.calls import pickled_failure
from batchflow.worker.spec import WorkerSpec


class PlayedPool:
    """What ``Caller`` sees of a ``WorkerPool``; the test plays the workers, through ``port(number)``."""

    def __init__(self, spec: WorkerSpec, limits: PoolLimits, pickled: bytes | None) -> None:
        self.spec = spec
        self.event_fd = os.eventfd(0, os.EFD_NONBLOCK)
        self.generation = 0
        self.ports: dict[int, Port] = {}
        self.slots = [Slot(number, self.channel(), Watch(1.0)) for number in range(spec.worker_count)]
        self.news: list[PoolEvent] = []
        self.started: list[int] = []
        self.killed: list[int] = []
        self.closed = self.stopped = self.zygotes = 0

    def channel(self) -> Channel:
        self.generation += 1
        return Channel(request_size=4096, completion_size=4096, generation=self.generation, max_result_size=1 << 20)

    def start(self) -> None:
        self.zygotes += 1

    restart_zygote = start

    def start_worker(self, number: int) -> None:
        slot = self.slots[number]
        assert not slot.asked_for
        if slot.channel.fd < 0:
            slot = self.slots[number] = Slot(number, self.channel(), Watch(1.0))
        slot.asked_for = True
        self.ports[number] = Port(slot.channel.fd, self.event_fd, slot.channel.generation)
        slot.channel.close_fd()
        self.started.append(number)

    @property
    def alive_count(self) -> int:
        return sum(slot.asked_for for slot in self.slots)

    def wait(self, timeout_s: float) -> list[PoolEvent]:
        news, self.news = self.news, []
        for event in news:
            if isinstance(event, (WorkerDied, ForkFailed)):
                self.slots[event.worker].asked_for = False
        return news

    def kill_worker(self, number: int) -> None:
        self.killed.append(number)

    def stop_workers(self) -> None:
        self.stopped += 1

    def close(self) -> None:
        self.closed += 1

    # The test's side

    def die(self, number: int, signal: int = 9, **facts: Any) -> None:
        """The worker is gone; its channel still holds what it published."""
        slot = self.slots[number]
        facts = {"timed_out": False, "init_failed": slot.init_failed, "with_zygote": False, **facts}
        self.news.append(
            WorkerDied(
                worker=number,
                channel=slot.channel,
                exit=WorkerExit(number, slot.channel.generation, 4711, signal, None),
                was_ready=slot.ready,
                peak_rss=0,
                output_tail="",
                stack="",
                **facts,
            )
        )


class Table:
    """A ``Caller``, the pool played for it, and its clock."""

    def __init__(self, workers: int = 1, **options: Any) -> None:
        self.clock = FakeClock()
        pools: list[PlayedPool] = []

        def make(*arguments: Any) -> Any:
            pools.append(PlayedPool(*arguments))
            return pools[0]

        self.caller = Caller(workers=workers, make_pool=make, clock=self.clock, **options)
        (self.pool,) = pools
        self.caller.start()

    def submit(self, *indices: int) -> None:
        for index in indices:
            self.caller.submit(index, b"call %d" % index)

    def pump(self) -> list[Outcome]:
        return self.caller.pump(0)

    def get_ready(self) -> None:
        """Start what is needed, and let every worker say that it is ready."""
        self.pump()
        for number in list(self.pool.started):
            if not self.pool.slots[number].ready:
                self.pool.ports[number].publish_ready()
        self.pump()

    def take(self, number: int = 0) -> int:
        """The worker begins its next call; which one that is."""
        request = self.pool.ports[number].take_call()
        assert request is not None
        index, _, payload = request
        assert payload == b"call %d" % index
        return index

    def answer(self, number: int, index: int, attempt: int = 1) -> None:
        self.pool.ports[number].publish_result(index, attempt, 1, b"", b"value %d" % index)

    def held(self, number: int = 0) -> list[int]:
        return [index for index, _ in self.pool.slots[number].channel.flights()]


def test_workers_are_started_with_the_calls_and_never_more_than_there_are_calls():
    table = Table(workers=4)
    table.pump()
    assert table.pool.started == []
    table.submit(0, 1, 2)
    table.pump()
    table.pump()
    assert table.pool.started == [0, 1, 2]


def test_a_call_goes_out_and_its_value_comes_back():
    table = Table()
    table.submit(7)
    table.get_ready()
    assert (table.caller.outstanding, table.caller.outstanding_size) == (1, len(b"call 7"))
    assert table.take() == 7
    table.answer(0, 7)
    assert table.pump() == [Outcome(7, b"value 7", None)]
    assert (table.caller.outstanding, table.caller.outstanding_size) == (0, 0)
    assert table.pump() == []


def test_before_a_call_has_been_timed_nobody_holds_two_while_another_waits_for_one():
    table = Table(workers=2)
    table.submit(0, 1, 2, 3)
    table.get_ready()
    assert (table.held(0), table.held(1)) == ([0], [1])


def test_short_calls_are_given_in_advance_and_the_rest_is_shared_out():
    table = Table(workers=2)
    table.submit(*range(41))
    table.get_ready()
    table.answer(0, table.take(0))  # in next to no time
    table.pump()
    assert table.held(0) == list(range(2, 11))  # a quarter of the 39 that wait
    assert table.held(1) == [1]


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


def test_code_that_cannot_be_loaded_ends_the_pool():
    table = Table()
    text = "Traceback …\nModuleNotFoundError: No module named 'x'\n"
    table.pool.news.append(LoadFailed({"error_type": "", "message": "", "traceback": text}))
    with pytest.raises(EntryScriptError, match=r"^the function cannot be loaded in the workers\nTraceback") as caught:
        table.pump()
    assert caught.value.traceback == text
    assert caught.value.hint == (
        "a worker is a fresh Python with this process's sys.path: what the function needs must be on it"
    )


def test_a_fork_that_fails_is_tried_again_after_a_pause_while_others_work():
    table = Table(workers=2)
    table.submit(0, 1)
    table.pump()
    table.pool.news.append(ForkFailed(1, "Resource temporarily unavailable"))
    for _ in range(3):
        table.pump()
    assert table.pool.started == [0, 1]
    table.clock.advance(1.5)
    table.pump()
    assert table.pool.started == [0, 1, 1]


def test_without_any_process_there_is_no_pool():
    table = Table()
    table.submit(0)
    table.pump()
    table.pool.news.append(ForkFailed(0, "Resource temporarily unavailable"))
    with pytest.raises(ResourceError, match=r"^no worker can be started: Resource temporarily unavailable$"):
        table.pump()


def test_what_is_not_accepted_is_never_sent():
    refused = {1, 3}
    table = Table(accept=lambda index: index not in refused)
    table.submit(0, 1, 2, 3)
    table.get_ready()
    for expected in (0, 2):
        assert table.take() == expected
        table.answer(0, expected)
        assert table.pump() == [Outcome(expected, b"value %d" % expected, None)]
    assert (table.caller.outstanding, table.caller.outstanding_size) == (0, 0)


def test_what_is_not_accepted_any_more_can_be_dropped_at_once():
    refused: set[int] = set()
    table = Table(accept=lambda index: index not in refused)
    table.submit(0, 1, 2, 3)
    table.get_ready()
    refused |= {0, 1, 3}
    table.caller.drop_refused()
    assert table.held() == [0]  # sent already
    assert table.caller.outstanding == 2
    table.answer(0, table.take())
    table.pump()
    assert table.held() == [2]


def test_a_large_call_reaches_its_worker_in_pieces():
    table = Table(attempts=1)
    payload = bytes(range(256)) * 80  # five times the ring
    table.caller.submit(0, payload)
    table.get_ready()
    assert table.held() == [0]
    table.pool.die(0)  # half sent: nobody is to blame, and the next worker gets all of it
    table.get_ready()
    received: list[object] = []
    worker = threading.Thread(target=lambda: received.append(table.pool.ports[0].take_call()), daemon=True)
    worker.start()
    for _ in range(30_000):
        assert table.pump() == []
        worker.join(0.001)
        if not worker.is_alive():
            break
    assert received == [(0, 1, payload)]


def test_a_failure_comes_back_as_the_exception_with_the_traceback_as_its_cause():
    try:
        raise KeyError("missing")
    except KeyError as error:
        payload = pickled_failure(error)
    rebuilt = exception_of(payload)
    assert type(rebuilt) is KeyError
    assert rebuilt.args == ("missing",)
    assert isinstance(rebuilt.__cause__, RemoteTraceback)
    assert 'raise KeyError("missing")' in str(rebuilt.__cause__)


class NeedsTwo(Exception):
    def __init__(self, one: int, two: int) -> None:
        super().__init__(f"{one} and {two}")


class Unpicklable(Exception):
    def __reduce__(self) -> Any:
        raise TypeError("not me")


class Exits(Exception):
    """Reading it back ends the process."""

    def __reduce__(self) -> Any:
        return _exit, ()


def _exit() -> Any:
    raise SystemExit(3)


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (NeedsTwo(1, 2), "NeedsTwo: 1 and 2"),
        (Unpicklable("x"), "Unpicklable: x"),
        (Exits("y"), "Exits: y"),
        (SystemExit(3), "SystemExit: 3"),
        (KeyboardInterrupt(), "KeyboardInterrupt"),
        (GeneratorExit("z"), "GeneratorExit: z"),
    ],
)
def test_what_cannot_be_rebuilt_or_is_no_exception_becomes_one_of_ours(error, text):
    rebuilt = exception_of(pickled_failure(error))
    assert type(rebuilt) is EntryScriptError
    assert text in str(rebuilt)


def test_an_exception_of_many_bytes_comes_back_as_its_description():
    error = ValueError("x", bytes(20 << 20))
    payload = pickled_failure(error)
    assert len(payload) < 1 << 17
    assert type(exception_of(payload)) is EntryScriptError


def test_a_failure_is_the_outcome_of_its_call():
    table = Table(attempts=3)
    table.submit(0)
    table.get_ready()
    table.take()
    table.pool.ports[0].publish_failure(0, 1, pickled_failure(ValueError("no")))
    ((index, value, error),) = table.pump()
    assert (index, value, str(error)) == (0, None, "no")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"workers": 0}, "expected a positive integer, workers=0"),
        ({"workers": 1.5}, "expected a positive integer, workers=1.5"),
        ({"attempts": 0}, "expected a positive integer, attempts=0"),
        ({"timeout_s": 0}, "expected a positive time, timeout_s=0"),
        ({"timeout_s": float("nan")}, "expected a positive time, timeout_s=nan"),
        ({"function": 7}, "expected a function, got int"),
        ({"init": "load"}, "expected a function, got str"),
    ],
)
def test_wrong_arguments_are_refused(options, message):
    with pytest.raises(UsageError, match=f"^{message}$"):
        Caller(**{"workers": 1, **options})


def test_a_function_that_cannot_be_pickled_is_refused_with_a_hint():
    lock = threading.Lock()
    with pytest.raises(UsageError, match=r"^the function cannot be sent to the workers: TypeError: cannot pickle") as e:
        call_spec(1, lambda batch: [lock, batch], None)
    assert e.value.hint == "open files, locks, connections and models are made in init(), in each worker"


def test_functions_that_can_be_imported_go_by_name():
    spec, pickled = call_spec(2, json.loads, os.getpid)
    assert (spec.function, spec.init, pickled) == ("json:loads", "posix:getpid", None)


def test_a_close_in_another_process_ends_nothing(monkeypatch):
    table = Table()
    monkeypatch.setattr(os, "getpid", lambda: -1)
    table.caller.close()
    assert table.pool.closed == 0
    monkeypatch.undo()
    table.caller.close()
    assert table.pool.closed == 1


def test_stop_waits_for_workers_that_are_ready_and_not_for_those_that_never_were():
    table = Table(workers=2)
    table.submit(0, 1)
    table.pump()
    table.pool.ports[0].publish_ready()
    table.pump()
    table.pool.slots[0].asked_for = False
    table.caller.stop()  # worker 1 would never end: the clock stands still
    assert (table.pool.stopped, table.pool.closed) == (1, 1)


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


def test_results_are_pickled_by_the_worker_and_not_looked_into():
    table = Table()
    table.submit(0)
    table.get_ready()
    table.take()
    table.pool.ports[0].publish_result(0, 1, 1, b"", pickle.dumps([1]))
    assert table.pump() == [Outcome(0, pickle.dumps([1]), None)]
