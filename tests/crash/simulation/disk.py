"""Output and journal in memory, and a committer that may crash between any two of its actions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from random import Random
from typing import Any

from batchflow._core import Extent, crc32c
from batchflow.journal.state import State
from batchflow.mini_batches import CutGrid, FailedMiniBatches, UniformGrid
from batchflow.model import FailureEntry
from batchflow.parallel.committer import Progress
from tests.crash.simulation.case import mask

ODD_COLUMNS = "the columns differ"
"""How the message of an item begins that is lost for its columns."""


class Crash(Exception):
    """The driver is gone."""


class DiskError(Exception):
    """The machine gave out: the run ends, what it had committed stays."""


class Violation(Exception):
    """What must never be."""


class Journal:
    """Of one step, over all its runs.  ``commit`` is one transaction: all of it or nothing."""

    def __init__(self, item_count: int, size: int, grid: CutGrid | None) -> None:
        self.state = State(run_id="r", step="s", item_count=item_count, signature={}, mini_batch_size=size)
        self.grid = grid or UniformGrid(size, item_count)
        self.extents: list[Extent] = []
        self.failures: list[FailureEntry] = []
        self.done = self.failed = 0  # sets of items
        self.output = bytearray()
        self.is_ordered = True
        """Nothing but the order of the input says which columns are the right ones."""
        self.was_ordered = True

    def gaps(self) -> list[tuple[int, int]]:
        left = mask(0, self.state.item_count) & ~(self.done | self.failed)
        gaps = []
        while left:
            start = (left & -left).bit_length() - 1
            length = ((left >> start) + 1 & ~(left >> start)).bit_length() - 1
            gaps.append((start, start + length))
            left &= ~mask(start, length)
        return gaps

    def commit(self, extents: Sequence[Extent], failures: Sequence[FailureEntry], state: State) -> None:
        before = self.state
        self.was_ordered = self.was_ordered and self.is_ordered
        expected = before.committed_size + state.header_size - before.header_size
        for one in extents:
            items = mask(one.first_item, one.item_count)
            if items & (self.done | self.failed):
                raise Violation(f"items are committed twice, {one.first_item} and {one.item_count} in all")
            if one.size and one.offset != expected:
                raise Violation(f"an extent begins at {one.offset}, not at {expected}")
            if crc32c(bytes(self.output[one.offset : one.offset + one.size])) != one.checksum:
                raise Violation(f"the checksum of the extent at {one.offset} is wrong")
            expected += one.size
            self.done |= items
        for entry in failures:
            items = mask(entry.first_item, entry.item_count)
            if entry.kind == "shortfall":
                if items & ~self.done:
                    raise Violation(f"a shortfall without its rows, first_item={entry.first_item}")
            elif items & (self.done | self.failed):
                raise Violation(f"an item is done and has failed, first_item={entry.first_item}")
            else:
                self.failed |= items
        if state.columns and not before.columns and self.is_ordered:
            first = min(one.first_item for one in extents if one.size)
            odd = [one for one in (*self.failures, *failures) if one.entry.get("message", "").startswith(ODD_COLUMNS)]
            if any(one.first_item < first for one in odd):
                raise Violation(f"item {first} named the columns, and one before it has other ones")
        if expected != state.committed_size:
            raise Violation(f"extents end at {expected}, the committed bytes at {state.committed_size}")
        lost = [one.item_count for one in failures if one.kind != "shortfall"]
        missing = sum(one.missing for one in extents)
        totals = replace(
            state.totals,
            succeeded=before.totals.succeeded + sum(one.item_count for one in extents) - missing,
            failed=before.totals.failed + missing + sum(lost),
            rows=before.totals.rows + sum(one.returned for one in extents),
        )
        self.extents += extents
        self.failures += failures
        self.state = replace(state, totals=replace(totals, failed_mini_batches=self.failed_mini_batches().count))

    def failed_mini_batches(self) -> FailedMiniBatches:
        failed = FailedMiniBatches(self.grid)
        for one in self.extents:
            if one.missing:
                failed.add(one.first_item, one.first_item + one.item_count, one.missing)
        for entry in self.failures:
            if entry.kind != "shortfall":
                failed.add(entry.first_item, entry.first_item + entry.item_count)
        return failed

    def resume(self) -> None:
        """Cut off what was written and not committed."""
        if len(self.output) < self.state.committed_size:
            raise Violation("committed bytes are gone")
        del self.output[self.state.committed_size :]


class Committer:
    """In the order of the real one: bytes, then journal, then they count."""

    def __init__(self, journal: Journal, rng: Random, point: Callable[[], None], disk_rate: float) -> None:
        self._journal = journal
        self._rng = rng
        self._point = point
        self._disk_rate = disk_rate

    @property
    def state(self) -> State:
        return self._journal.state

    def is_due(self, pending_size: int) -> bool:
        return self._rng.random() < 0.5

    def commit(
        self, view: memoryview, extents: Sequence[Extent], failures: Sequence[FailureEntry], progress: Progress
    ) -> None:
        journal, state = self._journal, self._journal.state
        self._point()
        for _ in range(3):
            if not (self._disk_rate and self._rng.random() < self._disk_rate):
                break
            self._write(bytes(view[: self._rng.randrange(len(view) + 1)]))
            if self._rng.random() < 0.5:
                raise DiskError
            self._write(b"")  # no room: cut off what was written, wait, try again
        self._write(bytes(view[: len(view) // 2]))
        self._point()
        self._write(bytes(view))
        self._point()
        moved = [one._replace(offset=one.offset + state.committed_size) for one in extents]
        values: dict[str, Any] = {"header_size": progress.header_size, "columns": progress.columns.decode()}
        size = state.committed_size + len(view)
        journal.commit(moved, failures, replace(state, committed_size=size, totals=progress.totals, **values))
        self._point()

    def _write(self, rows: bytes) -> None:
        self._journal.output[self.state.committed_size :] = rows
