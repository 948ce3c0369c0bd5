"""What the committer makes of what an earlier run left: all that can be believed, and a refusal of the rest."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from unit.parallel.committer_bench import DEAD, RECEIPT, SHORT, SIGNATURE, Bench, a
from unit.parallel.item_model import HEADER, rows
from unit.parallel.played_disk import Died, PlayedDisk

from batchflow._core import crc32c
from batchflow.errors import JournalError, ResourceError
from batchflow.journal.state import State
from batchflow.model import FailureEntry
from batchflow.output.ordering import ordered_path
from batchflow.output.segment import RESTART_HINT
from batchflow.parallel import committer as committing

# Errors that leave doubt


@pytest.mark.parametrize("fault", ["bad write", "bad sync"])
def test_after_an_error_every_byte_is_checked_before_anybody_goes_on(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    monkeypatch.setattr(committing, "VERIFY_ALL_SIZE", 0)
    bench.begin()
    bench.put(a(0))
    bench.put(a(2))
    bench.disk.fault = fault
    with pytest.raises(ResourceError, match=f"cannot write {bench.disk.path}: Input/output error"):
        bench.put(a(4))
    assert (bench.state.is_suspect, bench.journal.gaps(), bench.told) == (True, [(4, 10)], [])
    content = bench.content()
    bench.disk.path.write_bytes(b"?" + content[1:])  # not in the last group: only a check of all can see it
    with pytest.raises(JournalError, match="is not as it was written: its checksum is wrong"):
        bench.resume()
    bench.disk.path.write_bytes(content)
    bench.resume()
    assert (bench.state.is_suspect, bench.content()) == (False, rows(0, 4))


def test_a_failed_sync_is_told_even_if_the_journal_fails_too(bench: Bench) -> None:
    bench.begin()
    bench.disk.fault = "bad sync"
    real = bench.journal.update

    def fails(state: State) -> None:
        raise ResourceError("the journal of the step cannot be read or written: disk I/O error")

    bench.journal.update = fails  # type: ignore[method-assign]
    with pytest.raises(ResourceError, match=f"cannot write {bench.disk.path}: Input/output error"):
        bench.put(a(0))
    bench.journal.update = real  # type: ignore[method-assign]
    assert bench.state.totals.succeeded == 0


def test_what_was_checked_at_this_boot_is_checked_at_its_end_only_if_it_is_large(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(committing, "VERIFY_ALL_SIZE", 0)
    bench.begin()
    for first in (0, 2, 4):
        bench.put(a(first))
    content = bench.content()
    early, late = b"?" + content[1:], content[:-1] + b"?"
    bench.disk.path.write_bytes(late)
    with pytest.raises(JournalError, match="its checksum is wrong") as caught:
        bench.resume()
    assert caught.value.hint == RESTART_HINT
    bench.disk.path.write_bytes(early)
    bench.resume()  # the price of not reading a terabyte again
    bench.disk.boot = "another boot"
    with pytest.raises(JournalError, match="its checksum is wrong"):
        bench.resume()
    monkeypatch.undo()


def test_a_file_in_the_place_of_ours_is_checked_as_a_whole(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(committing, "VERIFY_ALL_SIZE", 0)
    bench.begin()
    bench.put(a(0))
    bench.put(a(2))
    content, path = bench.content(), bench.disk.path
    path.rename(path.with_name("moved"))
    path.write_bytes(b"?" + content[1:])
    with pytest.raises(JournalError, match="its checksum is wrong"):
        bench.resume()
    path.write_bytes(content)
    bench.resume()
    assert bench.state.file_id == path.stat().st_ino


# Resuming


@pytest.mark.parametrize("durability", ["full", "process"])
@pytest.mark.parametrize("kept", [0, 5])
def test_a_file_shorter_than_what_was_committed_is_damage(bench: Bench, durability: Any, kept: int) -> None:
    bench.begin(durability=durability)
    bench.put(a(0))
    os.truncate(bench.disk.path, kept)
    with pytest.raises(JournalError) as caught:
        bench.resume(durability=durability)
    assert caught.value.message == (
        f"{bench.disk.path} is shorter than what was committed, size={kept}, committed={len(rows(0, 2))}"
    )
    assert caught.value.hint == RESTART_HINT


def test_output_that_is_gone_is_missed(tmp_path: Path, disk: PlayedDisk) -> None:
    bench = Bench(tmp_path, disk, files=True)
    bench.begin()
    bench.put(a(0))
    disk.path.unlink()
    with pytest.raises(JournalError, match=f"^the output of an interrupted run is gone: {disk.path}$") as caught:
        bench.resume()
    assert caught.value.hint == RESTART_HINT
    bench.close()


@pytest.mark.parametrize("deadly", ["journal_begun", "output_opened"])
@pytest.mark.parametrize("files", [False, True])
def test_a_run_that_ended_before_it_had_an_output_leaves_nothing_to_miss(
    tmp_path: Path, disk: PlayedDisk, deadly: str, files: bool
) -> None:
    bench = Bench(tmp_path, disk, rows=not files, files=files)
    disk.path.write_text("of a run before")
    disk.deadly = deadly
    if files:
        disk.path.write_text("")
    with pytest.raises(Died):
        bench.begin()
    bench.resume("r5")
    assert (bench.state.run_id, bench.state.phase, bench.journal.gaps()) == ("r5", "running", [(0, 10)])
    assert bench.state.folder_ids if files else bench.state.file_id
    bench.put(a(0))
    if not files:
        assert bench.content() == rows(0, 2)
    bench.close()


def test_what_was_committed_without_syncs_is_synced_before_it_counts_as_durable(bench: Bench) -> None:
    bench.begin(durability="process")
    bench.put(a(0))
    assert bench.disk.durable == b""
    bench.resume(durability="process")
    assert bench.disk.durable == b""
    bench.resume(durability="full")
    assert bench.disk.durable == rows(0, 2)
    assert bench.state.durability == "full"


def test_of_what_a_power_loss_took_the_rows_before_are_kept(bench: Bench) -> None:
    """Rows without a header, holes between them, mini-batches without rows: what lies before the damage is kept."""
    bench.begin(12, durability="process")
    bench.put(a(0), a(2, missing=1), failures=(SHORT,))
    bench.put(a(4, missing=2), failures=(FailureEntry(4, 2, "shortfall", {"missing_count": 2}),))
    bench.committer.reopen([])  # what items 2 and 3 had is a hole from now on
    bench.put(a(6), a(8), failures=(FailureEntry(10, 1, "died", {"signal": 9}),))
    content = bench.content()
    bench.disk.boot = "after the power loss"
    bench.disk.path.write_bytes(content[:-3] + b"???garbage")
    bench.resume(durability="process")
    kept = rows(0, 2) + rows(2, 1) + rows(6, 2)
    assert bench.content() == kept
    assert (bench.state.committed_size, bench.state.checksum) == (len(kept), crc32c(kept))
    assert bench.journal.gaps() == [(2, 6), (8, 10), (11, 12)]
    assert (bench.state.totals.succeeded, bench.state.totals.failed) == (4, 1)
    bench.put(a(8))
    assert bench.content() == kept + rows(8, 2)


def test_what_a_power_loss_took_between_rows_that_count_is_no_loss(bench: Bench) -> None:
    bench.begin(4, durability="process")
    bench.put(a(0))
    bench.put(a(2, missing=1), failures=(SHORT,))
    bench.committer.reopen([])
    bench.disk.boot = "after the power loss"
    bench.disk.path.write_bytes(rows(0, 2) + bytes(len(rows(2, 1))))
    bench.resume(durability="process")
    assert (bench.content(), bench.journal.gaps()) == (rows(0, 2), [(2, 4)])


@pytest.mark.parametrize("left", [b"", HEADER[:3], b"?" + HEADER[1:] + rows(0, 2)], ids=["none", "half", "damaged"])
def test_where_even_the_header_is_lost_everything_with_rows_is_done_again(bench: Bench, left: bytes) -> None:
    bench.begin(durability="process")
    bench.put(a(0), header=HEADER)
    bench.disk.boot = "after the power loss"
    bench.disk.path.write_bytes(left)
    bench.resume(durability="process")
    state = bench.state
    assert (bench.content(), state.committed_size, state.header_size, state.columns) == (b"", 0, 0, "")
    assert bench.journal.gaps() == [(0, 10)]
    bench.put(a(0), header=HEADER)
    assert bench.content() == HEADER + rows(0, 2)


def test_a_power_loss_that_took_nothing_changes_nothing(bench: Bench) -> None:
    bench.begin(durability="process")
    bench.put(a(0), header=HEADER)
    bench.disk.boot = "after the power loss"
    bench.resume(durability="process")
    assert bench.content() == HEADER + rows(0, 2)
    assert bench.state.boot_id == "after the power loss"


def test_what_was_finished_and_published_becomes_the_work_of_another_run(bench: Bench) -> None:
    bench.begin(2)
    bench.put(a(0))
    bench.committer.finish(RECEIPT)
    before = bench.state
    bench.again().adopt("r9")
    assert bench.state == replace(before, run_id="r9")


# Trying again


def test_rows_of_a_shortfall_leave_also_an_output_in_order_of_completion(bench: Bench) -> None:
    bench.begin(6)
    bench.put(a(4), a(2, missing=1), a(0), failures=(SHORT,), header=HEADER)
    bench.committer.put_in_order(any_order=True)
    in_order_of_completion = HEADER + rows(4, 2) + rows(2, 1) + rows(0, 2)
    assert bench.content() == in_order_of_completion
    bench.committer.finish(RECEIPT)
    final = bench.disk.path.with_name("rows.csv")
    bench.disk.path.rename(final)
    committer = bench.again()
    committer.reopen([(final, bench.disk.path)])
    committer.resume("r1", SIGNATURE, "full")
    assert (bench.state.phase, bench.journal.gaps(), bench.content()) == ("running", [(2, 4)], in_order_of_completion)
    bench.put(a(2))
    committer.put_in_order(any_order=True)
    assert bench.content() == HEADER + rows(0, 6)
    committer.finish(RECEIPT)
    assert final.read_bytes() == in_order_of_completion


@pytest.mark.parametrize("deadly", ["order_copied", "order_committed", "order_renamed"])
@pytest.mark.parametrize("retries", [False, True])
def test_a_death_while_rows_are_put_in_order_costs_nothing(bench: Bench, deadly: str, retries: bool) -> None:
    bench.begin(6)
    bench.put(a(2), a(0), failures=(FailureEntry(4, 2, "died", {"signal": 9}),), header=HEADER)
    bench.disk.deadly = deadly
    with pytest.raises(Died):
        bench.committer.put_in_order()
    committer = bench.again()
    if retries:
        committer.reopen([])
    committer.resume("r1", SIGNATURE, "full")
    assert not ordered_path(bench.disk.path).exists()
    if retries:
        bench.put(a(4))
    committer.put_in_order()
    assert bench.content() == HEADER + rows(0, 6 if retries else 4)
    committer.finish(RECEIPT)


def test_an_output_folder_is_tried_again_in_a_copy(tmp_path: Path, disk: PlayedDisk) -> None:
    bench = Bench(tmp_path, disk, rows=False, files=True)
    assert bench.files is not None
    bench.begin(4)
    (bench.files / "sub").mkdir()
    (bench.files / "sub" / "one").write_text("1")
    (bench.files / "link").symlink_to("sub/one")
    bench.put(a(0), failures=(DEAD,))
    bench.committer.finish(RECEIPT)
    final = tmp_path / "files"
    bench.files.rename(final)
    bench.files.mkdir()
    (bench.files / "left").write_text("of a death before")
    committer = bench.again()
    committer.reopen([(final, bench.files)])
    committer.resume("r1", SIGNATURE, "full")
    assert sorted(str(path.relative_to(bench.files)) for path in bench.files.rglob("*")) == ["link", "sub", "sub/one"]
    assert (os.readlink(bench.files / "link"), (bench.files / "sub/one").read_text()) == ("sub/one", "1")
    assert (bench.journal.gaps(), (final / "sub" / "one").read_text()) == ([(2, 4)], "1")
    bench.close()
