"""The committer, one case after another; anything in any order is for the machine."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from unit.parallel.committer_bench import DEAD, RECEIPT, Bench, a
from unit.parallel.item_model import HEADER, rows
from unit.parallel.played_disk import PlayedDisk

from batchflow._core import crc32c
from batchflow.errors import InternalError, JournalError, NoRoomError, ResourceError
from batchflow.journal.state import State, Totals
from batchflow.model import FailureEntry
from batchflow.output.ordering import ordered_path
from batchflow.parallel import committer as committing
from batchflow.parallel.committer import GROUP_MAX_S, GROUP_S, GROUP_SIZE, SYNCED_GROUP_SIZE, Progress

# Groups


@pytest.mark.parametrize(("durability", "size_max"), [("process", GROUP_SIZE), ("full", SYNCED_GROUP_SIZE)])
def test_a_group_is_due_when_it_is_old_or_large(bench: Bench, durability: str, size_max: int) -> None:
    bench.begin(durability=durability)
    assert bench.committer.is_due(1)  # the first result is committed at once
    bench.put(a(0))
    assert not bench.committer.is_due(1)
    assert bench.committer.is_due(size_max)
    bench.clock.advance(GROUP_S * 0.9)
    assert not bench.committer.is_due(size_max - 1)
    bench.clock.advance(GROUP_S * 0.2)
    assert bench.committer.is_due(1)


@pytest.mark.parametrize(("commit_s", "pause_s"), [(0.0, 0.2), (0.01, 0.2), (0.1, 1.0), (0.4, 4.0), (7.0, 5.0)])
def test_on_a_slow_disk_groups_are_longer(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, commit_s: float, pause_s: float
) -> None:
    bench.begin()
    monkeypatch.setattr(committing, "reach", lambda name: bench.clock.advance(commit_s * (name == "after_commit")))
    bench.put(a(0))
    bench.clock.advance(pause_s - 0.01)
    assert not bench.committer.is_due(1)
    bench.clock.advance(0.02)
    assert bench.committer.is_due(1)
    assert pause_s <= GROUP_MAX_S


def test_what_is_committed_is_in_file_and_journal(bench: Bench) -> None:
    bench.begin()
    bench.put(a(4), a(0), failures=(FailureEntry(2, 2, "exception", {"message": "bad"}),), header=HEADER)
    content = HEADER + rows(4, 2) + rows(0, 2)
    state = bench.state
    assert bench.content() == content
    assert (state.committed_size, state.checksum, state.header_size) == (len(content), crc32c(content), len(HEADER))
    assert (state.columns, state.work_s) == (HEADER.decode(), 1.0)
    assert (state.totals.succeeded, state.totals.failed, state.totals.rows) == (4, 2, 4)
    assert bench.journal.gaps() == [(6, 10)]
    assert [one.offset for one in bench.journal.extents(by="offset")] == [len(HEADER), len(HEADER) + len(rows(4, 2))]
    assert bench.disk.durable == content


def test_without_rows_only_the_journal_is_written(tmp_path: Path, disk: PlayedDisk) -> None:
    bench = Bench(tmp_path, disk, rows=False)
    bench.begin(4)
    bench.put(a(0), failures=(DEAD,))
    assert bench.journal.gaps() == []
    assert (bench.state.committed_size, bench.state.checksum, bench.state.file_id) == (0, 0, 0)
    bench.committer.put_in_order()
    bench.committer.finish(RECEIPT)
    bench.resume()  # nothing lies anywhere that could be gone
    assert (bench.state.phase, bench.state.run_id, bench.state.totals.failed) == ("finished", "r1", 2)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".batchflow"]
    bench.close()


# A full disk


@pytest.mark.parametrize("fault", ["no room", "quota", "no room to sync", "no room in the journal"])
def test_a_full_disk_is_waited_for_and_then_nothing_is_missing_or_doubled(bench: Bench, fault: str) -> None:
    bench.begin()
    bench.put(a(0))
    bench.disk.fault = fault
    bench.answers = [True]
    bench.put(a(2), a(4))
    assert len(bench.told) == 1
    assert bench.content() == rows(0, 6)
    assert not bench.state.is_suspect
    assert bench.disk.durable == rows(0, 6)


@pytest.mark.parametrize("fault", ["no room", "no room to sync", "no room in the journal"])
def test_where_nobody_makes_room_nothing_of_the_group_is_committed(bench: Bench, fault: str) -> None:
    bench.begin()
    bench.put(a(0))
    before = bench.state
    bench.disk.fault = fault
    bench.answers = [False]
    with pytest.raises(NoRoomError, match=r"rows\.csv|the journal of the step cannot be written"):
        bench.put(a(2))
    assert (bench.state, bench.content()) == (before, rows(0, 2))
    bench.put(a(2))  # the same process may go on
    assert bench.content() == rows(0, 4)


def test_a_full_disk_where_there_are_no_rows(tmp_path: Path, disk: PlayedDisk) -> None:
    bench = Bench(tmp_path, disk, rows=False)
    bench.begin()
    disk.fault, bench.answers = "no room in the journal", [True]
    bench.put(a(0))
    assert (bench.journal.gaps(), bench.told) == (
        [(2, 10)],
        [f"the journal of the step cannot be written, path={bench.journal.path}: database or disk is full"],
    )
    bench.close()


def test_ordering_needs_room_for_a_copy(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.begin(4)
    bench.put(a(2), a(0))
    tries = []
    real = committing.write_ordered

    def full_once(path: Path, header_size: int, extents: Any) -> tuple[int, int]:
        tries.append(ordered_path(path).exists())
        ordered_path(path).write_text("half")
        if len(tries) < 3:
            raise NoRoomError("no room for the copy")
        return real(path, header_size, extents)

    monkeypatch.setattr(committing, "write_ordered", full_once)
    bench.answers = [True, False]
    with pytest.raises(NoRoomError, match="no room for the copy"):
        bench.committer.put_in_order()
    assert (bench.content(), tries) == (rows(2, 2) + rows(0, 2), [False, False])
    assert not ordered_path(bench.disk.path).exists()
    bench.committer.put_in_order()
    assert bench.content() == rows(0, 4)


# Beginning anew


def test_whatever_lies_there_is_gone_when_a_step_begins_anew(tmp_path: Path, disk: PlayedDisk) -> None:
    bench = Bench(tmp_path, disk, files=True)
    assert bench.files is not None
    disk.path.write_text("old rows")
    ordered_path(disk.path).write_text("old copy")
    (bench.files / "folder").mkdir(parents=True)
    (bench.files / "folder" / "file").write_text("old")
    (bench.files / "file").write_text("old")
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").write_text("precious")
    (bench.files / "link").symlink_to(precious)
    bench.begin()
    assert (list(bench.files.iterdir()), bench.content(), ordered_path(disk.path).exists()) == ([], b"", False)
    assert (precious / "file").read_text() == "precious"
    bench.put(a(0))
    shutil.rmtree(bench.files)
    bench.files.symlink_to(precious)
    bench.begin()
    assert (bench.files.is_symlink(), list(bench.files.iterdir())) == (False, [])
    assert (precious / "file").read_text() == "precious"
    bench.close()


# Files of the script's own


def test_files_of_the_script_are_durable_before_their_items_count(
    tmp_path: Path, disk: PlayedDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(tmp_path, disk, rows=False, files=True)
    synced: list[tuple[Path, int]] = []
    monkeypatch.setattr(
        committing, "sync_file_system", lambda folder: synced.append((folder, bench.state.totals.succeeded))
    )
    bench.begin()
    bench.put(a(0))
    bench.put(failures=(DEAD,))
    bench.put(a(4))
    assert synced == [(bench.files, 0), (bench.files, 2)]
    bench.resume(durability="process")
    bench.put(a(6))
    assert len(synced) == 2
    bench.close()


def test_a_folder_that_cannot_be_synced_ends_the_run(
    tmp_path: Path, disk: PlayedDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(tmp_path, disk, rows=False, files=True)
    bench.begin()

    def full(folder: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    # Files of the script may have lost bytes: to wait for room and sync again would not bring them back.
    monkeypatch.setattr(committing, "sync_file_system", full)
    with pytest.raises(OSError, match="No space left on device"):
        bench.put(a(0))
    assert (bench.told, bench.state.is_suspect, bench.journal.gaps()) == ([], True, [(0, 10)])
    bench.close()


# The end


def test_what_was_put_in_order_is_checked_first(bench: Bench) -> None:
    bench.begin(4)
    bench.put(a(2), a(0))
    bench.disk.path.write_bytes(bench.content())
    os.utime(bench.disk.path, ns=(1, 1))
    for act in (bench.committer.put_in_order, lambda: bench.committer.finish(RECEIPT)):
        with pytest.raises(JournalError, match="was changed by another program while it was written"):
            act()
    assert bench.state.phase == "running"


def test_a_finish_that_cannot_be_synced_is_no_finish(bench: Bench) -> None:
    bench.begin(2)
    bench.put(a(0))
    bench.disk.fault = "bad sync"
    with pytest.raises(ResourceError, match="Input/output error"):
        bench.committer.finish(RECEIPT)
    assert (bench.state.phase, bench.state.is_suspect, bench.state.receipt) == ("running", True, None)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda state: replace(state, totals=replace(state.totals, succeeded=3)),
        lambda state: replace(state, totals=replace(state.totals, failed=3)),
        lambda state: replace(state, totals=replace(state.totals, succeeded=3, failed=1)),
        lambda state: replace(state, item_count=5),
        lambda state: replace(state, sums=state.sums._replace(items=3)),
    ],
)
def test_books_that_do_not_balance_are_a_bug_of_ours(bench: Bench, spoil: Callable[[State], State]) -> None:
    bench.begin(4)
    bench.put(a(0), failures=(DEAD,))
    bench.committer.check()
    bench.journal.update(spoil(bench.state))
    with pytest.raises(InternalError, match=r"the books do not balance, item_count=[45], totals=Totals\("):
        bench.committer.finish(RECEIPT)
    assert bench.state.phase == "running"


def test_an_item_that_is_not_done_is_no_end(bench: Bench) -> None:
    bench.begin(4)
    bench.put(a(0))
    with pytest.raises(InternalError, match="the books do not balance, item_count=4"):
        bench.committer.finish(RECEIPT)


def test_before_anything_is_begun_there_is_no_state(bench: Bench) -> None:
    with pytest.raises(InternalError, match=r"nothing was begun in the journal, path=.*/journal\.db"):
        bench.committer.commit(memoryview(b""), [], [], Progress(Totals(), 0.0))
