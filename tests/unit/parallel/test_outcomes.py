"""What notes and deaths mean, over real rings without processes: who is blamed, and for what."""

from __future__ import annotations

from typing import Any

import pytest
from unit.parallel.driven import Table, Worker, death

from batchflow import _core
from batchflow._core import Channel, Note
from batchflow.errors import InternalError
from batchflow.model import Dispatch, FailureEntry, Shortfall, WorkerExit
from batchflow.parallel.outcomes import InitTrouble
from batchflow.tables.typed import schema_metadata


def test_what_a_dead_worker_had_begun_is_to_blame_and_nothing_else() -> None:
    table = Table()
    table.ask(3)
    table.worker.port.take()
    assert table.bury() == Dispatch(0, 1, 0, 3)
    (failure,) = table.failures
    assert (failure.first_item, failure.item_count, failure.kind) == (0, 3, "died")
    entry = failure.entry
    assert (entry["mini_batch"], entry["attempts"], entry["signal"]) == (0, 1, 9)
    assert entry["message"] == "worker 7 died: signal 9 (SIGKILL), mini_batch_index=0, attempt=1, pid=70"
    assert entry["output_tail"] == "last words"
    assert (table.plan.lost_count, table.plan.ready_count, table.plan.in_flight_count) == (1, 2, 0)


def test_a_worker_that_had_begun_nothing_is_not_blamed() -> None:
    table = Table()
    table.ask(3)
    assert table.bury() is None
    assert (table.plan.lost_count, table.plan.ready_count, table.plan.attempts) == (0, 3, 0)


def test_what_a_dead_worker_had_published_counts_before_anybody_is_blamed() -> None:
    table = Table()
    table.ask(3)
    table.worker.answer()
    table.worker.answer()
    assert table.bury() is None
    assert table.commit() == b"0\n1\n2\n3\n4\n5\n"
    assert (table.plan.succeeded_count, table.plan.ready_count, table.plan.lost_count) == (2, 1, 0)


def test_all_that_a_dead_worker_had_published_counts_however_much_it_is() -> None:
    """One drain stops after some megabytes of output."""
    table = Table()
    table.worker = Worker(channel=Channel(completion_size=1 << 26))
    table.ask(4)
    for _ in range(3):
        table.worker.answer(rows=b"x" * (9 << 20) + b"\n")
    table.worker.port.take()
    assert table.bury() == Dispatch(3, 1, 9, 1)
    table.commit()
    assert (table.plan.succeeded_count, table.plan.lost_count) == (3, 1)
    assert table.failed == [(9, 1)]


def test_a_worker_that_ended_with_its_zygote_is_not_blamed() -> None:
    table = Table()
    table.ask(2)
    table.worker.port.take()
    assert table.bury(with_zygote=True) is None
    assert (table.plan.ready_count, table.plan.lost_count) == (2, 0)


def test_a_timeout_names_the_limit_and_keeps_the_stack() -> None:
    table = Table()
    table.ask(1)
    table.worker.port.take()
    assert table.bury(timed_out=True, stack="File score.py")
    assert table.failures[0].kind == "timeout"
    assert (table.entry["error_type"], table.entry["traceback"]) == ("TimeoutError", "File score.py")
    assert table.entry["message"] == (
        "run() took longer than run_invocation_timeout=60 s, worker 7 was killed, mini_batch_index=0, attempt=1, pid=70"
    )


def test_a_worker_that_wrote_over_foreign_memory_is_to_blame() -> None:
    table = Table()
    table.ask(2)
    died = death(table.worker.channel)
    assert table.outcomes.bury(died, damaged=True, run_timeout_s=60) == Dispatch(0, 1, 0, 3)
    assert table.entry["message"] == (
        "worker 7 wrote over memory that is not its own and was killed, mini_batch_index=0, attempt=1, pid=70"
    )


def test_peak_memory_is_told_where_it_is_known() -> None:
    table = Table()
    table.ask(1)
    table.worker.port.take()
    table.bury(peak_rss=5 << 30, exit=WorkerExit(7, 1, 70, None, 3))
    assert table.entry["message"].endswith(
        "died: exit code 3, mini_batch_index=0, attempt=1, pid=70, peak memory 5,120 MiB"
    )


def test_a_failed_attempt_is_ready_again_until_it_was_the_last() -> None:
    table = Table(attempts_max=2)
    table.ask(1)
    table.worker.fail(message="odd")
    assert table.read() == {"failed"}
    assert (table.plan.ready_count, table.outcomes.first_lost, table.failures) == (1, None, [])
    assert table.ask_again() == (0, 3, 2)
    table.worker.fail(message="odder")
    table.read()
    entry = table.entry
    assert (entry["message"], entry["worker"], entry["pid"], entry["attempts"]) == ("odder", 7, 70, 2)
    assert table.failed == [(0, 3)]
    assert table.outcomes.first_lost is not None


def test_what_waited_behind_a_lost_mini_batch_is_appended() -> None:
    table = Table()
    table.ask(3)
    table.worker.fail()
    table.worker.answer()
    table.worker.answer()
    table.read()
    assert table.outcomes.settle()
    assert bytes(table.gather.output()) == b"3\n4\n5\n6\n7\n8\n"
    assert not table.outcomes.settle()


def test_a_shortfall_is_booked_once() -> None:
    table = Table()
    table.ask(4)
    for returned in (3, 1, 3, 1):
        table.worker.answer(returned=returned)
    table.read()
    table.commit()
    entry = {"mini_batch": 1, "attempts": 1, "returned_count": 1, "missing_count": 2}
    assert table.failures == [FailureEntry(3, 3, "shortfall", entry)]
    assert table.outcomes.first_shortfall == Shortfall(1, 1, 1, 2, 3, 3)
    assert (table.plan.succeeded_item_count, table.plan.failed_item_count, table.plan.done) == (8, 2, True)


TYPED = [schema_metadata([("n", kind)])[b"batchflow"] for kind in ("int64", "bool")]


@pytest.mark.parametrize(
    ("right", "wrong", "told"),
    [
        (b"a,b\n", b"a,c\n", ", expected 'a,b', got 'a,c'"),
        (*TYPED, ": column 'n' is of type bool, expected int64"),
    ],
)
def test_columns_that_differ_fail_the_attempt_and_name_both(right: bytes, wrong: bytes, told: str) -> None:
    table = Table()
    table.ask(3)
    table.worker.answer(columns=right)
    table.worker.answer(columns=wrong)
    table.worker.answer(columns=right)
    table.read()
    table.commit()
    assert (table.failures[0].kind, table.entry["error_type"]) == ("contract", "ContractError")
    assert table.failed == [(3, 3)]
    assert table.entry["message"] == f"the columns differ from those of the first mini-batch with rows{told}"
    assert (table.plan.succeeded_count, table.plan.lost_count) == (2, 1)


def test_several_results_behind_a_lost_mini_batch_may_have_other_columns() -> None:
    table = Table()
    table.ask(4)
    table.worker.fail()
    table.worker.answer(columns=b"a\n")
    table.worker.answer(columns=b"b\n")
    table.worker.answer(columns=b"c\n")
    table.read()
    table.commit()
    assert table.failed == [(0, 3), (6, 3), (9, 1)]
    assert (table.plan.succeeded_count, table.plan.lost_count, table.plan.done) == (1, 3, True)


def test_shortfalls_go_into_the_journal_with_their_rows_and_into_the_books_after() -> None:
    table = Table()
    table.ask(1)
    table.worker.answer(returned=1)
    table.read()
    assert len(table.outcomes.take_failures()) == 1
    assert table.plan.failed_item_count == 0
    assert table.outcomes.settle()
    assert (table.plan.failed_item_count, table.plan.succeeded_item_count) == (2, 1)
    assert table.outcomes.take_failures() == []


def test_users_see_numbers_and_no_ordinals() -> None:
    table = Table(gaps=((3, 6), (9, 10)), input_count=100)
    table.ask(2)
    table.worker.fail()
    table.worker.port.take()
    table.bury()
    assert [failure.entry["mini_batch"] for failure in table.failures] == [1, 3]
    assert table.failed == [(3, 3), (9, 1)]
    assert "mini_batch_index=109, attempt=1" in table.failures[1].entry["message"]


def test_a_worker_that_cannot_get_ready_and_one_that_writes_wildly_are_told() -> None:
    table = Table()
    table.worker.port.publish_init_failed(b'{"message": "no model"}')
    assert table.read() == {"init_failed"}
    assert table.outcomes.read_note(Note(_core.DAMAGED, 0, 0, 0, 0, 0, b"", b""), 7, 70) == "damaged"


def test_an_attempt_without_memory_is_told() -> None:
    table = Table()
    table.ask(2)
    table.worker.fail(error_type="MemoryError")
    table.worker.fail(error_type="numpy.core._exceptions._ArrayMemoryError")
    assert table.read() == {"no_memory"}
    assert table.failed == [(0, 3), (3, 3)]


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        (
            {"memory_held": 3 << 30},
            "worker 7 held 3,072 MiB in run(), far more than worker_memory=2,048 MiB, and was killed, "
            "mini_batch_index=0, attempt=1, pid=70, items 0 to 2",
        ),
        (
            {"out_of_memory": True, "peak_rss": 5 << 30},
            "worker 7 was killed by the kernel because memory ran out, peak memory 5,120 MiB, "
            "mini_batch_index=0, attempt=1, pid=70, items 0 to 2",
        ),
    ],
)
def test_a_death_of_too_much_memory_has_a_kind_of_its_own(facts: dict[str, Any], message: str) -> None:
    table = Table()
    table.ask(1)
    table.worker.port.take()
    died = death(table.worker.channel, **facts)
    table.outcomes.bury(died, damaged=False, run_timeout_s=60, worker_memory=2 << 30)
    assert (table.failures[0].kind, table.entry["error_type"]) == ("memory", "OutOfMemoryError")
    assert table.entry["message"] == message


def test_what_waited_and_has_other_columns_fails_when_it_is_appended_early() -> None:
    table = Table(gaps=((0, 12),))
    slow = Worker(8)
    table.ask(1)
    table.ask(1, slow)
    table.ask(2)
    table.worker.answer(columns=b"a\n")
    table.worker.answer(columns=b"b\n")
    table.worker.answer(columns=b"a\n")
    table.read()
    table.outcomes.spill()
    assert table.failed == [(6, 3)]
    assert table.commit() == b"a\n0\n1\n2\n9\n10\n11\n"


def test_a_note_of_unknown_kind_is_a_bug() -> None:
    with pytest.raises(InternalError, match=r"^a note of unknown kind, kind=99$"):
        Table().outcomes.read_note(Note(99, 0, 1, 0, 0, 0, b"", b""), 0, 0)


def test_a_worker_that_gets_ready_makes_up_for_failures() -> None:
    table = Table()
    table.outcomes.init.failed(7, {"message": "x"})
    table.worker.port.publish_ready()
    assert table.read() == {"ready"}
    assert table.outcomes.init.in_a_row == 0


def test_init_that_fails_is_counted_with_its_description() -> None:
    table = Table()
    table.worker.port.publish_init_failed(b'{"message": "no model"}')
    assert table.read() == {"init_failed"}
    assert (table.outcomes.init.in_a_row, table.outcomes.init.last) == (1, {"message": "no model"})


def test_when_getting_ready_is_hopeless() -> None:
    trouble = InitTrouble()
    for worker in (0, 1, 0):
        assert not trouble.no_success
        trouble.failed(worker, {"message": "x"})
    assert trouble.no_success
    assert not trouble.has_no_hope(0)
    trouble.failed(0)
    assert trouble.has_no_hope(0)
    assert trouble.last == {"message": "x"}
    trouble.ready(1)
    assert not trouble.no_success
    assert trouble.has_no_hope(0)
    for _ in range(3):
        trouble.failed(1)
    assert not trouble.no_success  # one was ready once
    assert trouble.has_no_hope(1)
