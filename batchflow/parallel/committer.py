"""The one writer of a step: rows into the output, then a record of them into the journal, then they count.

    write → fdatasync → journal commit → acknowledge

One group of results costs two syncs, however many results it has.  A crash at any instant leaves committed rows, and
behind them garbage that ``resume`` cuts off.  A failed sync is never tried again: nobody knows what the disk holds.

Invariants: a record is durable only after its bytes; committed extents tile the committed bytes; recovery truncates and
deletes only, so that a crash in it does no harm.  The source of the protocol's rules: fsync(2) after a failed
writeback reports success (fsyncgate), rename(2) needs the folder synced to last.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from batchflow._core import Extent, crc32c
from batchflow.clock import Clock
from batchflow.errors import InternalError, JournalError, NoRoomError, ResourceError
from batchflow.failpoints import reach
from batchflow.journal.commits import Journal
from batchflow.journal.state import State, Totals
from batchflow.journal.state_folder import boot_id
from batchflow.mini_batches import Grid
from batchflow.model import FailureEntry
from batchflow.output.checksums import checksum_with
from batchflow.output.copies import copy_published, empty_folder
from batchflow.output.files import explained, sync_folder
from batchflow.output.ordering import ordered_path, write_ordered
from batchflow.output.publish import sync_file_system
from batchflow.output.segment import RESTART_HINT, Segment

GROUP_S = 0.2
"""How long finished results may wait for their commit: at low rates each one is committed at once."""
GROUP_SIZE = 8 << 20
"""Bytes of results that are committed together at most, but for one larger result."""
SYNCED_GROUP_SIZE = 32 << 20
"""The same where each commit is a sync, which costs some milliseconds whatever there is to be synced."""
GROUP_PAUSES = 10
"""Commits on a slow disk take at most one part in so many of the time."""
GROUP_MAX_S = 5.0
VERIFY_ALL_SIZE = 1 << 30
"""Up to here every committed byte is checked on resume; beyond, since the same boot, those of the last commit."""


@dataclass(frozen=True)
class Progress:
    """Where a step stands with a commit."""

    totals: Totals
    work_s: float
    columns: bytes = b""
    header_size: int = 0


class Committer:
    """``begin`` or ``resume`` (or ``reopen``), then ``commit`` for each group, then ``finish``; ``close`` at any time.

    ``segment`` takes the rows, None with ``summary_only``; ``is_output``: it becomes the output, which else is made of
    it in the end; ``folders``: where the script writes files of its own;
    ``outputs``: the temporary path of everything that is published in the end.
    ``wait_for_room`` is called when the disk is full: True to try again.
    """

    def __init__(
        self,
        journal: Journal,
        segment: Segment | None,
        *,
        is_output: bool = True,
        folders: Mapping[str, Path] = MappingProxyType({}),
        outputs: Mapping[str, Path] = MappingProxyType({}),
        clock: Clock,
        wait_for_room: Callable[[NoRoomError], bool],
    ) -> None:
        self._journal = journal
        self._segment = segment
        self._is_output = is_output
        self._folders = folders
        self._outputs = outputs
        self._clock = clock
        self._wait_for_room = wait_for_room
        self._committed_s = float("-inf")
        self._pause_s = GROUP_S

    @property
    def state(self) -> State:
        state = self._journal.state
        if state is None:
            raise InternalError(f"nothing was begun in the journal, path={self._journal.path}")
        return state

    @property
    def _is_full(self) -> bool:
        return self.state.durability == "full"

    # Beginning

    def begin(self, state: State, grid: Grid | None = None) -> None:
        """Forget what was there and begin with an empty output; ``grid`` as in ``Journal.begin``."""
        # The journal first: as long as it says that bytes are committed, a missing file is damage.
        self._journal.begin(replace(state, boot_id=boot_id()), grid)
        reach("journal_begun")
        for folder in self._folders.values():
            empty_folder(folder)
        if self._segment is not None:
            with contextlib.suppress(FileNotFoundError):
                ordered_path(self._segment.path).unlink()
            self._segment.create()
        reach("output_opened")
        self._journal.update(replace(self.state, file_id=self._file_id(), folder_ids=self._folder_ids()))

    def adopt(self, run_id: str) -> None:
        """The output is complete and has its name: it is the work of this run now."""
        self._journal.update(replace(self.state, run_id=run_id))

    def resume(self, run_id: str, signature: Mapping[str, Any], durability: Literal["full", "process"]) -> None:
        """Check what an earlier run has left, and cut off what it had not committed.

        Raises ``JournalError`` if output or journal are not as they were left.
        """
        self._journal.check()
        if self._was_never_opened:
            state = replace(self.state, run_id=run_id, signature=signature, durability=durability)
            self.begin(state, self._journal.grid)
            return
        is_made = self.state.phase == "finished" and not self._is_output
        if self._segment is not None and not is_made:
            self._finish_order(self._segment.path)
            self._verify(self._segment, self._segment.open())
            reach("resume_verified")
            self._segment.cut(self.state.committed_size, self.state.checksum)
            if durability == "full" and not self._is_full:
                self._segment.sync()  # what was committed until now is to be as durable as what follows
        phase: Literal["finished", "running"] = "finished" if self.state.phase == "finished" else "running"
        self._journal.update(
            replace(
                self.state,
                run_id=run_id,
                signature=signature,
                durability=durability,
                phase=phase,
                boot_id=boot_id(),
                is_suspect=False,
                file_id=self.state.file_id if is_made else self._file_id(),
                folder_ids=self._folder_ids(),
                output_ids=self._output_ids() if phase == "finished" else {},
            )
        )
        reach("resume_committed")

    def reopen(self, copies: Sequence[tuple[Path, Path]]) -> None:
        """Have what failed done again; ``copies``: outputs that were published, and what they are called meanwhile.

        Call ``resume`` afterwards.
        """
        self._journal.check()
        for published, temporary in copies:
            copy_published(published, temporary)
        reach("reopen_copied")
        if self._segment is not None:
            self._finish_order(self._segment.path)  # the journal forgets that there is an ordered copy
        # The copies of folders are those that are written into from now on.
        self._journal.reopen(replace(self.state, phase="running", receipt=None, folder_ids=self._folder_ids()))
        reach("reopen_committed")

    @property
    def _was_never_opened(self) -> bool:
        """The run that began the step ended before it had an output; so nothing can have been committed."""
        has_output = self._segment is not None or bool(self._folders)
        return has_output and not self.state.file_id and not self.state.folder_ids

    def _finish_order(self, path: Path) -> None:
        """The ordered copy takes the output's place if the journal says so; else it is half a copy."""
        copy = ordered_path(path)
        if not copy.exists():
            return
        with explained(path):
            if self.state.phase == "ordered":
                copy.replace(path)
                reach("order_renamed")
            else:
                copy.unlink()
            sync_folder(path.parent)

    def _verify(self, segment: Segment, size: int) -> None:
        state = self.state
        is_same_boot = state.boot_id == boot_id() and not state.is_suspect and segment.file_id == state.file_id
        may_have_lost = state.durability == "process" and state.boot_id != boot_id()
        if size < state.committed_size and not may_have_lost:
            raise JournalError(
                f"{segment.path} is shorter than what was committed, size={size}, committed={state.committed_size}",
                hint=RESTART_HINT,
            )
        if is_same_boot and state.committed_size > VERIFY_ALL_SIZE:
            is_right = all(
                segment.read_checksum(one.offset, one.size) == one.checksum
                for one in self._journal.extents(since_commit=state.commit_number)
            )
        else:
            is_right = segment.read_checksum(0, state.committed_size) == state.checksum
        if not is_right and may_have_lost:
            self._cut_lost(segment, size)
        elif not is_right:
            raise JournalError(f"{segment.path} is not as it was written: its checksum is wrong", hint=RESTART_HINT)

    def _cut_lost(self, segment: Segment, size: int) -> None:
        """A power loss has taken bytes that were written but not synced: keep those before the first that is wrong."""
        state = self.state
        header = state.columns.encode("latin-1")[: state.header_size]
        checksum = segment.read_checksum(0, len(header))
        kept = len(header)
        if kept > size or checksum != crc32c(header):
            self._journal.cut(replace(state, committed_size=0, checksum=0, header_size=0, columns=""))
            return
        for one in self._journal.extents(by="offset"):
            if one.offset + one.size > size or segment.read_checksum(one.offset, one.size) != one.checksum:
                break
            checksum = segment.read_checksum(kept, one.offset + one.size - kept, checksum)
            kept = one.offset + one.size
        self._journal.cut(replace(state, committed_size=kept, checksum=checksum))

    # Going on

    def is_due(self, pending_size: int) -> bool:
        """Whether a group of so many bytes should be committed now."""
        size_max = SYNCED_GROUP_SIZE if self._is_full else GROUP_SIZE
        return pending_size >= size_max or self._clock.monotonic() - self._committed_s >= self._pause_s

    def commit(
        self, view: memoryview, extents: Sequence[Extent], failures: Sequence[FailureEntry], progress: Progress
    ) -> None:
        """Have these rows and failures durable; only now may anybody say that they are done.

        ``view``: the bytes to append; ``extents``: offsets from the first of these.  Raises ``ResourceError`` if the
        machine cannot do it, and then nothing of it is committed.
        """
        begun_s = self._clock.monotonic()
        while True:
            try:
                self._commit(view, extents, failures, progress)
                break
            except NoRoomError as error:
                if self._segment is not None:
                    self._segment.take_back(self.state.committed_size, self.state.checksum)
                if not self._wait_for_room(error):
                    raise
        self._committed_s = self._clock.monotonic()
        self._pause_s = min(GROUP_MAX_S, max(GROUP_S, GROUP_PAUSES * (self._committed_s - begun_s)))

    def _commit(
        self, view: memoryview, extents: Sequence[Extent], failures: Sequence[FailureEntry], progress: Progress
    ) -> None:
        state = self.state
        # Rows for which there was no room are written again as a whole, so that nothing of a failed sync is believed.
        with self._suspicion(spared=NoRoomError):
            if self._is_full and extents:
                self._sync_folders()
            if self._segment is not None and len(view):
                self._segment.append(view, checksum_with(view, extents, self._segment.checksum))
                if self._is_full:
                    self._segment.sync()
        reach("before_commit")
        self._journal.commit(
            [one._replace(offset=one.offset + state.committed_size) for one in extents],
            failures,
            replace(
                state,
                committed_size=state.committed_size + len(view),
                checksum=0 if self._segment is None else self._segment.checksum,
                columns=progress.columns.decode("latin-1"),
                header_size=progress.header_size,
                totals=progress.totals,
                work_s=progress.work_s,
            ),
        )
        reach("after_commit")

    def _sync_folders(self) -> None:
        """Have the files durable that the script wrote itself: one call for each file system that they are on."""
        for folder in {folder.stat().st_dev: folder for folder in self._folders.values()}.values():
            sync_file_system(folder)

    @contextlib.contextmanager
    def _suspicion(self, spared: type[ResourceError] | tuple[()] = ()) -> Iterator[None]:
        """After an error, unless it is one of ``spared``, have every byte checked before anybody goes on."""
        try:
            yield
        except spared:
            raise
        except (OSError, ResourceError):
            with contextlib.suppress(Exception):  # the error itself is the one to tell
                self._journal.update(replace(self.state, is_suspect=True))
            raise

    # The end

    def put_in_order(self, *, any_order: bool = False) -> None:
        """Copy the rows into the order of the items, if they are not yet.

        ``any_order``: only if there are rows that do not count any more between them, of a mini-batch that was retried.
        """
        segment = self._segment
        if segment is None or (self._has_no_holes if any_order else self._journal.is_in_order()):
            return
        reach("before_order")
        segment.check()
        while True:
            try:
                size, checksum = write_ordered(segment.path, self.state.header_size, self._journal.extents())
                break
            except NoRoomError as error:
                with contextlib.suppress(FileNotFoundError):
                    ordered_path(segment.path).unlink()
                if not self._wait_for_room(error):
                    raise
        reach("order_copied")
        self._journal.set_ordered(replace(self.state, phase="ordered", committed_size=size, checksum=checksum))
        reach("order_committed")
        segment.close()
        self._finish_order(segment.path)
        segment.open()
        segment.cut(size, checksum)

    @property
    def _has_no_holes(self) -> bool:
        state = self.state
        return state.header_size + state.sums.size == state.committed_size

    def finish(self, receipt: Mapping[str, Any], made: tuple[int, int] | None = None) -> None:
        """Everything is done: have the output durable and say so in the journal.  Publishing comes next.

        ``made``: size and CRC-32C of the durable output that was made of the rows.
        """
        self.check()
        if self._segment is not None:
            self._segment.check()
            with self._suspicion():
                self._segment.sync()
        reach("before_finish")
        output_size, output_checksum = made or (self.state.committed_size, self.state.checksum)
        self._journal.update(
            replace(
                self.state,
                phase="finished",
                receipt=receipt,
                output_size=output_size,
                output_checksum=output_checksum,
                file_id=self._file_id(),
                output_ids=self._output_ids(),
            )
        )
        reach("after_finish")

    def drop_rows(self) -> None:
        """The output is made of the rows: remove them, unless those of failed items may be put among them one day."""
        if self._segment is None or self._is_output or self.state.totals.failed:
            return
        with explained(self._segment.path), contextlib.suppress(FileNotFoundError):
            self._segment.path.unlink()

    def check(self) -> None:
        """Raise ``InternalError`` unless every item of the input is accounted for, exactly once."""
        state, totals = self.state, self.state.totals
        sums = state.sums
        is_balanced = (
            totals.succeeded == sums.items - sums.missing
            and totals.failed == self._journal.failed_item_count()
            and totals.succeeded + totals.failed == state.item_count
        )
        if not is_balanced or self._journal.gaps():
            raise InternalError(f"the books do not balance, item_count={state.item_count}, totals={totals}")

    def close(self) -> None:
        if self._segment is not None:
            self._segment.close()
        self._journal.close()

    def _file_id(self) -> int:
        return 0 if self._segment is None else self._segment.file_id

    def _folder_ids(self) -> dict[str, int]:
        return {name: folder.stat().st_ino for name, folder in self._folders.items()}

    def _output_ids(self) -> dict[str, int]:
        return {name: path.lstat().st_ino for name, path in self._outputs.items() if os.path.lexists(path)}
