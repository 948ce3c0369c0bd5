"""The journal of one parallel step: which items are done, and where their rows lie in the output.

```
state     one row: what the step is made from, how far it is, the running totals
extents   consecutive items whose rows lie in consecutive bytes of the output
failures  items that failed, as ``failed.jsonl`` tells them; and mini-batches that fell short (kind "shortfall")
cuts      one row, if any: the grid where its mini-batches are not of one size
```

One file for each step, nothing in it for a single item that went well.  ``commit`` is called when the bytes are
durable, and nothing counts as done before it returns.  Writes only its own file; never looks into the output.

Invariants: extents and failures (but shortfalls, which lie in an extent) are disjoint ranges of items; the extents'
sums are those of the state, so that a flipped bit is noticed; all changes of one call are durable, or none.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from batchflow._core import Extent
from batchflow.errors import InternalError
from batchflow.journal.database import Database, pack
from batchflow.journal.grids import put_grid, read_grid
from batchflow.journal.layout import ANY_ROWS, DONE, FAILED, JOURNAL
from batchflow.journal.shapes import ShapeError, check_receipt, check_signature
from batchflow.journal.state import State
from batchflow.journal.sums import COLUMNS, OFFSETS, SUMS, Sums
from batchflow.mini_batches import FailedMiniBatches, Grid
from batchflow.model import FailureEntry

JOURNAL_NAME = "journal.db"


class Journal:
    """An open ``journal.db``; made by ``open_for_run`` or ``open_for_reading``, a context manager that closes it."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._state = self._read_state()
        self._gaps: list[tuple[int, int]] | None = None
        self._failed: FailedMiniBatches | None = None
        self._grid: Grid | None = None

    @classmethod
    def open_for_run(cls, folder: Path, *, durability: Literal["full", "process"] = "full") -> Journal:
        """Open, and create if needed, the journal in a step's folder; the caller holds the workflow's lock.

        Raises ``JournalError`` if it is damaged, foreign, or of a newer version.
        """
        synchronous: Literal["FULL", "NORMAL"] = "FULL" if durability == "full" else "NORMAL"
        return cls(Database.open_for_writing(folder / JOURNAL_NAME, JOURNAL, synchronous=synchronous))

    @classmethod
    def open_for_reading(cls, folder: Path) -> Journal | None:
        """Open what is there without creating or locking anything; None if there is nothing."""
        database = Database.open_for_reading(folder / JOURNAL_NAME, JOURNAL)
        return None if database is None else cls(database)

    def close(self) -> None:
        self._database.close()

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    # Reading

    @property
    def path(self) -> Path:
        return self._database.path

    @property
    def state(self) -> State | None:
        """None in a journal that nothing was begun in."""
        return self._state

    @property
    def grid(self) -> Grid:
        """What the whole input was split into by the first run.  Raises ``JournalError`` if it is damaged."""
        if self._grid is None:
            one = self._begun()
            counts = one.item_count, one.cut_count, one.cut_checksum
            self._grid = read_grid(self._database, one.mini_batch_size, *counts)
        return self._grid

    def check_pages(self) -> None:
        """Raise ``JournalError`` unless the file is sound page for page; ``open_for_run`` has seen to it."""
        self._database.check_pages()

    def check(self) -> None:
        """Raise ``JournalError`` unless the tables agree with the state: every item at most once, every sum right."""
        state = self._begun()
        extent_count, *sums = self._database.read(SUMS)[0]
        if extent_count != state.extent_count or Sums(*sums) != state.sums:
            raise self._database.damaged("the extents do not add up")
        _ = self.grid  # raises, too
        self._gaps = self._find_gaps()

    def gaps(self) -> list[tuple[int, int]]:
        """The items still to do: ascending, disjoint, half-open ranges.

        Raises ``JournalError`` if an item is done twice or is none of the input.
        """
        if self._gaps is None:
            self._gaps = self._find_gaps()
        return self._gaps

    def _find_gaps(self) -> list[tuple[int, int]]:
        item_count = self._begun().item_count
        gaps, end = [], 0
        try:
            for first, stop in self._database.iterate(f"{DONE} ORDER BY first_item"):
                if first < end or stop <= first or type(stop) is not int:
                    raise TypeError
                if first > end:
                    gaps.append((end, first))
                end = stop
            if end > item_count:
                raise TypeError
        except TypeError:
            raise self._database.damaged("an item is in it twice or is none of the input") from None
        return [*gaps, (end, item_count)] if end < item_count else gaps

    def extents(self, *, by: Literal["first_item", "offset"] = "first_item", since_commit: int = 0) -> Iterator[Extent]:
        """The extents with rows in order of items or of bytes, those of commit ``since_commit`` and later."""
        rows = self._database.iterate(
            f"SELECT {COLUMNS} FROM extents WHERE commit_number >= ? AND size > 0 ORDER BY {by}", (since_commit,)
        )
        return (self._extent(row) for row in rows)

    def is_in_order(self) -> bool:
        """Whether the rows lie in the order of the items, one behind the other, with nothing between them."""
        state = self._begun()
        rows = self._database.read(
            "SELECT 1 FROM (SELECT offset, coalesce(lag(offset + size) OVER (ORDER BY first_item), ?) AS expected"
            " FROM extents WHERE size > 0) WHERE offset != expected LIMIT 1",
            (state.header_size,),
        )
        return not rows and state.header_size + state.sums.size == state.committed_size

    def failures(self) -> Iterator[FailureEntry]:
        """What failed, in order of items."""
        rows = self._database.iterate("SELECT first_item, item_count, kind, entry FROM failures ORDER BY first_item")
        unpack = self._database.unpack
        return (
            FailureEntry(first, count, kind, unpack(text, (first, count, kind))) for first, count, kind, text in rows
        )

    def failed_item_count(self) -> int:
        """Items in failures, and those missing in shortfalls."""
        ((count,),) = self._database.read("SELECT coalesce(sum(item_count), 0) FROM failures WHERE kind != 'shortfall'")
        return int(count) + self._begun().sums.missing

    def failed_mini_batches(self) -> FailedMiniBatches:
        """Those of the grid with items that failed or are missing, as they are recorded now; the caller's own.

        ``check`` has found that they are items of the input.
        """
        failed = FailedMiniBatches(self.grid)
        for start, stop, missing_count in self._database.iterate(FAILED):
            failed.add(start, stop, missing_count)
        return failed

    def _extent(self, row: tuple[Any, ...]) -> Extent:
        if not all(type(value) is int and value >= 0 for value in row):
            raise self._database.damaged("an extent has a value that is no count")
        return Extent(*row)

    # Writing

    def begin(self, state: State, grid: Grid | None = None) -> None:
        """Forget everything and begin anew; ``grid``: that of the step, if it is another than the state says."""
        with self._database.transaction():
            cut_count, cut_checksum = put_grid(self._database, grid)
            state = replace(state, cut_count=cut_count, cut_checksum=cut_checksum)
            self._database.execute("DELETE FROM extents")
            self._database.execute("DELETE FROM failures")
            self._put(state)
        self._set(state)
        self._grid = grid

    def commit(self, extents: Sequence[Extent], failures: Sequence[FailureEntry], state: State) -> None:
        """Add what was done since the last commit, all or nothing.

        ``state``: ``committed_size``, ``checksum`` and the like as they are from now on; what extents and failures add
        up to (items, rows) is counted here.  Offsets are those in the output file.
        """
        before = self._begun()
        failed = self._failed or self.failed_mini_batches()
        self._failed = None  # until this is durable
        for one in extents:
            if one.missing:
                failed.add(one.first_item, one.first_item + one.item_count, one.missing)
        for entry in failures:
            if entry.kind != "shortfall":
                failed.add(entry.first_item, entry.first_item + entry.item_count)
        state = replace(
            state,
            commit_number=before.commit_number + 1,
            sums=before.sums.plus(extents),
            extent_count=before.extent_count + len(extents),
            totals=replace(
                state.totals,
                succeeded=before.totals.succeeded + sum(one.item_count - one.missing for one in extents),
                failed=before.totals.failed
                + sum(one.missing for one in extents)
                + sum(one.item_count for one in failures if one.kind != "shortfall"),
                failed_mini_batches=failed.count,
                rows=before.totals.rows + sum(one.returned for one in extents),
            ),
        )
        expected = before.committed_size + state.header_size - before.header_size
        for one in extents:  # P3: they tile what is appended
            if one.size and one.offset != expected:
                raise InternalError(f"an extent does not follow the last one, offset={one.offset}, expected={expected}")
            expected += one.size
        if expected != state.committed_size:
            raise InternalError(f"extents end at {expected}, the committed bytes at {state.committed_size}")
        with self._database.transaction():
            self._database.execute_many(
                f"INSERT INTO extents ({COLUMNS}, commit_number) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                [(*one, state.commit_number) for one in extents],
            )
            self._insert_failures(failures)
            self._put(state)
        self._set(state)
        self._failed = failed

    def update(self, state: State) -> None:
        """Change nothing but the state."""
        with self._database.transaction():
            self._put(state)
        self._set(state)

    def set_ordered(self, state: State) -> None:
        """The output has been copied into input order: its extents lie one behind the other now."""
        with self._database.transaction():
            self._database.execute(
                "UPDATE extents SET offset = moved.offset FROM (SELECT first_item, ? + sum(size) OVER"
                " (ORDER BY first_item ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) - size AS offset FROM extents)"
                " AS moved WHERE extents.first_item = moved.first_item",
                (state.header_size,),
            )
            ((offsets,),) = self._database.read(f"SELECT {OFFSETS} FROM extents")
            state = replace(state, sums=self._begun().sums._replace(offsets=offsets))
            self._put(state)
        self._set(state)

    def reopen(self, state: State) -> None:
        """Have everything that failed, and every mini-batch that fell short, done again."""
        short = [self._extent(row) for row in self._database.read(f"SELECT {COLUMNS} FROM extents WHERE missing > 0")]
        state = self._without(state, short)
        totals = replace(state.totals, failed=0, failed_mini_batches=0)
        state = replace(state, totals=totals)
        with self._database.transaction():
            self._database.execute("DELETE FROM extents WHERE missing > 0")
            self._database.execute("DELETE FROM failures")
            self._put(state)
        self._set(state)

    def cut(self, state: State) -> None:
        """Forget the extents that end beyond ``state.committed_size``: their bytes were lost with the power."""
        statement = f"SELECT {COLUMNS} FROM extents WHERE size > 0 AND offset + size > ?"
        lost = [self._extent(row) for row in self._database.read(statement, (state.committed_size,))]
        state = self._without(state, lost)
        with self._database.transaction():
            self._database.execute_many(
                "DELETE FROM failures WHERE kind = 'shortfall' AND first_item = ?",
                [(one.first_item,) for one in lost],
            )
            self._database.execute_many("DELETE FROM extents WHERE first_item = ?", [(one.first_item,) for one in lost])
            totals = replace(state.totals, failed_mini_batches=self.failed_mini_batches().count)
            state = replace(state, totals=totals)
            self._put(state)
        self._set(state)

    def _without(self, state: State, gone: Sequence[Extent]) -> State:
        """The state with these extents, and what they added to the totals, taken out."""
        before, totals = self._begun(), state.totals
        return replace(
            state,
            sums=before.sums.plus(gone, sign=-1),
            extent_count=before.extent_count - len(gone),
            totals=replace(
                totals,
                succeeded=totals.succeeded - sum(one.item_count - one.missing for one in gone),
                failed=totals.failed - sum(one.missing for one in gone),
                rows=totals.rows - sum(one.returned for one in gone),
            ),
        )

    def _insert_failures(self, failures: Sequence[FailureEntry]) -> None:
        self._database.execute_many(
            "INSERT INTO failures (first_item, item_count, kind, entry) VALUES (?, ?, ?, ?)",
            [(*(key := (one.first_item, one.item_count, one.kind)), pack(dict(one.entry), key)) for one in failures],
        )

    def _put(self, state: State) -> None:
        self._database.execute(
            "INSERT INTO state (id, state) VALUES (1, ?) ON CONFLICT (id) DO UPDATE SET state = excluded.state",
            (pack(asdict(state)),),
        )

    def _read_state(self) -> State | None:
        rows = self._database.read("SELECT state FROM state")
        if not rows:
            if self._database.read(ANY_ROWS)[0][0]:
                raise self._database.damaged("it has no state, and tables that are not empty")
            return None
        state = self._database.revive(State, rows[0][0])
        with self._database.believing():
            if state.mini_batch_size < (0 if state.cut_count else 1):
                raise ShapeError("a mini-batch has no items")
            if state.signature:
                check_signature(state.signature)
            check_receipt(state.receipt)
        return state

    def _set(self, state: State) -> None:
        self._state, self._gaps, self._failed = state, None, None

    def _begun(self) -> State:
        if self._state is None:
            raise InternalError(f"nothing was begun in the journal, path={self.path}")
        return self._state
