"""Parts of a mini-batch that is isolated: what becomes of their results, over real rings without processes."""

from __future__ import annotations

from typing import Any

import pytest
from unit.parallel.driven import Table, Worker

from batchflow.model import Dispatch, FailureEntry
from batchflow.parallel.pieces import Piece


def isolating(*, size: int = 3, gaps: tuple[tuple[int, int], ...] = ((0, 3),), **values: Any) -> Table:
    """The first mini-batch has failed as a whole."""
    table = Table(isolate=True, size=size, gaps=gaps, **values)
    table.ask(1)
    table.worker.fail()
    table.read()
    assert table.plan.is_isolating(0)
    return table


def test_a_bad_item_costs_only_itself() -> None:
    table = isolating(gaps=((0, 10),))
    table.ask(3)
    for _ in range(3):
        table.worker.answer()
    # One item is good, so the fault is in the other two, which go one by one.
    assert table.ask_again() == (0, 1, 2)
    table.worker.answer()
    assert table.read() == {"part"}
    assert table.commit() == b""  # all waits for the first mini-batch
    assert table.ask_again() == (1, 1, 2)
    table.worker.fail(message="bad")
    table.read()
    assert table.failed == [(1, 1)]
    assert (table.entry["mini_batch"], table.entry["attempts"], table.entry["message"]) == (0, 2, "bad")
    assert table.outcomes.first_lost is not None
    assert table.outcomes.first_lost.dispatch == Dispatch(0, 2, 1, 1, is_part=True)
    assert table.pieces.held_bytes > 0
    assert table.ask_again() == (2, 1, 2)
    table.worker.answer()
    table.read()
    extents = [(one.first_item, one.item_count, one.attempt) for one in table.gather.take_extents()]
    assert extents == [(0, 1, 2), (2, 8, 2)]
    assert table.commit() == b"0\n2\n3\n4\n5\n6\n7\n8\n9\n"
    assert (table.plan.done, table.plan.succeeded_item_count, table.plan.failed_item_count) == (True, 9, 1)
    assert (table.plan.failed_mini_batch_count, table.plan.lost_count, table.pieces.held_bytes) == (1, 0, 0)


def test_a_mini_batch_of_which_nothing_is_left_holds_nobody_up() -> None:
    table = isolating(gaps=((0, 6),))
    table.ask(1)
    table.worker.answer()
    while table.plan.ready_count:
        table.ask_again()
        table.worker.fail()
        table.read()
    assert table.commit() == b"3\n4\n5\n"
    assert table.failed == [(0, 1), (1, 1), (2, 1)]
    assert (table.plan.lost_count, table.plan.failed_mini_batch_count, table.plan.done) == (1, 1, True)


def test_a_fault_that_is_gone_when_the_items_are_apart_loses_nothing() -> None:
    table = isolating()
    while not table.plan.done:
        table.ask_again()
        table.worker.answer()
        table.read()
        table.commit()
    assert table.failed == []
    assert (table.plan.succeeded_item_count, table.plan.failed_mini_batch_count) == (3, 0)


def test_a_death_in_a_part_costs_the_part_and_is_known_as_such() -> None:
    table = isolating()
    table.ask_again()
    table.worker.port.take()
    assert table.bury() == Dispatch(0, 2, 0, 1, is_part=True)
    assert table.failed == [(0, 1)]
    assert table.failures[0].kind == "died"
    assert table.entry["message"] == "worker 7 died: signal 9 (SIGKILL), mini_batch_index=0, attempt=2, pid=70"


def test_parts_that_a_dead_worker_had_not_begun_come_back_as_parts() -> None:
    table = isolating(gaps=((0, 6),))
    table.ask(1)
    table.worker.fail()
    table.read()
    assert [table.ask_again(), table.ask_again()] == [(0, 1, 2), (3, 1, 2)]
    assert table.bury() is None
    assert table.plan.take_ready() == Dispatch(0, 2, 0, 1, is_part=True)
    assert table.plan.take_ready() == Dispatch(1, 2, 3, 1, is_part=True)


def test_a_shortfall_of_a_part_is_one_among_its_items_alone() -> None:
    table = isolating()
    for returned in (0, 1, 1):
        table.ask_again()
        table.worker.answer(returned=returned, rows=None if returned else b"")
        table.read()
    assert table.commit() == b"1\n2\n"
    entry = {"mini_batch": 0, "attempts": 2, "returned_count": 0, "missing_count": 1}
    assert table.failures == [FailureEntry(0, 1, "shortfall", entry)]
    assert (table.plan.done, table.plan.succeeded_item_count, table.plan.failed_item_count) == (True, 2, 1)
    assert table.plan.failed_mini_batch_count == 1  # for the loss and the shortfall together


def test_what_waited_for_isolation_may_have_other_columns() -> None:
    """The last part of the first mini-batch comes, and with it the turn of all that waited."""
    table = isolating(gaps=((0, 9),))
    table.ask(2)
    table.worker.answer(columns=b"b\n")
    table.worker.answer(columns=b"a\n")
    for _ in range(3):
        table.ask_again()
        table.worker.answer(columns=b"a\n")
        table.read()
    assert table.commit() == b"a\n0\n1\n2\n"  # the third one waits for the second
    assert table.plan.is_isolating(1)
    assert table.ask_again() == (3, 1, 2)


# Columns


@pytest.mark.parametrize("in_order", [True, False])
def test_a_part_with_other_columns_than_the_rows_before_fails(in_order: bool) -> None:
    table = Table(isolate=True, gaps=((0, 6),), in_order=in_order)
    table.ask(2)
    table.worker.answer(columns=b"a\n")
    table.worker.fail()
    table.read()
    assert table.ask_again() == (3, 1, 2)
    table.worker.answer(columns=b"b\n")
    table.read()
    assert table.failed == [(3, 1)]
    assert table.entry["message"].endswith("expected 'a', got 'b'")
    assert (table.entry["worker"], table.entry["pid"]) == (7, 70)


def test_a_part_waits_until_an_earlier_mini_batch_has_named_the_columns() -> None:
    table = Table(isolate=True, gaps=((0, 6),))
    first = Worker(8)
    table.ask(1, first)
    table.ask(1)
    table.worker.fail()
    table.read()
    assert table.ask_again() == (3, 1, 2)
    table.worker.answer(columns=b"b\n")
    table.read()
    assert (table.failed, table.pieces.held_bytes, table.plan.ready_count) == ([], 0, 0)
    first.answer(columns=b"a\n")
    table.read(first)
    assert table.failed == [(3, 1)]
    assert table.entry["message"].endswith("expected 'a', got 'b'")


def test_parts_name_the_columns_in_the_order_of_their_items() -> None:
    """Items 0, 1 and 2, 3 and after: who comes first to the driver does not matter."""
    table = isolating(size=6, gaps=((0, 6),))
    first, second = Worker(8), Worker(9)
    assert table.ask_again() == (0, 3, 2)
    table.worker.fail()
    table.read()
    assert table.ask_again(first) == (0, 1, 3)
    assert table.ask_again(second) == (3, 3, 2)
    second.answer(columns=b"b\n")
    table.read(second)
    assert table.pieces.held_bytes == 0  # it waits for those before it
    first.answer(columns=b"a\n")
    table.read(first)
    assert table.pieces.held_bytes > 0
    # The first item names the columns.  The others are not yet known to be bad as a whole, now they are.
    assert table.ask_again() == (1, 1, 3)
    assert table.ask_again() == (3, 1, 3)


def test_parts_of_the_first_mini_batch_may_have_no_rows() -> None:
    table = isolating()
    for columns, rows in ((b"x\n", b""), (b"a\n", b"1\n"), (b"a\n", b"2\n")):
        table.ask_again()
        table.worker.answer(columns=columns, rows=rows)
        table.read()
    assert table.commit() == b"a\n1\n2\n"
    assert table.failed == []


def test_columns_that_others_named_in_the_meantime_lose_what_has_other_ones() -> None:
    """Without an order whatever comes first names them, even while a mini-batch is isolated."""
    table = isolating(gaps=((0, 6),), in_order=False)
    table.ask_again()
    table.worker.answer(columns=b"a\n")
    table.read()
    assert table.pieces.columns(0) == b"a\n"
    other = Worker(8)
    table.ask(1, other)
    other.answer(columns=b"b\n")
    table.read(other)
    while table.plan.ready_count:
        table.ask_again()
        table.worker.answer(columns=b"b\n")
        table.read()
    assert table.failed == [(0, 1)]
    assert table.entry["message"].endswith("expected 'b', got 'a'")
    assert table.commit() == b"b\n3\n4\n5\n1\n2\n"
    assert (table.plan.done, table.plan.succeeded_item_count, table.plan.failed_item_count) == (True, 5, 1)
    assert table.plan.failed_mini_batch_count == 1


def test_an_item_lost_for_its_columns_is_told_when_the_right_ones_are_committed() -> None:
    """As long as no row with them is, a crash may make other columns the right ones."""
    table = isolating(gaps=((0, 2),), size=2)
    table.ask_again()
    table.worker.answer(columns=b"a\n")
    table.read()
    table.ask_again()
    table.worker.port.take()
    table.worker.port.publish_result(0, 2, 1, b"b\n", b"1\n")
    kept = table.outcomes._put
    table.outcomes._put = lambda *put: []  # type: ignore[method-assign]
    table.read()
    assert table.plan.failed_item_count == 1
    assert table.failed == []
    table.outcomes._put = kept  # type: ignore[method-assign]
    kept(0, 2, [Piece(0, 1, 1, b"a\n", b"0\n")])
    assert table.failed == [(1, 1)]
    assert table.commit() == b"a\n0\n"


# The step ends early


def test_what_was_saved_is_handed_over_and_the_rest_is_left() -> None:
    table = isolating(size=4, gaps=((0, 8),))
    table.ask(1)
    table.worker.answer()
    assert table.ask_again() == (0, 2, 2)
    table.worker.answer()
    table.read()
    table.outcomes.hand_over()
    extents = [(one.first_item, one.item_count) for one in table.gather.take_extents()]
    assert extents == [(0, 2), (4, 4)]
    assert table.commit() == b"0\n1\n4\n5\n6\n7\n"
    assert (table.plan.succeeded_item_count, table.failed) == (6, [])
    table.outcomes.hand_over()
    assert table.commit() == b""
