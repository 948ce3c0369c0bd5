"""The gather against a model: sort what came by mini-batch, leave out what failed, join."""

from __future__ import annotations

import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchflow import _core


class Worker:
    """Both ends of one worker's rings in this process."""

    def __init__(self) -> None:
        self.event_fd = os.eventfd(0, os.EFD_NONBLOCK)
        self.channel = _core.Channel(request_size=1 << 16, completion_size=1 << 16)
        self.port = _core.Port(self.channel.fd, self.event_fd, 1)

    def answer(
        self, index: int, rows: bytes, *, returned: int = 1, items: int = 1, attempt: int = 1, columns: bytes = b""
    ) -> None:
        assert self.channel.run(index, attempt, index, items)
        assert self.port.take() == (index, attempt, index, items)
        self.port.publish_result(index, attempt, returned, columns, rows)

    def close(self) -> None:
        os.close(self.event_fd)


@pytest.fixture
def worker():
    one = Worker()
    yield one
    one.close()


def taken(gather: _core.Gather) -> bytes:
    content = bytes(gather.output())
    gather.clear()
    return content


def checked(gather: _core.Gather) -> bytes:
    """The same, and every extent has the checksum of its bytes."""
    for extent in gather.take_extents():
        assert extent.checksum == _core.crc32c(gather.output()[extent.offset : extent.offset + extent.size])
    return taken(gather)


def row(index: int) -> bytes:
    return b"row %d\n" % index


@settings(max_examples=150, deadline=None)
@given(st.data(), st.integers(1, 120), st.integers(1, 3))
def test_whatever_the_order_of_arrival_the_output_is_in_input_order(
    data: st.DataObject, count: int, worker_count: int
) -> None:
    workers = [Worker() for _ in range(worker_count)]
    gather = _core.Gather()
    order = data.draw(st.permutations(range(count)))
    failed = data.draw(st.sets(st.integers(0, count - 1)))
    output = b""
    for position, index in enumerate(order):
        if index in failed:
            assert gather.put(index, 1, []) == []
        else:
            one = workers[index % worker_count]
            one.answer(index, row(index) * (index % 4), returned=index % 4, items=3)
            assert gather.drain(one.channel) == []
        if position % 3 == 0:
            output += taken(gather)
        arrived = set(order[: position + 1])
        first_missing = next(index for index in range(count + 1) if index not in arrived)
        assert gather.next == first_missing
        assert gather.waiting == sum(index > first_missing for index in arrived)
        assert (gather.held_bytes > 0) is (gather.waiting > 0)
    output += taken(gather)
    good = [index for index in range(count) if index not in failed]
    assert output == b"".join(row(index) * (index % 4) for index in good)
    returned = [index % 4 for index in good]
    assert gather.counts == (
        len(good),
        sum(min(n, 3) for n in returned),
        sum(3 - min(n, 3) for n in returned),
        sum(returned),
        0,
    )
    shortfalls = gather.take_shortfalls()
    assert shortfalls == [(index, 1, index % 4, 3 - index % 4, index, 3) for index in good if index % 4 < 3]
    assert gather.take_shortfalls() == []
    for one in workers:
        one.close()


def test_in_completion_order_results_are_appended_as_they_come(worker: Worker) -> None:
    gather = _core.Gather(in_order=False)
    for index in (2, 0, 1):
        worker.answer(index, row(index))
        gather.drain(worker.channel)
    assert taken(gather) == row(2) + row(0) + row(1)
    assert gather.counts.done == 3


def test_surplus_elements_are_kept_and_counted(worker: Worker) -> None:
    gather = _core.Gather()
    worker.answer(0, b"a\nb\nc\n", returned=3, items=2)
    gather.drain(worker.channel)
    assert taken(gather) == b"a\nb\nc\n"
    assert gather.counts == (1, 2, 0, 3, 1)


def test_with_any_items_the_count_is_not_compared(worker: Worker) -> None:
    gather = _core.Gather(any_items=True)
    worker.answer(0, b"", returned=0, items=7)
    gather.drain(worker.channel)
    assert gather.counts == (1, 7, 0, 0, 0)
    assert gather.take_shortfalls() == []


def test_the_header_is_written_once_and_is_that_of_the_first_mini_batch_with_rows(worker: Worker) -> None:
    gather = _core.Gather()
    worker.answer(1, b"1,2\n", columns=b"a,b\n")
    worker.answer(2, b"3,4\n", columns=b"a,b\n")
    worker.answer(0, b"", returned=0, columns=b"other\n")
    gather.drain(worker.channel)
    assert taken(gather) == b"a,b\n1,2\n3,4\n"
    assert gather.columns == b"a,b\n"


def test_without_a_header_the_columns_must_agree_all_the_same(worker: Worker) -> None:
    gather = _core.Gather(write_header=False)
    worker.answer(0, b"1\n", columns=b"a\n")
    worker.answer(1, b"2\n", columns=b"b\n")
    (note,) = gather.drain(worker.channel)
    assert note == (_core.COLUMNS_DIFFER, 1, 1, 1, 1, 1, b"b\n", b"")
    assert taken(gather) == b"1\n"


def test_a_result_whose_columns_differ_is_given_back_and_may_come_again(worker: Worker) -> None:
    gather = _core.Gather()
    worker.answer(1, b"2\n", columns=b"b\n")
    worker.answer(2, b"3\n", columns=b"a\n")
    assert gather.drain(worker.channel) == [], "nobody knows yet which columns are right"
    worker.answer(0, b"1\n", columns=b"a\n")
    (note,) = gather.drain(worker.channel)
    assert note == (_core.COLUMNS_DIFFER, 1, 1, 1, 1, 1, b"b\n", b"")
    assert (taken(gather), gather.next) == (b"a\n1\n", 1)
    worker.answer(1, b"2\n", columns=b"a\n", attempt=2)
    assert gather.drain(worker.channel) == []
    assert (taken(gather), gather.next, gather.counts.done) == (b"2\n3\n", 3, 3)


def test_losing_one_shows_the_columns_behind_it(worker: Worker) -> None:
    gather = _core.Gather()
    worker.answer(0, b"1\n", columns=b"a\n")
    worker.answer(2, b"2\n", columns=b"b\n")
    assert gather.drain(worker.channel) == []
    (note,) = gather.put(1, 3, [])
    assert (note.kind, note.mini_batch_index) == (_core.COLUMNS_DIFFER, 2)


def test_what_is_done_cannot_be_done_again(worker: Worker) -> None:
    gather = _core.Gather()
    worker.answer(0, b"1\n")
    gather.drain(worker.channel)
    with pytest.raises(ValueError, match=r"^mini-batch 0 is appended or put already$"):
        gather.put(0, 1, [])
    worker.answer(0, b"1\n", attempt=2)
    assert [note.kind for note in gather.drain(worker.channel)] == [_core.DAMAGED]
    assert taken(gather) == b"1\n"


def test_an_answer_to_what_was_not_asked_is_damage(worker: Worker) -> None:
    worker.channel.run(0, 1, 0, 1)
    worker.port.take()
    worker.port.publish_result(1, 1, 1, b"", b"x\n")
    gather = _core.Gather()
    assert [note.kind for note in gather.drain(worker.channel)] == [_core.DAMAGED]
    assert gather.counts.done == 0


def test_held_results_are_freed_as_they_are_appended(worker: Worker) -> None:
    gather = _core.Gather()
    for index in range(1, 200):
        worker.answer(index, b"x" * 100)
        gather.drain(worker.channel)
    assert gather.held_bytes >= 199 * 100
    worker.answer(0, b"")
    gather.drain(worker.channel)
    assert (gather.held_bytes, gather.next) == (0, 200)


def test_a_drain_stops_when_there_is_much_output_and_takes_one_answer_at_least() -> None:
    channel = _core.Channel(completion_size=1 << 26)
    port = _core.Port(channel.fd, -1, 1)
    gather = _core.Gather()
    channel.run_range(0, 12, 0, 1, 12)
    for index in range(12):
        port.take()
        port.publish_result(index, 1, 1, b"", bytes(4 << 20))
    done = []
    while not channel.is_drained:
        assert gather.drain(channel) == []
        done.append(gather.counts.done)
    assert done == [2, 4, 6, 8, 10, 11, 12]
    gather.clear()
    assert gather.drain(channel) == []


@settings(deadline=None)
@given(st.permutations(range(20)), st.booleans())
def test_long_results_lie_in_blocks_that_are_used_again(order: list[int], in_order: bool) -> None:
    """Each travels in several records; more of them wait at once than blocks are kept."""
    gather = _core.Gather(in_order=in_order, write_header=False)
    workers = [Worker() for _ in range(3)]
    rows = [bytes([65 + index]) * (40_000 - 2000 * index) for index in range(20)]  # the last in one record each
    output = b""
    for position, index in enumerate(order):
        one = workers[position % 3]
        one.answer(index, rows[index], columns=b"letters\n" * (index % 2))
        assert gather.drain(one.channel) == []
        if position % 3 == 0:
            output += checked(gather)
    output += checked(gather)
    assert output == b"".join(rows[index] for index in (sorted(order) if in_order else order))
    assert gather.held_bytes == 0
    for one in workers:
        one.close()


def test_what_waits_for_its_commit_does_not_slow_the_next_drains_down(worker: Worker) -> None:
    gather = _core.Gather()
    for index in range(900):
        worker.answer(index, b"x" * 10_000)
        gather.drain(worker.channel)
    assert len(gather.output()) == 9_000_000  # more than one drain adds
    for index in range(900, 905):
        worker.answer(index, row(index))
    assert gather.drain(worker.channel) == []
    assert gather.counts.done == 905
