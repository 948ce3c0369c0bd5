"""The books of a step with a typed output, which is made of the rows in the end, by a process that is played here."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from unit.parallel.desk import ALL, Desk, finished, work_off
from unit.parallel.driven import Table

from batchflow._core import crc32c
from batchflow.control import StopLevel
from batchflow.errors import InternalError, InterruptedRunError, NoRoomError
from batchflow.journal.state_folder import ROWS_NAME
from batchflow.output.typed import TypedJob, Written
from batchflow.parallel import books as room
from batchflow.parallel.books import DISK_FULL_WAIT_S


class Maker:
    """In the place of the process that makes the file."""

    def __init__(self, desk: Desk, monkeypatch: pytest.MonkeyPatch, *, troubles: int = 0, row_count: int = 10) -> None:
        self.jobs: list[TypedJob] = []
        self.desk, self.troubles, self.row_count = desk, troubles, row_count
        monkeypatch.setattr(room, "make_typed", self.make)
        monkeypatch.setattr(room.time, "sleep", desk.clock.advance)

    def make(self, job: TypedJob, is_stopping: Any) -> Written | None:
        self.jobs.append(job)
        job.target.write_bytes(b"made")
        if self.troubles:
            self.troubles -= 1
            raise NoRoomError("no room")
        return None if is_stopping() else Written(4, crc32c(b"made"), self.row_count)


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    desk = Desk(tmp_path, output_format="parquet")
    yield desk
    desk.books.close()


def all_done(desk: Desk) -> Table:
    table = desk.begin()
    work_off(table)
    desk.books.commit(0, at_once=True)
    return table


def test_a_typed_output_is_made_of_rows_that_lie_beside_the_journal(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    maker = Maker(desk, monkeypatch)
    table = all_done(desk)
    stream = desk.job.state_folder / ROWS_NAME
    assert stream.read_bytes() == ALL
    assert stream.stat().st_mode & 0o777 == 0o600
    assert not (desk.folder / "rows.partial").exists()
    desk.books.make_output()
    assert maker.jobs == [TypedJob(stream, len(ALL), crc32c(ALL), desk.folder / "rows.partial", "parquet")]
    receipt = finished(desk, table)
    assert (receipt.output_size, receipt.output_checksum) == (4, f"crc32c:{crc32c(b'made'):08x}")
    assert not stream.exists()
    state = desk.books.state
    assert (state.phase, state.output_size, state.output_checksum) == ("finished", 4, crc32c(b"made"))
    # Nothing of the rows is needed any more, neither by a run that is to publish, nor by one that finds all published.
    stream.touch()
    books = desk.again(run_id="r2")
    assert books.resume()
    assert not stream.exists()
    assert books.resume()  # and once more: it is known that there was a file
    stream.touch()
    assert desk.again(run_id="r3", is_published=True).resume()
    assert not stream.exists()


def test_the_rows_are_kept_for_what_may_be_tried_again(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    Maker(desk, monkeypatch, row_count=7)
    table = desk.begin()
    table.ask(4)
    for number in range(4):
        table.worker.fail() if number == 1 else table.worker.answer()
    table.read()
    desk.books.commit(0, at_once=True)
    desk.books.make_output()
    assert finished(desk, table).failed == 3
    books = desk.again(run_id="r2", reopens=True)
    assert not books.resume()
    assert (books.journal.gaps(), (desk.job.state_folder / ROWS_NAME).read_bytes()) == ([(3, 6)], ALL[:6] + ALL[12:])


def test_a_disk_that_is_full_of_a_typed_output_is_waited_for(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    maker = Maker(desk, monkeypatch, troubles=3)
    all_done(desk)
    desk.books.make_output()
    assert len(maker.jobs) == 4
    assert desk.notices == [f"no room; waiting {DISK_FULL_WAIT_S:.0f} s for room"]
    maker.troubles = 1000
    with pytest.raises(NoRoomError, match="no room"):
        desk.books.make_output()
    assert not (desk.folder / "rows.partial").exists()  # half a file takes no room away


def test_a_stop_while_a_typed_output_is_made(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    Maker(desk, monkeypatch)
    all_done(desk)
    desk.stop.request(StopLevel.DRAIN)
    with pytest.raises(InterruptedRunError, match=r"stopped while rows\.partial was written; all items are done"):
        desk.books.make_output()


def test_a_typed_output_with_other_rows_is_a_bug_of_ours(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    Maker(desk, monkeypatch, row_count=9)
    all_done(desk)
    with pytest.raises(InternalError, match=r"rows\.partial has 9 rows, the journal 10"):
        desk.books.make_output()


def test_other_outputs_are_made_already(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk(tmp_path)
    maker = Maker(desk, monkeypatch)
    all_done(desk)
    desk.books.make_output()
    assert not maker.jobs
    desk.books.close()


def test_rows_of_a_typed_output_go_when_the_step_begins_anew_with_another(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    stream = desk.job.state_folder / ROWS_NAME
    for path in (stream, stream.with_name(stream.name + ".ordered")):
        path.write_text("old")
    all_done(desk)
    assert [path.name for path in desk.job.state_folder.iterdir() if path.name.startswith(stream.name)] == []
    desk.books.close()
