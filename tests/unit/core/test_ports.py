"""The worker's end: what it waits for, what wakes it, what it refuses.  Where it must sleep it is a thread."""

from __future__ import annotations

import contextlib
import mmap
import os
import signal
import struct
import threading
from collections.abc import Callable, Iterator

import pytest

from batchflow import _core

PAGE = 4096
RECORD = 64
WORKER_SLEEPING = 644
STATE = 912


class Ends:
    """Both ends of one worker's rings, and the mapping itself."""

    def __init__(self, **options: int) -> None:
        self.event_fd = os.eventfd(0, os.EFD_NONBLOCK)
        self.channel = _core.Channel(generation=7, request_size=PAGE, completion_size=PAGE, **options)
        self.port = _core.Port(self.channel.fd, self.event_fd, 7)
        self.memory = mmap.mmap(self.channel.fd, 3 * PAGE)
        self.requests, self.answers = PAGE, 2 * PAGE

    def word(self, place: int) -> int:
        return struct.unpack_from("=I", self.memory, place)[0]

    def forge(self, place: int, **fields: int) -> None:
        """Change the record at ``place`` and make its checksum right again."""
        layout = {"payload_size": (4, "I"), "sequence": (8, "Q"), "kind": (36, "H"), "flags": (38, "H")}
        layout |= {"attempt": (32, "I"), "columns_size": (56, "I"), "generation": (20, "I"), "magic": (0, "I")}
        for name, value in fields.items():
            offset, kind = layout[name]
            struct.pack_into(f"={kind}", self.memory, place + offset, value)
        struct.pack_into("=I", self.memory, place + 16, 0)
        size = struct.unpack_from("=I", self.memory, place + 4)[0]
        checksum = _core.crc32c(self.memory[place : place + RECORD + size])
        struct.pack_into("=I", self.memory, place + 16, checksum)

    def close(self) -> None:
        self.memory.close()
        os.close(self.event_fd)


@pytest.fixture
def ends() -> Iterator[Ends]:
    one = Ends()
    yield one
    one.close()


@contextlib.contextmanager
def asleep(ends: Ends, work: Callable[[], None]) -> Iterator[None]:
    """The worker does ``work`` in a thread and sleeps when the block begins; after it, it must come to an end."""
    failures: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    while not ends.word(WORKER_SLEEPING) and thread.is_alive():
        os.sched_yield()
    assert thread.is_alive(), failures
    yield
    thread.join(60)
    assert not thread.is_alive(), "nobody woke the worker"
    assert failures == []


def test_a_worker_without_work_sleeps_until_it_is_asked(ends: Ends) -> None:
    taken = []
    with asleep(ends, lambda: taken.append(ends.port.take())):
        assert ends.channel.run(3, 1, 30, 10)
    assert taken == [(3, 1, 30, 10)]
    assert ends.word(WORKER_SLEEPING) == 0


def test_a_worker_that_sleeps_stops_when_it_is_told_to(ends: Ends) -> None:
    taken: list[object] = ["not yet"]
    with asleep(ends, lambda: taken.append(ends.port.take_call())):
        assert ends.channel.stop()
    assert taken == ["not yet", None]


def test_a_call_arrives_in_pieces_while_its_worker_sleeps_between_them(ends: Ends) -> None:
    payload = os.urandom(3 * PAGE)
    taken = []
    with asleep(ends, lambda: taken.append(ends.port.take_call())):
        assert ends.channel.call(5, 2, payload)
        while not ends.channel.flush():
            os.sched_yield()
    assert taken == [(5, 2, payload)]


def test_a_worker_with_a_full_ring_sleeps_until_there_is_room(ends: Ends) -> None:
    ends.channel.run_range(0, 9, 0, 10, 90)
    rows = [os.urandom(900 + index) for index in range(9)]  # some go on at the beginning of the ring

    def work() -> None:
        for index in range(9):
            ends.port.take()
            ends.port.publish_result(index, 1, 10, b"", rows[index])

    gather = _core.Gather()
    with asleep(ends, work):
        while gather.counts.done < 9:
            assert gather.drain(ends.channel) == []
    assert bytes(gather.output()) == b"".join(rows)


def test_an_answer_longer_than_the_ring_flows_through_it(ends: Ends) -> None:
    ends.channel.run(0, 1, 0, 10)
    ends.port.take()
    rows = os.urandom(5 * PAGE + 1)
    notes: list[_core.Note] = []
    with asleep(ends, lambda: ends.port.publish_result(0, 1, 10, b"a,b\n", rows)):
        while not notes:
            notes += ends.channel.drain()
    assert notes == [(_core.RESULT, 0, 1, 10, 0, 10, b"a,b\n", rows)]
    assert (ends.channel.result_count, ends.channel.arrived_items) == (1, 10)


def test_while_it_waits_for_room_a_worker_does_not_seem_to_run(ends: Ends) -> None:
    ends.channel.run_range(0, 2, 0, 1, 2)
    ends.port.take()
    ends.port.publish_result(0, 1, 1, b"", bytes(900))
    for _ in range(3):
        ends.port.publish_failure(0, 1, bytes(900))  # alien, but it fills the ring
    ends.port.take()
    with asleep(ends, lambda: ends.port.publish_result(1, 1, 1, b"", bytes(900))):
        assert ends.channel.state == "idle"
        ends.channel.drain()


def test_a_signal_wakes_a_worker_that_sleeps(ends: Ends) -> None:
    class Rung(Exception):
        pass

    def ring(number: int, frame: object) -> None:
        raise Rung

    before = signal.signal(signal.SIGALRM, ring)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.02, 0.02)  # again: the first may come before the worker sleeps
        with pytest.raises(Rung):
            ends.port.take()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    ends.channel.run(0, 1, 0, 1)
    assert ends.port.take() == (0, 1, 0, 1), "and does no harm"


@pytest.mark.parametrize(
    ("number", "state"), [(0, "starting"), (1, "init"), (2, "idle"), (3, "running"), (4, "shutdown"), (9, "unknown")]
)
def test_the_driver_reads_what_the_worker_says_it_does(ends: Ends, number: int, state: str) -> None:
    if state == "unknown":
        struct.pack_into("=I", ends.memory, STATE, number)
    else:
        ends.port.set_state(state)  # type: ignore[arg-type]
        assert ends.word(STATE) == number
    assert ends.channel.state == state


def test_readiness_and_failures_of_init_are_told(ends: Ends) -> None:
    ends.port.publish_ready()
    ends.port.publish_init_failed(b"no model")
    assert not ends.channel.is_drained
    assert ends.channel.drain() == [
        (_core.READY, 0, 0, 0, 0, 0, b"", b""),
        (_core.INIT_FAILED, 0, 0, 0, 0, 0, b"", b"no model"),
    ]
    assert ends.channel.is_drained
    assert ends.channel.first_started is False, "nothing was asked"


@pytest.mark.parametrize("place", [0, 8, 20, 40])
def test_a_worker_refuses_requests_that_were_written_over(ends: Ends, place: int) -> None:
    ends.channel.run_range(0, 2, 0, 10, 20)
    assert ends.port.take() == (0, 1, 0, 10)
    ends.memory[ends.requests + RECORD + place] ^= 1
    with pytest.raises(ValueError, match=r"^the request ring is damaged$"):
        ends.port.take()


@pytest.mark.parametrize(
    "change",
    [
        {"magic": 0x64636573},
        {"generation": 6},
        {"sequence": 1},
        {"attempt": 2},
        {"kind": 0},
        {"kind": 5},
        {"columns_size": 3_001},
        {"payload_size": 961},  # longer than a frame, and within what is published
        {"payload_size": 5_000},
    ],
)
def test_a_forged_answer_is_damage_and_what_came_before_counts(ends: Ends, change: dict[str, int]) -> None:
    ends.channel.run_range(0, 3, 0, 10, 30)
    for index, size in enumerate([0, 500, 900]):
        ends.port.take()
        ends.port.publish_result(index, 1, 10, b"", bytes(size))
    if "sequence" in change:
        change = {"sequence": 0}
    ends.forge(ends.answers + RECORD, **change)
    notes = ends.channel.drain()
    assert [(note.kind, note.mini_batch_index) for note in notes] == [(_core.RESULT, 0), (_core.DAMAGED, 0)]
    assert ends.channel.first_started is False or change.keys() & {"kind", "attempt", "columns_size"}


@pytest.mark.parametrize(("tail", "left"), [(8, 1), (-8, 0), (PAGE + 64, 1), (1 << 60, 1)])
def test_a_position_that_cannot_be_is_damage(ends: Ends, tail: int, left: int) -> None:
    """The worker's word of how much it has published is bounded by what the ring holds."""
    ends.channel.run_range(0, 2, 0, 10, 20)
    ends.port.take()
    ends.port.publish_result(0, 1, 10, b"", b"")
    if left:
        ends.channel.drain()
    struct.pack_into("=Q", ends.memory, 384, (struct.unpack_from("=Q", ends.memory, 384)[0] + tail) % 2**64)
    assert [note.kind for note in ends.channel.drain()] == [_core.DAMAGED]


def test_an_answer_longer_than_allowed_is_damage() -> None:
    ends = Ends(max_result_size=2_000)
    ends.channel.run_range(0, 2, 0, 10, 20)
    ends.port.take()
    ends.port.publish_result(0, 1, 10, b"", bytes(2_000))
    assert [len(note.payload) for note in ends.channel.drain()] == [2_000]
    ends.port.take()
    ends.port.publish_result(1, 1, 10, b"", bytes(2_001))
    assert [note.kind for note in ends.channel.drain()] == [_core.DAMAGED]
    ends.close()


def test_frames_of_one_answer_are_not_kept_for_the_next(ends: Ends) -> None:
    ends.channel.run_range(0, 3, 0, 10, 30)
    for index, size in enumerate([1_500, 10, 1_100]):
        ends.port.take()
        ends.port.publish_result(index, 1, 10, b"", bytes([65 + index]) * size)
    assert [note.payload for note in ends.channel.drain()] == [b"A" * 1_500, b"B" * 10, b"C" * 1_100]


def test_a_full_request_ring_takes_neither_a_request_nor_a_stop(ends: Ends) -> None:
    assert ends.channel.run_range(0, 100, 0, 1, 100) == PAGE // RECORD
    assert ends.channel.run(100, 1, 100, 1) is False
    assert ends.channel.stop() is False
    assert ends.channel.in_flight == PAGE // RECORD
    ends.port.take()
    assert ends.channel.stop() is True


def test_more_flights_than_the_books_had_room_for_stay_in_order() -> None:
    """The books are circular: they grow while their first entry is somewhere in the middle."""
    event_fd = os.eventfd(0, os.EFD_NONBLOCK)
    channel = _core.Channel(request_size=1 << 16)
    port = _core.Port(channel.fd, event_fd, 1)
    assert channel.run_range(0, 60, 0, 1, 60) == 60
    for index in range(50):
        port.take()
        port.publish_result(index, 1, 1, b"", b"")
    assert len(channel.drain()) == 50
    assert channel.run_range(60, 300, 60, 1, 300) == 240
    assert channel.flights() == [(index, 1, index, 1) for index in range(50, 300)]
    os.close(event_fd)
