"""The rings against a model of a few lines: two queues, first in, first out.

Both ends live in this process, so every interleaving is one that the test chose.
"""

from __future__ import annotations

import mmap
import os
from collections import deque

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from batchflow import _core

PAGE = 4096
RECORD = 64
LIMITS = [0, 8, 2**32 - 64, 2**63 - 64, 2**64 - 4096]


def ends(**options: int) -> tuple[_core.Channel, _core.Port, int]:
    event_fd = os.eventfd(0, os.EFD_NONBLOCK)
    channel = _core.Channel(generation=7, **options)
    return channel, _core.Port(channel.fd, event_fd, 7), event_fd


def padded(size: int) -> int:
    return RECORD + (size + 7) // 8 * 8


class RingMachine(RuleBasedStateMachine):
    """Requests and answers of one worker, with rings of one page, so that they are full and wrap all the time."""

    @initialize(start=st.sampled_from(LIMITS))
    def begin(self, start: int) -> None:
        self.channel, self.port, self.event_fd = ends(request_size=PAGE, completion_size=PAGE, start=start)
        self.requests: deque[tuple[int, int, int, int]] = deque()
        self.in_hand: deque[tuple[int, int, int, int]] = deque()
        self.answers: deque[tuple[int, int, int, int, int, bytes, bytes]] = deque()  # -1 returned: a failure
        self.parts: set[tuple[int, int]] = set()
        self.answer_size = 0
        self.next_index = 0

    def teardown(self) -> None:
        if hasattr(self, "event_fd"):
            os.close(self.event_fd)

    @rule(attempt=st.integers(1, 2**32 - 1), count=st.integers(1, 2**40), part=st.booleans())
    def ask(self, attempt: int, count: int, part: bool) -> None:
        request = (self.next_index, attempt, self.next_index * 3, count)
        fits = len(self.requests) < PAGE // RECORD
        assert self.channel.run(*request, part=part) is fits
        if fits:
            self.parts |= {(self.next_index, self.next_index * 3)} if part else set()
            self.requests.append(request)
            self.next_index += 1

    @rule(count=st.integers(0, 100))
    def ask_for_a_range(self, count: int) -> None:
        room = PAGE // RECORD - len(self.requests)
        first = self.next_index
        written = self.channel.run_range(first, first + count, first * 10 + 5, 10, max(0, 10 * (first + count) + 2))
        assert written == min(count, room)
        for index in range(first, first + written):
            last = index == first + count - 1
            self.requests.append((index, 1, index * 10 + 5, 7 if last else 10))
        self.next_index += written

    @precondition(lambda self: self.requests)
    @rule()
    def take(self) -> None:
        request = self.port.take()
        assert request == self.requests.popleft()
        self.in_hand.append(request)

    @precondition(lambda self: self.in_hand)
    @rule(columns=st.binary(max_size=20), rows=st.binary(max_size=900), returned=st.integers(0, 2**50))
    def answer(self, columns: bytes, rows: bytes, returned: int) -> None:
        size = padded(len(columns) + len(rows))
        if self.answer_size + size > PAGE:
            return  # the worker would sleep
        index, attempt, start, items = self.in_hand.popleft()
        self.port.publish_result(index, attempt, returned, columns, rows)
        self.answers.append((index, attempt, start, items, returned, columns, rows))
        self.answer_size += size

    @precondition(lambda self: self.in_hand)
    @rule(lines=st.lists(st.text("aä\n", max_size=50), max_size=6))
    def answer_with_lines(self, lines: list[str]) -> None:
        rows = "".join(f"{line}\n" for line in lines).encode()
        if self.answer_size + padded(len(rows)) > PAGE:
            return
        is_plain = not any("\n" in line for line in lines)
        assert self.port.pack_lines(lines) is is_plain
        if is_plain:
            index, attempt, start, items = self.in_hand.popleft()
            self.port.publish_packed(index, attempt)
            self.answers.append((index, attempt, start, items, len(lines), b"", rows))
            self.answer_size += padded(len(rows))

    @precondition(lambda self: self.in_hand)
    @rule(text=st.binary(max_size=900))
    def fail(self, text: bytes) -> None:
        if self.answer_size + padded(len(text)) > PAGE:
            return
        index, attempt, start, items = self.in_hand.popleft()
        self.port.publish_failure(index, attempt, text)
        self.answers.append((index, attempt, start, items, -1, b"", text))
        self.answer_size += padded(len(text))

    @rule()
    def drain(self) -> None:
        notes = self.channel.drain()
        assert len(notes) == len(self.answers)
        for note in notes:
            index, attempt, start, items, returned, columns, rows = self.answers.popleft()
            part = (index, start) in self.parts
            kind = _core.FAILURE if returned < 0 else _core.PART if part else _core.RESULT
            assert note == (kind, index, attempt, max(0, returned), start, items, columns, rows)
        self.answer_size = 0

    @invariant()
    def the_driver_knows_what_is_out(self) -> None:
        if not hasattr(self, "channel"):
            return
        unanswered = [answer[:4] for answer in self.answers] + list(self.in_hand) + list(self.requests)
        assert self.channel.flights() == unanswered
        assert self.channel.in_flight == len(unanswered)


RingMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=60, deadline=None)
TestRingsAgainstTheModel = RingMachine.TestCase


@pytest.mark.fault("G6")
@pytest.mark.parametrize("size", [0, 1, 959, 960, 961, 2_879, 2_880])
def test_a_payload_longer_than_a_record_travels_in_pieces(size: int) -> None:
    channel, port, event_fd = ends(request_size=PAGE, completion_size=PAGE)
    payload = os.urandom(size)
    assert channel.call(3, 1, payload) is True
    assert channel.flush() is True
    assert port.take_call() == (3, 1, payload)
    port.publish_result(3, 1, 1, b"", payload[:2_000])
    assert [note[1:] for note in channel.drain()] == [(3, 1, 1, 3, 1, b"", payload[:2_000])]
    os.close(event_fd)


def test_a_payload_that_does_not_fit_yet_is_in_flight_all_the_same() -> None:
    channel, _, event_fd = ends(request_size=PAGE, completion_size=PAGE)
    assert channel.call(3, 2, bytes(10_000)) is True
    assert channel.flush() is False
    assert channel.flights() == [(3, 2, 3, 1)]
    assert channel.call(4, 1, b"") is False, "one payload at a time"
    os.close(event_fd)


@pytest.mark.parametrize(
    "result", [None, ("a",), {"a": 1}, "a", [1], ["a\n"], ["\ud800"], ["a" * _core.PACKED_SIZE_MAX]]
)
def test_what_is_no_short_list_of_lines_is_not_packed(result: object) -> None:
    _, port, event_fd = ends(request_size=PAGE, completion_size=PAGE)
    assert port.pack_lines(result) is False
    os.close(event_fd)


def test_as_many_bytes_are_packed_as_is_said_and_travel_in_pieces() -> None:
    channel, port, event_fd = ends(request_size=PAGE, completion_size=2 * _core.PACKED_SIZE_MAX)
    channel.run_range(0, 1, 0, 10, 10)
    port.take()
    lines = ["ä" * 99, "", "a" * (_core.PACKED_SIZE_MAX - 201)]
    assert port.pack_lines([*lines, ""]) is False, "a byte too much"
    assert port.pack_lines(lines) is True
    port.publish_packed(0, 1)
    rows = "".join(f"{line}\n" for line in lines).encode()
    assert len(rows) == _core.PACKED_SIZE_MAX
    assert [note[1:] for note in channel.drain()] == [(0, 1, 3, 0, 10, b"", rows)]
    os.close(event_fd)


def test_the_flight_recorder_says_which_request_was_begun() -> None:
    channel, port, event_fd = ends()
    channel.run_range(0, 3, 0, 10, 30)
    assert channel.first_started is False
    port.take()
    assert channel.first_started is True
    assert channel.state == "running"
    port.publish_result(0, 1, 10, b"", b"")
    assert channel.state == "idle"
    channel.drain()
    assert channel.first_started is False, "the second request is not to blame"
    assert channel.flights() == [(1, 1, 10, 10), (2, 1, 20, 10)]
    os.close(event_fd)


def test_stop_comes_after_what_was_asked_before() -> None:
    channel, port, event_fd = ends()
    channel.run(0, 1, 0, 5)
    channel.stop()
    assert port.take() == (0, 1, 0, 5)
    assert port.take() is None
    os.close(event_fd)


def test_a_sleeping_driver_is_woken_when_little_is_left_and_not_before() -> None:
    channel, port, event_fd = ends()
    channel.run_range(0, 4, 0, 10, 40)
    channel.set_low_water(1)
    assert channel.go_to_sleep() is True
    for index in range(2):
        port.take()
        port.publish_result(index, 1, 10, b"", b"")
        with pytest.raises(BlockingIOError):
            os.eventfd_read(event_fd)
    channel.get_up()
    assert channel.go_to_sleep() is True, "two answers wait, but the worker has more than one request left"
    port.take()
    port.publish_result(2, 1, 10, b"", b"")
    assert os.eventfd_read(event_fd) == 1
    assert channel.go_to_sleep() is False, "one is left"
    assert len(channel.drain()) == 3
    assert channel.go_to_sleep() is True, "nothing waits"
    os.close(event_fd)


def test_a_driver_does_not_sleep_while_answers_fill_half_the_ring() -> None:
    channel, port, event_fd = ends(completion_size=PAGE)
    channel.run_range(0, 10, 0, 10, 100)
    port.take()
    port.publish_result(0, 1, 10, b"", bytes(900))
    assert channel.go_to_sleep() is True
    port.take()
    port.publish_result(1, 1, 10, b"", bytes(900))
    with pytest.raises(BlockingIOError):
        os.eventfd_read(event_fd)
    port.take()
    port.publish_result(2, 1, 10, b"", bytes(900))
    assert os.eventfd_read(event_fd) == 1
    assert channel.go_to_sleep() is False
    os.close(event_fd)


def test_a_failure_keeps_the_driver_from_sleeping_until_it_has_looked() -> None:
    channel, port, event_fd = ends()
    channel.run_range(0, 9, 0, 10, 90)
    port.take()
    port.publish_failure(0, 1, b"{}")
    assert channel.go_to_sleep() is False
    channel.get_up()
    assert len(channel.drain()) == 1
    port.take()
    port.publish_result(1, 1, 10, b"", b"")
    assert channel.go_to_sleep() is True, "that was the failure's news, not the result's"
    os.close(event_fd)


def test_a_failure_wakes_the_driver_at_once() -> None:
    channel, port, event_fd = ends()
    channel.run_range(0, 4, 0, 10, 40)
    channel.go_to_sleep()
    port.take()
    port.publish_failure(0, 1, b"{}")
    assert os.eventfd_read(event_fd) == 1
    os.close(event_fd)


@pytest.mark.fault("G4")
@settings(max_examples=400, deadline=None)
@given(st.data())
def test_the_driver_survives_any_bytes_in_the_mapping(data: st.DataObject) -> None:
    channel, port, event_fd = ends(request_size=PAGE, completion_size=PAGE)
    with mmap.mmap(channel.fd, 3 * PAGE) as wild:
        channel.run_range(0, 3, 0, 10, 30)
        for index in range(2):
            port.take()
            port.publish_result(index, 1, 10, b"", b"row\n" * 5)
        for _ in range(data.draw(st.integers(1, 6))):
            place = data.draw(st.one_of(st.integers(0, PAGE - 9), st.integers(2 * PAGE, 2 * PAGE + 300)))
            junk = data.draw(st.binary(min_size=1, max_size=8))
            wild[place : place + len(junk)] = junk
        notes = channel.drain()
    results = [note for note in notes if note.kind == _core.RESULT]
    # What is taken for a result is a result that was published, and damage is the last thing that is read.
    for expected_index, note in enumerate(results):
        assert note == (_core.RESULT, expected_index, 1, 10, expected_index * 10, 10, b"", b"row\n" * 5)
    assert all(note.kind in (_core.RESULT, _core.DAMAGED) for note in notes)
    assert _core.DAMAGED not in [note.kind for note in notes[:-1]]
    os.close(event_fd)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"request_size": 1000}, "ring sizes must be powers of two"),
        ({"completion_size": 4097}, "ring sizes must be powers of two"),
        ({"start": 4}, "multiple of 8"),
    ],
)
def test_rings_of_odd_sizes_are_refused(options: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        _core.Channel(**options)


def test_a_port_refuses_what_are_not_its_rings() -> None:
    channel = _core.Channel(generation=7)
    with pytest.raises(ValueError, match="not the rings of this worker, generation=8"):
        _core.Port(channel.fd, 0, 8)
    with open("/dev/zero", "rb") as zero, pytest.raises((ValueError, OSError)):
        _core.Port(zero.fileno(), 0, 7)
    memory = os.memfd_create("zeros")
    os.ftruncate(memory, 3 * PAGE)
    with pytest.raises(ValueError, match="not the rings of this worker"):
        _core.Port(memory, 0, 7)
    os.close(memory)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", 0),
        (b"123456789", 0xE3069283),  # the check value of the CRC catalogue
        (bytes(32), 0x8A9136AA),  # RFC 3720, B.4
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
    ],
)
def test_crc32c_of_the_published_examples(data: bytes, expected: int) -> None:
    assert _core.crc32c(data) == expected
    for cut in range(len(data)):
        assert _core.crc32c(data[cut:], _core.crc32c(data[:cut])) == expected
