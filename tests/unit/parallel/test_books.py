"""The books of a parallel step, over real rings and a real journal: what is booked when, and what a later run finds."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from unit.parallel.desk import ALL, Desk, finished, work_off
from unit.parallel.driven import Worker
from unit.parallel.played_disk import PlayedDisk

from batchflow.control import StopLevel
from batchflow.errors import InternalError, JournalError, NoRoomError, ResourceError
from batchflow.mini_batches import MiniBatches
from batchflow.model import Receipt
from batchflow.parallel import books as room
from batchflow.parallel.books import DISK_FULL_WAIT_S, SPILL_FULL_S, SPILL_S
from batchflow.parallel.inputs import FileItems, Split, StepInputs


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    desk = Desk(tmp_path)
    yield desk
    desk.books.close()


# Committing


def test_nothing_is_committed_before_it_is_due(desk: Desk) -> None:
    table = desk.begin()
    assert desk.books.may_commit
    table.ask(2)
    table.worker.answer()
    table.read()
    assert desk.books.commit(0, at_once=False)  # the first at once
    table.worker.answer()
    table.read()
    assert not desk.books.commit(0, at_once=False)
    assert (desk.content(), table.plan.succeeded_count) == (b"0\n1\n2\n", 1)
    desk.clock.advance(0.3)
    assert desk.books.commit(0, at_once=False)
    assert (desk.content(), table.plan.succeeded_count) == (b"0\n1\n2\n3\n4\n5\n", 2)
    desk.clock.advance(10)
    assert not desk.books.commit(0, at_once=True)  # there is nothing new


def test_totals_are_those_of_all_runs(desk: Desk) -> None:
    table = desk.begin()
    table.ask(2)
    table.worker.answer(rows=b"a\nb\nc\nd\n", returned=4)
    table.worker.fail()
    table.read()
    desk.clock.advance(2)
    desk.books.commit(5, at_once=True)
    totals = desk.books.state.totals
    assert (totals.succeeded, totals.failed, totals.rows, totals.surplus) == (3, 3, 4, 1)
    assert (totals.failed_mini_batches, totals.attempts, totals.worker_deaths) == (1, 2, 5)
    assert desk.books.state.work_s == 2
    books = desk.again(run_id="r2")
    assert not books.resume()
    before = books.before
    assert (before.succeeded_items, before.failed_items, before.failed_mini_batches.count) == (3, 3, 1)
    assert (books.journal.grid.count, books.is_covered) == (4, False)
    table = desk.follow(gaps=books.journal.gaps(), input_count=10)
    table.ask(2)
    table.worker.answer(returned=4)
    table.worker.answer()
    table.read()
    desk.clock.advance(3)
    desk.books.commit(1, at_once=True)
    totals = desk.books.state.totals
    assert (totals.succeeded, totals.failed, totals.rows, totals.surplus) == (7, 3, 9, 2)
    assert (totals.attempts, totals.worker_deaths) == (4, 6)
    assert (desk.books.state.work_s, desk.books.is_covered) == (5, True)


def test_the_line_of_columns_is_written_once_and_known_to_later_runs(desk: Desk) -> None:
    table = desk.begin()
    for _ in range(2):
        table.ask(1)
        table.worker.answer(columns=b"a\n", rows=b"1\n2\n3\n")
        table.read()
        desk.books.commit(0, at_once=True)
    assert desk.content() == b"a\n1\n2\n3\n1\n2\n3\n"
    books = desk.again()
    assert not books.resume()
    assert (books.columns, books.state.header_size) == (b"a\n", 2)


def test_without_rows_nothing_but_counts_is_kept(tmp_path: Path) -> None:
    desk = Desk(tmp_path, append_row_to=None)
    table = desk.begin()
    work_off(table, rows=b"")
    desk.books.commit(0, at_once=True)
    receipt = finished(desk, table)
    assert (receipt.succeeded, receipt.rows_out, receipt.output, receipt.output_size) == (10, 0, None, 0)
    assert (receipt.output_checksum, desk.books.columns) == ("", b"")
    assert not (tmp_path / "rows.partial").exists()
    desk.books.close()


@pytest.mark.parametrize("why", ["time", "size"])
def test_what_waits_too_long_or_holds_too_much_is_committed_out_of_order(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    table, slow = desk.begin(), Worker(8)
    table.ask(1, slow)
    table.ask(2)
    table.worker.answer()
    table.worker.answer()
    table.read()
    desk.books.commit(0, at_once=True)
    assert (desk.content(), table.gather.waiting) == (b"", 2)
    if why == "size":
        monkeypatch.setattr(room, "WINDOW_SIZE", 1)
    for _ in range(10):
        desk.clock.advance((SPILL_FULL_S if why == "size" else SPILL_S) / 10)
        desk.books.commit(0, at_once=True)
        assert desk.content() == b""
    desk.clock.advance(0.1)
    desk.books.commit(0, at_once=True)
    assert (desk.content(), table.gather.waiting) == (b"3\n4\n5\n6\n7\n8\n", 0)
    slow.answer()
    table.read(slow)
    desk.books.commit(0, at_once=True)
    assert desk.content() == b"3\n4\n5\n6\n7\n8\n0\n1\n2\n"
    assert desk.books.journal.gaps() == [(9, 10)]


# A full disk


def test_for_room_is_waited_a_minute_and_told_once(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room.time, "sleep", desk.clock.advance)
    with PlayedDisk(desk.folder / "rows.partial") as disk:
        table = desk.begin()
        work_off(table)
        full = [True] * 5
        real = disk._pwrite
        monkeypatch.setattr(disk, "fault", "no room now")

        def still_full(*arguments: Any) -> int:
            if full:
                full.pop()
                disk.fault = "no room now"
            return real(*arguments)

        monkeypatch.setattr(room.Segment, "_write", lambda segment, view: still_full(segment._fd, view, segment.size))
        desk.books.commit(0, at_once=True)
    assert (desk.content(), desk.books.may_commit) == (ALL, True)
    assert desk.clock.now_s == 5 * 0.5
    (notice,) = desk.notices
    assert notice.startswith(f"cannot write {desk.folder}/rows.partial: No space left on device")
    assert notice.endswith(" bytes; waiting 60 s for room")


@pytest.mark.parametrize("why", ["time", "stop"])
def test_where_nobody_makes_room_or_the_run_is_stopped_it_ends(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    monkeypatch.setattr(room.time, "sleep", desk.clock.advance)
    if why == "stop":
        desk.stop.request(StopLevel.DRAIN)
    table = desk.begin()
    work_off(table)

    def full(*arguments: Any) -> None:
        raise NoRoomError("no room")

    monkeypatch.setattr(room.Segment, "append", full)
    with pytest.raises(NoRoomError, match="no room"):
        desk.books.commit(0, at_once=True)
    assert desk.clock.now_s == (0 if why == "stop" else DISK_FULL_WAIT_S)
    assert desk.notices == ["no room; waiting 60 s for room"]
    assert (desk.books.may_commit, desk.content(), desk.books.state.totals.succeeded) == (False, b"", 0)


def test_after_a_commit_that_failed_no_other_is_made(desk: Desk) -> None:
    with PlayedDisk(desk.folder / "rows.partial") as disk:
        table = desk.begin()
        work_off(table)
        disk.fault = "bad sync"
        with pytest.raises(ResourceError, match="Input/output error"):
            desk.books.commit(0, at_once=True)
    assert not desk.books.may_commit


# The end, and what a later run makes of it


def test_a_step_that_is_finished_is_finished_for_the_next_run_too(desk: Desk) -> None:
    table = desk.begin()
    work_off(table)
    desk.books.commit(2, at_once=True)
    receipt = finished(desk, table)
    assert receipt == Receipt(
        step="score",
        run_id="r1",
        items_in=10,
        succeeded=10,
        failed=0,
        mini_batches=4,
        failed_mini_batches=0,
        rows_out=10,
        surplus=0,
        output=f"{desk.folder}/rows",
        output_size=20,
        output_checksum=receipt.output_checksum,
        workers=2,
        elapsed_s=1.5,
        attempts=4,
        worker_deaths=2,
        details={
            "timings": {"list": 0.5},
            "inputs": {"files": {"items": 10, "failed": 0}},
            "skipped_hidden": 0,
            "skipped_special": 0,
        },
        failed_checksum="crc32c:00000000",
    )
    written = desk.job.state_folder / "receipt.json"
    assert json.loads(written.read_text()) == receipt.as_dict()
    written.unlink()
    books = desk.again(run_id="r2", output_name="/moved/rows")
    assert books.resume()
    expected = replace(receipt, run_id="r2", output="/moved/rows")
    assert books.past_receipt(lambda: desk.inputs) == expected
    assert json.loads(written.read_text()) == expected.as_dict()
    assert (books.state.run_id, books.is_covered) == ("r2", True)


def test_what_was_published_is_adopted_without_a_look_at_temporary_files(desk: Desk) -> None:
    work_off(table := desk.begin())
    desk.books.commit(0, at_once=True)
    finished(desk, table)
    (desk.folder / "rows.partial").rename(desk.folder / "rows")
    books = desk.again(run_id="r3", is_published=True)
    assert books.resume()
    assert books.past_receipt(lambda: desk.inputs).run_id == books.state.run_id == "r3"


def test_what_was_published_is_copied_and_opened_again_for_a_retry(desk: Desk) -> None:
    table = desk.begin()
    table.ask(4)
    for number in range(4):
        table.worker.fail() if number == 1 else table.worker.answer()
    table.read()
    desk.books.commit(0, at_once=True)
    assert finished(desk, table).failed == 3
    temporary, final = desk.folder / "rows.partial", desk.folder / "rows"
    temporary.rename(final)
    books = desk.again(run_id="r3", reopens=True, copies=((final, temporary),))
    assert not books.resume()
    assert (books.journal.gaps(), desk.content(), books.state.receipt) == ([(3, 6)], final.read_bytes(), None)
    work = books.work(desk.inputs)
    assert (work.count, work.range(0)) == (1, (3, 6))


def test_mini_batches_of_another_size_keep_the_numbers_of_the_first_run(desk: Desk) -> None:
    desk.begin()
    books = desk.again(settings=replace(desk.job.settings, mini_batch_size=5))
    assert not books.resume()
    work = books.work(desk.inputs)
    expected = MiniBatches.of([(0, 10)], 5, number_size=3, input_count=10)
    assert [work.number(index) for index in range(2)] == [expected.number(index) for index in range(2)]


@pytest.mark.parametrize("count", [9, 11])
def test_another_number_of_items_than_was_begun_with_is_a_bug_of_ours(desk: Desk, count: int) -> None:
    desk.begin()
    inputs: Any = SimpleNamespace(item_count=count)
    with pytest.raises(InternalError, match=f"the input has {count} items, the journal 10"):
        desk.books.work(inputs)


def test_what_was_cut_is_cut_alike_or_refused(desk: Desk) -> None:
    cut = StepInputs([FileItems(desk.job.inputs[0], desk.inputs._inputs[0].source)], Split(4, "rows"))
    assert list(cut.grid.cuts) == [0, 4, 8, 10]  # type: ignore[union-attr]
    desk.books.begin(cut)
    books = desk.again()
    assert not books.resume()
    work = books.work(cut)
    assert [work.range(index) for index in range(work.count)] == [(0, 4), (4, 8), (8, 10)]
    other = StepInputs([FileItems(desk.job.inputs[0], desk.inputs._inputs[0].source)], Split(5, "rows"))
    for inputs in (other, desk.inputs):
        with pytest.raises(JournalError, match="the input is not split as it was when the step began"):
            books.work(inputs)


def test_a_receipt_that_does_not_balance_is_none(desk: Desk) -> None:
    work_off(table := desk.begin())
    desk.books.commit(0, at_once=True)
    with pytest.raises(InternalError, match="the receipt does not balance: Receipt"):
        finished(desk, table, failed=1)
    assert desk.books.state.phase == "running"
    assert not (desk.job.state_folder / "receipt.json").exists()
