"""The committer against a model of bytes: whatever dies, fails or is lost in between, the file ends as it must.

Every item has one row, known beforehand.  The model says which items are committed, as ranges; the file must hold
exactly their rows, in the order of the items or, with ``order = "completion"``, in any.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from unit.parallel.item_model import HEADER, Items, rows
from unit.parallel.played_disk import Died, PlayedDisk

from batchflow._core import crc32c
from batchflow.clock import FakeClock
from batchflow.errors import JournalError, NoRoomError, ResourceError
from batchflow.journal.commits import Journal
from batchflow.journal.state import State
from batchflow.model import Receipt
from batchflow.output.segment import Segment
from batchflow.parallel import committer as committing
from batchflow.parallel.committer import Committer, Progress

FAST_FOLDER = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
"""The disk is played, so no real one need be waited for."""
SIGNATURE: dict[str, Any] = {"settings": {}, "params": {}, "inputs": {}, "code": {}, "upstream": {}}
RECEIPT = Receipt("score", "r0", 1, 1, 0, 1, 0, 1, 0, None, 0, "", 1, 0.5, 1, 0).as_dict()
NO_ROOM = ("no room", "quota", "no room to sync", "no room in the journal")
IN_RESUME = ("resume_committed", "journal_begun", "output_opened")
IN_ORDERING = ("before_order", "order_copied", "order_committed", "order_renamed")
UNCOMMITTED = ("before_pwrite", "after_pwrite", "after_fdatasync", "before_commit")


class CommitterMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="committer-machine-", dir=FAST_FOLDER))
        self.state_folder = self.folder / ".batchflow" / "flow"
        self.path, self.final = self.folder / "rows.csv.partial", self.folder / "rows.csv"
        self.disk = PlayedDisk(self.path)
        self.disk.__enter__()
        self.committer: Committer | None = None
        self.waits: list[NoRoomError] = []
        self.makes_room = True
        self.is_published = False

    def teardown(self) -> None:
        if self.committer is not None:
            self.committer.close()
        self.disk.__exit__()
        shutil.rmtree(self.folder)

    # The parts

    def open(self) -> Committer:
        self.journal = Journal.open_for_run(self.state_folder, durability="process")  # what is synced is played
        self.committer = Committer(
            self.journal, Segment(self.path), clock=FakeClock(), wait_for_room=self.wait_for_room
        )
        return self.committer

    def wait_for_room(self, error: NoRoomError) -> bool:
        self.waits.append(error)
        return self.makes_room

    def die(self) -> None:
        """Nothing is put in order any more: the journal's files stay as they are now."""
        assert self.committer is not None
        left = {path: path.read_bytes() for path in self.state_folder.iterdir()}
        self.committer.close()
        self.committer = None
        for path in self.state_folder.iterdir():
            path.unlink()
        for path, content in left.items():
            if not path.name.endswith("-shm"):
                path.write_bytes(content)

    def survives(self, deadly: str | None, act: Any) -> bool:
        """Do it, with a death at that place; False if it died."""
        self.disk.deadly = deadly
        try:
            act()
        except Died:
            self.die()
            return False
        finally:
            self.disk.deadly = None
        return True

    @property
    def is_open(self) -> bool:
        return self.committer is not None

    @property
    def state(self) -> State:
        assert self.committer is not None
        return self.committer.state

    # Beginning

    @initialize(
        item_count=st.integers(1, 12),
        header=st.booleans(),
        in_order=st.booleans(),
        durability=st.sampled_from(["full", "process"]),
        verify_all_size=st.sampled_from([0, 1 << 30]),
        deadly=st.sampled_from([None, "journal_begun", "output_opened"]),
    )
    def begin(
        self, item_count: int, header: bool, in_order: bool, durability: Any, verify_all_size: int, deadly: str | None
    ) -> None:
        self.item_count, self.header, self.in_order, self.durability = item_count, header, in_order, durability
        self.disk._stack.enter_context(pytest.MonkeyPatch.context()).setattr(
            committing, "VERIFY_ALL_SIZE", verify_all_size
        )
        self.items = Items(self.item_count)
        self.begin_anew(deadly)

    @precondition(lambda self: not self.is_open)
    @rule(deadly=st.sampled_from([None, None, "journal_begun", "output_opened"]))
    def begin_anew(self, deadly: str | None) -> None:
        """As with ``--restart``, whatever lies there."""
        committer = self.open()
        state = State("r0", "score", self.item_count, SIGNATURE, 3, durability=self.durability)
        self.items = Items(self.item_count)
        self.is_published = False
        self.survives(deadly, lambda: committer.begin(state))

    @precondition(lambda self: not self.is_open and not self.is_published)
    @rule(
        deadly=st.sampled_from(
            [None, None, None, "order_renamed", "resume_verified", "before_truncate", "after_truncate", *IN_RESUME]
        ),
        durability=st.sampled_from(["full", "process"]),
    )
    def resume(self, deadly: str | None, durability: Any) -> None:
        committer = self.open()
        survived = self.survives(deadly, lambda: committer.resume("r1", SIGNATURE, durability))
        if survived or deadly == "resume_committed":
            self.durability = durability
        if survived:
            state = self.state
            assert (state.run_id, state.durability, state.boot_id) == ("r1", durability, self.disk.boot)
            assert (state.is_suspect, state.file_id) == (False, self.path.stat().st_ino)

    @precondition(lambda self: not self.is_open and not self.is_published and self.items.extents)
    @rule(data=st.data(), cut=st.booleans())
    def refuse_damage(self, data: st.DataObject, cut: bool) -> None:
        """A committed byte that is not as it was: nothing goes on, and nothing is changed."""
        committer = self.open()
        extents = list(committer._journal.extents())
        content = self.path.read_bytes()
        if committer.state.boot_id == self.disk.boot and committing.VERIFY_ALL_SIZE == 0:
            extents = [
                one for one in extents if one in committer._journal.extents(since_commit=self.state.commit_number)
            ]
        if not extents or committer.state.durability == "process" or committing.ordered_path(self.path).exists():
            self.die()
            return
        one = data.draw(st.sampled_from(extents), label="extent")
        place = one.offset + data.draw(st.integers(0, one.size - 1), label="place")
        self.path.write_bytes(content[:place] if cut else content[:place] + b"?" + content[place + 1 :])
        damaged = self.path.read_bytes()
        with pytest.raises(
            JournalError, match=f"{self.path} is (not as it was written|shorter than what was committed)"
        ):
            committer.resume("r1", SIGNATURE, "full")
        self.die()
        assert self.path.read_bytes() == damaged
        self.path.write_bytes(content)

    @precondition(lambda self: not self.is_open)
    @rule(deadly=st.sampled_from([None, None, "reopen_copied", "reopen_committed", "after_truncate"]))
    def retry(self, deadly: str | None) -> None:
        """Have what failed done again, of an interrupted step or of a published one."""
        committer = self.open()
        copies = [(self.final, self.path)] if self.is_published else []

        def act() -> None:
            committer.reopen(copies)
            committer.resume("r2", SIGNATURE, self.durability)

        survived = self.survives(deadly, act)
        assert self.final.exists() or not copies
        if survived or deadly != "reopen_copied":
            self.items.reopen()
            self.is_published = False
        if survived:
            assert (self.state.phase, self.state.receipt) == ("running", None)

    # Going on

    @precondition(lambda self: self.is_open and self.items.gaps())
    @rule(
        data=st.data(),
        deadly=st.sampled_from([None] * 8 + [*UNCOMMITTED, "after_commit"]),
        fault=st.sampled_from([None] * 6 + ["short write", *NO_ROOM, "bad write", "bad sync"]),
        makes_room=st.booleans(),
    )
    def commit(
        self,
        data: st.DataObject,
        deadly: str | None,
        fault: str | None,
        makes_room: bool,
        kinds: Sequence[str] = ("rows", "rows", "rows", "shortfall", "exception"),
    ) -> None:
        extents, failures, view = self.items.draw_group(data, kinds)
        header = HEADER if self.header and extents and not self.state.header_size else b""
        extents = [one._replace(offset=one.offset + len(header)) for one in extents]
        progress = Progress(
            totals=self.state.totals,
            work_s=self.state.work_s + 1,
            columns=HEADER if self.state.columns or extents else b"",
            header_size=len(header) or self.state.header_size,
        )
        self.disk.fault, self.makes_room = fault, makes_room
        self.waits.clear()
        is_committed = deadly is None or deadly not in UNCOMMITTED
        try:
            committer = self.committer
            assert committer is not None
            if self.survives(deadly, lambda: committer.commit(memoryview(header + view), extents, failures, progress)):
                self.disk.fault = None
        except NoRoomError:
            assert (fault, makes_room, len(self.waits)) == (fault, False, 1)
            assert fault in NO_ROOM
            is_committed = False
        except ResourceError:
            assert fault in ("bad write", "bad sync")
            is_committed = False
            assert self.state.is_suspect
            self.die()
        else:
            if deadly in (*UNCOMMITTED, "after_commit") and self.is_open:
                is_committed = True  # there was nothing to write, or it is not synced: never reached
        self.disk.fault = None
        if is_committed:
            self.items.add(extents, failures, header=bool(header))

    @precondition(lambda self: self.is_open and self.items.gaps())
    @rule(data=st.data(), kinds=st.sampled_from([["rows"], ["rows", "shortfall"], ["rows", "exception"]]))
    def commit_the_rest(self, data: st.DataObject, kinds: list[str]) -> None:
        while self.items.gaps():
            self.commit(data, None, None, True, kinds=kinds)

    @precondition(lambda self: self.is_open)
    @rule(garbage=st.binary(max_size=40))
    def crash(self, garbage: bytes) -> None:
        """At any moment; what was being written lies behind what is committed."""
        self.die()
        with self.path.open("ab") as file:
            file.write(garbage)

    @precondition(lambda self: not self.is_open and not self.is_published and self.path.exists())
    @rule(tail=st.binary(max_size=8), length=st.integers(0, 60))
    def lose_power(self, tail: bytes, length: int) -> None:
        """With the machine; only what was synced is certain, and in ``full`` that is all that was committed."""
        self.disk.lose_power(tail, length)
        if self.durability == "full":
            return
        committer = self.open()
        kept = committer.state.phase != "finished"
        try:
            committer.resume("r3", SIGNATURE, "process")
        except JournalError:
            assert not kept
            raise
        self._believe_journal()

    def _believe_journal(self) -> None:
        """What was not synced may be lost, or not; what is kept was committed."""
        found = {one.first_item: (one.item_count, one.missing) for one in self.journal.extents()}
        assert found.items() <= self.items.with_rows().items()
        for first in self.items.with_rows().keys() - found.keys():
            del self.items.extents[first]
        self.items.has_header = bool(self.state.header_size)

    # The end

    @precondition(lambda self: self.is_open and not self.items.gaps())
    @rule(
        deadly=st.sampled_from(
            [None, None, *IN_ORDERING, "before_truncate", "after_truncate", "before_finish", "after_finish"]
        ),
        fault=st.sampled_from([None, None, None, "bad sync"]),
    )
    def finish(self, deadly: str | None, fault: str | None) -> None:
        committer = self.committer
        assert committer is not None

        def act() -> None:
            committer.put_in_order(any_order=not self.in_order)
            content = self.path.read_bytes()
            if self.in_order:
                assert content == self.items.expected()
            else:
                assert sorted(content.splitlines()) == sorted(self.items.expected().splitlines())
                assert content.startswith(HEADER) or not self.items.has_header
            self.disk.fault = fault
            committer.finish(RECEIPT)
            assert self.state.phase == "finished"
            assert self.disk.durable == content
            committer.close()
            self.committer = None
            self.path.rename(self.final)
            self.is_published = True

        try:
            self.survives(deadly, act)
        except ResourceError:
            assert fault == "bad sync"
            assert self.state.is_suspect
            self.die()

    # What must hold

    @invariant()
    def the_file_holds_what_is_committed(self) -> None:
        if self.committer is None:
            return
        self.journal.check()
        assert self.journal.gaps() == self.items.gaps()
        content = self.path.read_bytes()
        state = self.state
        assert len(content) == state.committed_size
        assert crc32c(content) == state.checksum
        assert content[: state.header_size] == (HEADER if self.items.has_header else b"")
        found = {one.first_item: (one.item_count, one.missing) for one in self.journal.extents()}
        assert found == self.items.with_rows()
        for one in self.journal.extents():
            assert content[one.offset : one.offset + one.size] == rows(one.first_item, one.item_count, one.missing)
        totals, succeeded = state.totals, self.items.succeeded()
        assert (totals.succeeded, totals.rows, totals.failed) == (succeeded, succeeded, self.items.failed_count())


TestCommitter = CommitterMachine.TestCase
TestCommitter.settings = settings(
    max_examples=40, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)


@pytest.mark.slow
class TestCommitterAtLength(CommitterMachine.TestCase):  # type: ignore[misc, name-defined]
    settings = settings(TestCommitter.settings, max_examples=1000, stateful_step_count=40)
