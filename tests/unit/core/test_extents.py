"""The gather against a model in plain Python: whatever comes in whatever order, its extents tile the items and say
where their rows are.

The model keeps lists and slow loops; it shares nothing with the core but the definition of CRC-32C.
"""

from __future__ import annotations

import os
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from batchflow import _core
from batchflow._core import Extent

Piece = tuple[int, int, int, bytes, bytes]
"""Start, count, returned, columns, rows."""

SIZE = 4
COUNT = 30
"""Mini-batches, with a gap of three items in the middle."""


def first_item(index: int) -> int:
    return SIZE * index + (3 if index >= COUNT // 2 else 0)


def crc32c(content: bytes) -> int:
    value = 0xFFFFFFFF
    for byte in content:
        value ^= byte
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
    return value ^ 0xFFFFFFFF


class Model:
    """What a gather must do."""

    def __init__(self, *, in_order: bool, any_items: bool, write_header: bool, columns: bytes) -> None:
        self.in_order, self.any_items, self.write_header, self.columns = in_order, any_items, write_header, columns
        self.turn = 0
        self.done: set[int] = set()
        self.waiting: dict[int, tuple[int, list[Piece]]] = {}
        self.out = b""
        self.extents: list[Extent] = []
        self.shortfalls: list[tuple[int, ...]] = []
        self.odd: list[tuple[int, ...]] = []
        self.counts = [0, 0, 0, 0, 0]

    def offer(self, index: int, attempt: int, pieces: list[Piece]) -> bool:
        if index in self.done or index in self.waiting:
            return False
        if self.in_order and index > self.turn:
            self.waiting[index] = (attempt, pieces)
        elif self.append(index, attempt, pieces):
            while self.turn in self.waiting and self.append(self.turn, *self.waiting.pop(self.turn)):
                pass
        return True

    def spill(self) -> None:
        named = [piece for _, pieces in self.waiting.values() for piece in pieces if piece[3] and piece[4]]
        if self.columns or not named:
            for index in sorted(self.waiting):
                self.append(index, *self.waiting.pop(index))

    def append(self, index: int, attempt: int, pieces: list[Piece]) -> bool:
        columns = self.columns
        for _, _, _, names, rows in pieces:
            columns = columns or (names if rows else b"")
            if names and rows and names != columns:
                start, stop = pieces[0][0], pieces[-1][0] + pieces[-1][1]
                self.odd.append((index, attempt, sum(piece[2] for piece in pieces), start, stop - start, names))
                return False
        self.done.add(index)
        self.turn = max(self.turn, index + 1)
        self.counts[0] += bool(pieces)
        for number, (start, count, returned, names, rows) in enumerate(pieces):
            if names and rows and not self.columns:
                self.columns = names
                self.out += names if self.write_header else b""
            good = count if self.any_items else min(count, returned)
            if good < count:
                self.shortfalls.append((index, attempt, returned, count - good, start, count))
            offset = len(self.out)
            self.out += rows
            more = [good, count - good, returned, max(0, returned - count)]
            self.counts = [self.counts[0], *(a + b for a, b in zip(self.counts[1:], more, strict=True))]
            self.book(
                Extent(start, count, offset, len(rows), 0, returned, count - good, attempt, 1 if number == 0 else 0)
            )
        return True

    def book(self, new: Extent) -> None:
        last = self.extents[-1] if self.extents else None
        if last and self.goes_on(last, new):
            self.extents.pop()
            new = Extent(
                last.first_item,
                last.item_count + new.item_count,
                last.offset,
                last.size + new.size,
                0,
                last.returned + new.returned,
                0,
                max(last.attempt, new.attempt),
                last.mini_batch_count + new.mini_batch_count,
            )
        self.extents.append(new._replace(checksum=crc32c(self.out[new.offset : new.offset + new.size])))

    def goes_on(self, last: Extent, new: Extent) -> bool:
        items = last.first_item + last.item_count == new.first_item
        return items and last.offset + last.size == new.offset and not last.missing and not new.missing


class GatherMachine(RuleBasedStateMachine):
    @initialize(
        in_order=st.sampled_from([True, True, False]),
        any_items=st.booleans(),
        write_header=st.booleans(),
        columns=st.sampled_from([b"", b"", b"a,b\n"]),
    )
    def begin(self, **options: Any) -> None:
        self.gather, self.model = _core.Gather(**options), Model(**options)
        self.channel = _core.Channel(request_size=4096, completion_size=1 << 14)
        self.port = _core.Port(self.channel.fd, -1, 1)
        self.booked: list[int] = []  # items

    def rows(self, start: int, returned: int) -> bytes:
        return b"".join(b"%d of %d\n" % (number, start) for number in range(returned))

    def columns(self, taste: int) -> bytes:
        """Mostly the same, now and then none or others."""
        return b"" if taste == 0 else b"other\n" if taste == 1 else b"a,b\n"

    def compare(self, notes: list[_core.Note]) -> None:
        assert [(*note[1:7], note.kind, note.payload) for note in notes] == [
            (*odd, _core.COLUMNS_DIFFER, b"") for odd in self.model.odd
        ]
        self.model.odd = []

    @rule(
        index=st.integers(0, COUNT - 1),
        returned=st.integers(0, SIZE + 1),
        attempt=st.integers(1, 3),
        taste=st.integers(0, 9),
    )
    def answer(self, index: int, returned: int, attempt: int, taste: int) -> None:
        start, columns, rows = first_item(index), self.columns(taste), self.rows(first_item(index), returned)
        assert self.channel.run(index, attempt, start, SIZE)
        self.port.take()
        self.port.publish_result(index, attempt, returned, columns, rows)
        notes = self.gather.drain(self.channel)
        if self.model.offer(index, attempt, [(start, SIZE, returned, columns, rows)]):
            self.compare(notes)
        else:
            assert [note.kind for note in notes] == [_core.DAMAGED]

    @rule(index=st.integers(0, COUNT - 1), saved=st.lists(st.integers(0, 2), max_size=SIZE), taste=st.integers(0, 19))
    def put(self, index: int, saved: list[int], taste: int) -> None:
        """Items one by one: lost, or with as many elements as it says, minus one."""
        pieces = []
        for start, kind in enumerate(saved, first_item(index)):
            if kind:
                rows = self.rows(start, kind - 1)
                pieces.append((start, 1, kind - 1, self.columns(taste if start % 2 else 5), rows))
        if self.model.offer(index, 2, pieces):
            self.compare(self.gather.put(index, 2, pieces))
        else:
            with pytest.raises(ValueError, match=rf"^mini-batch {index} is appended or put already$"):
                self.gather.put(index, 2, pieces)

    @rule()
    def spill(self) -> None:
        self.model.spill()
        self.compare(self.gather.spill())

    @rule()
    def take(self) -> None:
        out, extents = bytes(self.gather.output()), self.gather.take_extents()
        assert out == self.model.out
        assert extents == self.model.extents
        assert self.gather.take_extents() == []
        self.gather.clear()
        assert self.gather.take_shortfalls() == self.model.shortfalls
        # What the extents promise, said once more without the model.
        content = b"".join(out[extent.offset : extent.offset + extent.size] for extent in extents)
        assert content == out.replace(self.model.columns, b"", 1)
        for extent in extents:
            self.booked += range(extent.first_item, extent.first_item + extent.item_count)
            assert extent.checksum == crc32c(out[extent.offset : extent.offset + extent.size])
        assert len(self.booked) == len(set(self.booked)), "an item is in one extent at most"
        self.model.out, self.model.extents, self.model.shortfalls = b"", [], []

    @invariant()
    def the_books_agree(self) -> None:
        if not hasattr(self, "model"):
            return
        assert self.gather.next == next(index for index in range(COUNT + 1) if index not in self.model.done)
        assert self.gather.waiting == len(self.model.waiting)
        assert (self.gather.held_bytes > 0) is bool(self.model.waiting)
        assert list(self.gather.counts) == self.model.counts
        assert self.gather.columns == self.model.columns


GatherMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=60, deadline=None)
TestTheGatherAgainstTheModel = GatherMachine.TestCase


def done(gather: _core.Gather, index: int, *, size: int = SIZE, rows: bytes | None = None, attempt: int = 1) -> None:
    content = b"row %d\n" % index if rows is None else rows
    assert gather.put(index, attempt, [(SIZE * index, size, size, b"", content)]) == []


def test_neighbours_are_one_extent_and_what_is_taken_is_taken() -> None:
    gather = _core.Gather()
    for index in range(3):
        done(gather, index, attempt=3 - index)
    assert bytes(gather.output()) == b"row 0\nrow 1\nrow 2\n"
    checksum = _core.crc32c(b"row 0\nrow 1\nrow 2\n")
    assert gather.take_extents() == [(0, 12, 0, 18, checksum, 12, 0, 3, 3)]
    done(gather, 3)
    assert [extent[:4] for extent in gather.take_extents()] == [(12, 4, 18, 6)]
    gather.clear()
    done(gather, 4)
    assert [extent[:4] for extent in gather.take_extents()] == [(16, 4, 0, 6)]


def test_the_header_is_in_no_extent() -> None:
    gather = _core.Gather()
    assert gather.put(0, 1, [(0, 4, 4, b"a\n", b"")]) == [], "columns without rows say nothing"
    assert gather.put(1, 1, [(4, 4, 4, b"a,b\n", b"1,2\n")]) == []
    assert bytes(gather.output()) == b"a,b\n1,2\n"
    assert [extent[:4] for extent in gather.take_extents()] == [(0, 4, 0, 0), (4, 4, 4, 4)]


def test_of_a_mini_batch_in_several_extents_the_first_counts_it() -> None:
    gather = _core.Gather()
    assert gather.put(0, 2, [(0, 1, 1, b"", b"0\n"), (1, 1, 1, b"", b"1\n"), (3, 1, 1, b"", b"3\n")]) == []
    extents = gather.take_extents()
    assert [(extent.first_item, extent.item_count, extent.mini_batch_count) for extent in extents] == [
        (0, 2, 1),
        (3, 1, 0),
    ]
    assert gather.counts == (1, 3, 0, 3, 0)


def test_what_comes_behind_a_spill_is_appended_at_once() -> None:
    gather = _core.Gather()
    done(gather, 1)
    done(gather, 4)
    assert (gather.next, gather.waiting) == (0, 2)
    assert gather.spill() == []
    assert (gather.next, gather.waiting, gather.held_bytes) == (0, 0, 0)
    done(gather, 2)
    done(gather, 5)
    done(gather, 7)
    assert bytes(gather.output()) == b"row 1\nrow 4\nrow 2\nrow 5\n"
    done(gather, 0)
    assert gather.next == 3
    done(gather, 3)
    assert gather.next == 6
    done(gather, 6)
    assert (gather.next, gather.waiting) == (8, 0)
    assert [extent[:2] for extent in gather.take_extents()] == [
        (4, 4),
        (16, 4),
        (8, 4),
        (20, 4),
        (0, 4),
        (12, 4),
        (24, 8),
    ]


def test_many_may_be_left_behind() -> None:
    """The bits that say which are done outgrow their first room, also across its end."""
    gather = _core.Gather()
    done(gather, 0)
    for index in range(2, 5_000, 2):
        done(gather, index, rows=b"")
        gather.spill()
    assert gather.next == 1
    for index in range(4_999, 0, -2):
        assert gather.next == 1
        done(gather, index, rows=b"")
    assert gather.next == 5_000
    with pytest.raises(ValueError, match=r"^mini-batch 4999 is appended or put already$"):
        gather.put(4_999, 1, [])


def test_nothing_is_spilled_that_would_name_the_columns_before_the_first_of_the_input() -> None:
    gather = _core.Gather()
    assert gather.put(1, 1, [(4, 4, 0, b"", b"")]) == []
    assert gather.put(2, 1, [(8, 4, 1, b"b\n", b"1\n")]) == []
    assert gather.spill() == []
    assert (gather.waiting, gather.columns) == (2, b"")
    assert gather.put(0, 1, [(0, 4, 1, b"a\n", b"1\n")]) == [
        (_core.COLUMNS_DIFFER, 2, 1, 1, 8, 4, b"b\n", b""),
    ]
    assert (gather.waiting, gather.next, gather.columns) == (0, 2, b"a\n")


def test_a_spill_gives_back_all_that_has_other_columns() -> None:
    gather = _core.Gather(columns=b"a\n")
    for index in (1, 2, 3):
        assert gather.put(index, 1, [(4 * index, 4, 4, b"b\n" if index < 3 else b"a\n", b"1\n")]) == []
    assert [(note.kind, note.mini_batch_index) for note in gather.spill()] == [
        (_core.COLUMNS_DIFFER, 1),
        (_core.COLUMNS_DIFFER, 2),
    ]
    assert bytes(gather.output()) == b"1\n", "the header is in the file already"
    done(gather, 2)
    assert (gather.next, gather.counts.done) == (0, 2)


@pytest.mark.parametrize(
    ("pieces", "start"),
    [
        ([(4, 2, 2, b"", b""), (5, 1, 1, b"", b"")], 5),
        ([(4, 1, 1, b"", b""), (2, 1, 1, b"", b"")], 2),
        ([(9, 0, 0, b"", b"")], 9),
    ],
)
def test_pieces_must_be_in_order(pieces: list[Piece], start: int) -> None:
    gather = _core.Gather()
    message = rf"^pieces overlap or are not in the order of their items, start={start}$"
    with pytest.raises(ValueError, match=message):
        gather.put(1, 1, pieces)
    assert (gather.waiting, gather.next) == (0, 0)


def test_pieces_of_other_types_are_refused() -> None:
    gather = _core.Gather()
    odd: Any = [(0, 1, 1, b"", "text")]
    with pytest.raises(TypeError):
        gather.put(0, 1, odd)
    with pytest.raises(OverflowError):
        gather.put(0, 1, [(-1, 1, 1, b"", b"")])
    with pytest.raises(ValueError, match="to unpack"):
        gather.put(0, 1, [(0, 1)])  # type: ignore[list-item]
    assert (gather.next, gather.waiting) == (0, 0)


def test_a_part_is_handed_on_and_never_gathered() -> None:
    event_fd = os.eventfd(0, os.EFD_NONBLOCK)
    channel = _core.Channel()
    port = _core.Port(channel.fd, event_fd, 1)
    gather = _core.Gather()
    assert channel.run(7, 3, 30, 2, part=True)
    assert channel.flights() == [(7, 3, 30, 2)]
    assert port.take() == (7, 3, 30, 2)
    port.publish_result(7, 3, 2, b"a,b\n", b"1,2\n3,4\n")
    assert gather.drain(channel) == [(_core.PART, 7, 3, 2, 30, 2, b"a,b\n", b"1,2\n3,4\n")]
    assert (gather.waiting, gather.columns, gather.counts.done) == (0, b"", 0)
    assert channel.run(7, 4, 30, 1, part=True)
    port.take()
    port.publish_failure(7, 4, b"{}")
    assert gather.drain(channel) == [(_core.FAILURE, 7, 4, 0, 30, 1, b"", b"{}")]
    os.close(event_fd)
