"""Looking before sleeping: a moment, not for ever, and nothing is lost on either side.

Both ends live in this process; where one of them waits, a thread plays the other.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Iterator

import pytest

from batchflow import _core

FOR_EVER_NS = 1 << 62
MOMENT_NS = 50_000


class Ends:
    def __init__(self) -> None:
        self.event_fd = os.eventfd(0, os.EFD_NONBLOCK)
        self.channel = _core.Channel(request_size=4096, completion_size=4096, generation=3)
        self.port = _core.Port(self.channel.fd, self.event_fd, 3)

    @property
    def is_woken(self) -> bool:
        """Has the worker woken the driver since the last question?"""
        try:
            return os.eventfd_read(self.event_fd) > 0
        except BlockingIOError:
            return False

    def answer(self, payload: bytes = b"done") -> int:
        index, attempt, _ = self.port.take_call() or pytest.fail("told to stop")
        self.port.publish_result(index, attempt, 1, b"", payload)
        return index


@pytest.fixture
def ends() -> Iterator[Ends]:
    ends = Ends()
    yield ends
    os.close(ends.event_fd)


def test_a_look_ends_by_itself_however_long_it_was_asked_for(ends):
    assert ends.channel.look(FOR_EVER_NS) is False


def test_a_look_without_time_is_none(ends):
    ends.channel.call(0, 1, b"call")
    ends.answer()
    assert ends.channel.look(0) is False
    assert ends.channel.look(1) is True


def test_after_looks_in_vain_the_next_ones_are_left_out_and_then_tried_again(ends):
    assert ends.channel.look(1) is False
    ends.channel.call(0, 1, b"call")
    ends.answer()
    assert [ends.channel.look(1) for _ in range(3)] == [False, True, True]


def test_the_longer_it_was_in_vain_the_fewer_looks_there_are_but_never_none(ends):
    for _ in range(1000):
        ends.channel.look(1)
    ends.channel.call(0, 1, b"call")
    ends.answer()
    looks = [ends.channel.look(1) for _ in range(20)]
    assert looks == sorted(looks)
    assert looks[-1] is True


def test_a_look_sees_an_answer_that_comes_meanwhile(ends):
    go = threading.Event()

    def work() -> None:
        go.wait(60)
        ends.answer()

    thread = threading.Thread(target=work)
    thread.start()
    ends.channel.call(0, 1, b"call")
    go.set()
    while not ends.channel.look(MOMENT_NS):
        pass
    thread.join()
    assert [note.payload for note in ends.channel.drain()] == [b"done"]


@pytest.mark.parametrize("spin_ns", [0, 1, MOMENT_NS, 2**32 - 1])
def test_a_worker_that_may_look_gets_every_request_and_keeps_its_processors(ends, spin_ns):
    allowed = os.sched_getaffinity(0)
    ends.channel.set_spin(spin_ns)
    took: list[int] = []

    def work() -> None:
        took.extend(ends.answer() for _ in range(50))
        took.append(len(os.sched_getaffinity(0)))

    thread = threading.Thread(target=work)
    thread.start()
    for index in range(50):
        ends.channel.call(index, 1, b"call")
        while not ends.channel.look(MOMENT_NS):
            pass
        ends.channel.drain()
    thread.join()
    assert took == [*range(50), len(allowed)]
    assert os.sched_getaffinity(0) == allowed


def test_a_sleeping_driver_is_woken_at_once_or_after_its_grace(ends):
    for grace_ns in (0, MOMENT_NS, 2**32 - 1):
        ends.channel.set_spin(0, grace_ns)
        ends.channel.call(0, 1, b"call")
        assert ends.channel.go_to_sleep()
        ends.answer()
        assert ends.is_woken
        ends.channel.get_up()
        assert len(ends.channel.drain()) == 1


def test_a_grace_is_over_where_there_is_more_to_do(ends):
    """The worker goes on with the next request at once; a driver that it needs not is not woken at all."""
    ends.channel.set_spin(0, 2**32 - 1)
    ends.channel.set_low_water(1)
    for index in range(2):
        ends.channel.call(index, 1, b"")
    assert ends.channel.go_to_sleep()
    ends.answer()
    assert ends.is_woken


# Calls in bulk


def test_the_first_of_the_calls_that_are_ready_are_sent(ends):
    ready = deque([7, 5, 6])
    payloads = {5: b"five", 6: b"six", 7: b"seven"}
    ends.channel.call_all(ready, payloads, {5: 2}, 2)
    assert ready == deque([6])
    assert ends.port.take_call() == (7, 1, b"seven")
    assert ends.port.take_call() == (5, 2, b"five")
    assert ends.channel.flights() == [(7, 1, 7, 1), (5, 2, 5, 1)]


def test_what_does_not_fit_stays_ready(ends):
    ready = deque([0, 1, 2])
    ends.channel.call_all(ready, dict.fromkeys(ready, bytes(3000)), {}, 3)
    assert ready == deque([2])  # the first fits in four records, the second is half sent
    assert ends.channel.in_flight == 2


def test_a_call_is_sent_and_booked_together(ends):
    calls, payloads = deque([(3, b"payload"), (4, b"")]), {}
    assert ends.channel.call_first(calls, payloads) == 7
    assert (calls, payloads) == (deque([(4, b"")]), {3: b"payload"})
    assert ends.port.take_call() == (3, 1, b"payload")


def test_results_are_taken_in_bulk_and_their_calls_with_them(ends):
    payloads = {0: b"first", 1: b"second", 2: b"", 3: b"later"}
    attempts = {1: 2, 3: 2}
    ends.channel.call_all(deque([0, 1, 2]), payloads, attempts, 3)
    for index in range(3):
        taken = ends.port.take_call()
        if index == 1:
            ends.port.publish_failure(1, 2, b"broken")
        else:
            ends.port.publish_result(index, 1, 1, b"", b"value %d" % index)
        assert taken is not None
    values: dict[int, bytes] = {}
    notes: list[_core.Note] = []
    assert ends.channel.drain_calls(payloads, attempts, values, notes) == (14, 5)
    assert values == {0: b"value 0", 2: b"value 2"}
    assert [(note.kind, note.mini_batch_index, note.payload) for note in notes] == [(_core.FAILURE, 1, b"broken")]
    assert (payloads, attempts) == ({1: b"second", 3: b"later"}, {1: 2, 3: 2})
    assert ends.channel.drain_calls(payloads, attempts, values, notes) == (0, 0)
    assert len(notes) == 1
