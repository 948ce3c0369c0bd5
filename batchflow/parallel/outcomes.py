"""What became of the work: from notes and deaths to the plan's books and to what is kept of failures.

The rare path.  Blame is for the mini-batch that was running, and for no other.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple

from batchflow import _core
from batchflow._core import Channel, Gather, Note
from batchflow.errors import InternalError
from batchflow.model import Dispatch, Failure, FailureEntry, Shortfall
from batchflow.output.failed import entry_of_failure, entry_of_shortfall
from batchflow.parallel.feeder import Feeder
from batchflow.parallel.pieces import Piece, Pieces
from batchflow.plan import Lost, Plan
from batchflow.pool.events import WorkerDied
from batchflow.tables.typed import difference
from batchflow.text import mebibytes

INIT_FAILURES_MAX = 3


@dataclass
class InitTrouble:
    """Failures to get workers ready."""

    in_a_row: int = 0
    """Since a worker last got ready."""
    any_ready: bool = False
    last: dict[str, Any] = field(default_factory=dict)
    _of_worker: Counter[int] = field(default_factory=Counter)

    def ready(self, worker: int) -> None:
        self.in_a_row = 0
        self.any_ready = True
        self._of_worker[worker] = 0

    def failed(self, worker: int, description: dict[str, Any] | None = None) -> None:
        self.in_a_row += 1
        self._of_worker[worker] += 1
        self.last = description or self.last

    @property
    def no_success(self) -> bool:
        """It looks as if no worker could ever get ready."""
        return not self.any_ready and self.in_a_row >= INIT_FAILURES_MAX

    def has_no_hope(self, worker: int) -> bool:
        return self._of_worker[worker] >= INIT_FAILURES_MAX


class Undecided(NamedTuple):
    """A part that came back while nobody knew yet which columns are the right ones."""

    part: Dispatch
    piece: Piece
    worker: int
    pid: int


class Outcomes:
    """Tells plan, gather and feeder what happened; they decide nothing together without it.

    At a group commit the driver calls ``take_failures`` with ``Gather.output`` and ``take_extents``, and ``settle``
    when these are committed: what a commit could not take counts nowhere.
    """

    def __init__(self, plan: Plan, gather: Gather, feeder: Feeder, pieces: Pieces) -> None:
        self._plan = plan
        self._gather = gather
        self._feeder = feeder
        self._pieces = pieces
        self._undecided: list[Undecided] = []
        self._entries: list[FailureEntry] = []
        self._provisional: list[FailureEntry] = []
        """Of items that may have the wrong columns, as long as rows with the right ones are not appended."""
        self._unbooked: list[Shortfall] = []
        self._counted = gather.counts
        self.init = InitTrouble()
        self.first_lost: Lost | None = None
        self.first_shortfall: Shortfall | None = None

    def take_failures(self) -> list[FailureEntry]:
        """What has failed since the last call, and the shortfalls in what the gather has appended."""
        self._take_shortfalls()
        if self._gather.columns:
            self._entries += self._provisional
            self._provisional = []
        entries, self._entries = self._entries, []
        return entries

    def settle(self) -> bool:
        """Book what the gather has appended since the last call, now that it is committed; True if it was anything.

        ``take_failures`` has been called since the gather appended anything.
        """
        counts, before = self._gather.counts, self._counted
        if counts.done == before.done:
            return False
        self._plan.succeeded(counts.done - before.done, counts.succeeded - before.succeeded)
        self._counted = counts
        for shortfall in self._unbooked:
            self._plan.fell_short(shortfall)
        self._unbooked.clear()
        return True

    def _take_shortfalls(self) -> None:
        for index, attempt, returned, missing, start, count in self._gather.take_shortfalls():
            shortfall = Shortfall(index, attempt, returned, missing, start, count)
            self.first_shortfall = self.first_shortfall or shortfall
            number, _, _ = next(self._plan.mini_batches.on_grid(start, start + count))
            self._entries.append(entry_of_shortfall(shortfall, number))
            self._unbooked.append(shortfall)

    def read_note(
        self, note: Note, worker: int, pid: int
    ) -> Literal["ready", "init_failed", "part", "failed", "no_memory", "damaged"]:
        """Book one note of a worker; says what it was."""
        if note.kind == _core.READY:
            self.init.ready(worker)
            return "ready"
        if note.kind == _core.INIT_FAILED:
            self.init.failed(worker, json.loads(note.payload))
            return "init_failed"
        if note.kind == _core.DAMAGED:
            return "damaged"
        dispatch = self._dispatch(note.mini_batch_index, note.attempt, note.start, note.item_count)
        if note.kind == _core.PART:
            piece = Piece(note.start, note.item_count, note.returned, note.columns, note.payload)
            self._undecided.append(Undecided(dispatch, piece, worker, pid))
            return "part"
        if note.kind == _core.FAILURE:
            failure = _failure_of(dispatch, json.loads(note.payload), worker, pid)
            self._fail(failure)
            if failure.error_type.endswith("MemoryError"):
                return "no_memory"
        elif note.kind == _core.COLUMNS_DIFFER:
            self._fail(self._column_failure(dispatch, note.columns, worker, pid))
        else:
            raise InternalError(f"a note of unknown kind, kind={note.kind}")
        return "failed"

    def _dispatch(self, index: int, attempt: int, start: int, count: int) -> Dispatch:
        """As it was given out: while a mini-batch isolates, only parts of it are."""
        return Dispatch(index, attempt, start, count, self._plan.is_isolating(index))

    def bury(
        self, death: WorkerDied, *, damaged: bool, run_timeout_s: float, worker_memory: int | None = None
    ) -> Dispatch | None:
        """Book what a dead worker held; its channel has been drained.  Returns what is to blame, if anything is."""
        channel = death.channel
        held = [self._dispatch(*flight) for flight in channel.flights()]
        started = bool(held) and (channel.first_started or damaged) and not death.with_zygote
        blamed = held.pop(0) if started else None
        for dispatch in held:
            self._plan.returned(dispatch)
        if blamed is not None:
            where = f"mini_batch_index={self._plan.mini_batches.number(blamed.mini_batch_index)}"
            limits = {"run_timeout_s": run_timeout_s, "worker_memory": worker_memory or 0}
            self._fail(_failure_of_death(blamed, death, where, damaged=damaged, **limits))
        return blamed

    # Failures

    def _fail(self, failure: Failure) -> None:
        failures = [failure]
        while failures:  # not by recursion: all that waits behind a lost one may have other columns
            failures += self._book_failure(failures.pop())

    def _book_failure(self, failure: Failure) -> list[Failure]:
        """Returns what turned out to have failed, too."""
        dispatch = failure.dispatch
        index = dispatch.mini_batch_index
        lost = self._plan.failed(failure)
        if lost is None:
            self._feeder.failed_on(index, failure.worker)
        else:
            self._lose(lost)
        if self._plan.is_isolated(index):
            return self._finish(index)
        return [] if lost is None or dispatch.is_part else self._put(index, dispatch.attempt, [])

    def _lose(self, lost: Lost) -> None:
        if self.first_lost is None or lost.dispatch.start < self.first_lost.dispatch.start:
            self.first_lost = lost  # the first of the input, whichever came first
        # What a crash undoes must not be what an item has failed by.
        is_provisional = not self._gather.columns and self._pieces.columns(lost.dispatch.mini_batch_index)
        (self._provisional if is_provisional else self._entries).extend(self._entries_of(lost))

    def _entries_of(self, lost: Lost) -> Iterator[FailureEntry]:
        """One for each mini-batch of the grid that has some of the items: that is where users look for them."""
        whole = lost.dispatch
        for number, start, stop in self._plan.mini_batches.on_grid(whole.start, whole.start + whole.count):
            dispatch = replace(whole, start=start, count=stop - start)
            yield entry_of_failure(replace(lost.failure, dispatch=dispatch), number)

    def _put(self, index: int, attempt: int, pieces: Sequence[Piece]) -> list[Failure]:
        """Hand what is left of a mini-batch to the gather; what waited for it may have columns that differ."""
        return [
            self._column_failure(
                self._dispatch(note.mini_batch_index, note.attempt, note.start, note.item_count), note.columns
            )
            for note in self._gather.put(index, attempt, pieces)
        ]

    def _column_failure(self, dispatch: Dispatch, columns: bytes, worker: int = -1, pid: int = 0) -> Failure:
        message = _column_message(self._known_columns(dispatch), columns)
        return Failure(dispatch, "contract", "ContractError", message, worker=worker, pid=pid)

    def spill(self) -> None:
        """Append what waits for an earlier result, out of order; the file is put in order at the end."""
        for note in self._gather.spill():
            dispatch = self._dispatch(note.mini_batch_index, note.attempt, note.start, note.item_count)
            self._fail(self._column_failure(dispatch, note.columns))

    # Isolation

    def review(self) -> None:
        """Decide the parts whose columns can be judged by now; to be called whenever channels were drained."""
        while any(self._decide(one) for one in list(self._undecided)):  # one may be what others wait for
            pass

    def hand_over(self) -> None:
        """The step ends early: have all that succeeded committed, also what isolation has saved so far.

        What is left is for another run; this one can only commit from now on.
        """
        for index in self._pieces.mini_batches:
            attempt, pieces = self._pieces.take(index)
            self._plan.stop_isolation(index)
            self._put(index, attempt, pieces)
        self.spill()

    def _decide(self, undecided: Undecided) -> bool:
        part, piece = undecided.part, undecided.piece
        is_good = self._is_good(part, piece)
        if is_good is None:
            return False
        self._undecided.remove(undecided)
        if not is_good:
            self._fail(self._column_failure(part, piece.columns, undecided.worker, undecided.pid))
            return True
        self._pieces.keep(part.mini_batch_index, part.attempt, piece)
        self._plan.part_succeeded(part)
        if self._plan.is_isolated(part.mini_batch_index):
            for failure in self._finish(part.mini_batch_index):
                self._fail(failure)
        return True

    def _is_good(self, part: Dispatch, piece: Piece) -> bool | None:
        """Whether a part has the right columns: those of the first rows of the input; None if these are yet to come."""
        if not piece.names_columns:
            return True
        known = self._known_columns(part)
        if known:
            return piece.columns == known
        is_first = self._gather.next == part.mini_batch_index and self._plan.is_first_open(part)
        return True if is_first else None

    def _known_columns(self, dispatch: Dispatch) -> bytes:
        return self._gather.columns or self._pieces.columns(dispatch.mini_batch_index)

    def _finish(self, index: int) -> list[Failure]:
        """All parts of a mini-batch are decided.  Returns what turned out to have failed, too."""
        attempt, pieces = self._pieces.take(index)
        known = self._gather.columns
        # Results that need not wait for their turn may have named the columns since these were judged.
        late = [piece for piece in pieces if piece.names_columns and known and piece.columns != known]
        spoilt = [Dispatch(index, attempt, piece.start, piece.item_count, is_part=True) for piece in late]
        for part, piece in zip(spoilt, late, strict=True):
            self._lose(Lost(part, self._column_failure(part, piece.columns)))
            pieces.remove(piece)
        self._plan.finish_isolation(index, spoilt)
        return self._put(index, attempt, pieces)


def read(outcomes: Outcomes, gather: Gather, channel: Channel, worker: int, pid: int) -> set[str]:
    """Drain one channel, up to some megabytes, and book every note; the kinds of notes that there were."""
    kinds: set[str] = {outcomes.read_note(note, worker, pid) for note in gather.drain(channel)}
    outcomes.review()
    return kinds


def read_last(outcomes: Outcomes, gather: Gather, death: WorkerDied) -> set[str]:
    """Drain all that a dead worker has published: only then is it known what it was doing."""
    kinds: set[str] = set()
    is_empty = False
    while not is_empty and "damaged" not in kinds:
        kinds |= read(outcomes, gather, death.channel, death.worker, death.exit.pid)
        is_empty = death.channel.is_drained
    return kinds


def _failure_of(dispatch: Dispatch, description: dict[str, Any], worker: int, pid: int) -> Failure:
    return Failure(
        dispatch,
        description["kind"],
        description["error_type"],
        description["message"],
        traceback=description["traceback"],
        worker=worker,
        pid=pid,
    )


_DEATHS = {"died": "WorkerDiedError", "timeout": "TimeoutError", "memory": "OutOfMemoryError"}
"""What to call the error, by the kind of failure."""


def _failure_of_death(
    dispatch: Dispatch, death: WorkerDied, where: str, *, damaged: bool, run_timeout_s: float, worker_memory: float
) -> Failure:
    where += f", attempt={dispatch.attempt}, pid={death.exit.pid}"
    items = f"items {dispatch.start:,} to {dispatch.start + dispatch.count - 1:,}"
    kind: Literal["died", "timeout", "memory"] = "died"
    if death.timed_out:
        kind = "timeout"
        message = (
            f"run() took longer than run_invocation_timeout={run_timeout_s:g} s, "
            f"worker {death.worker} was killed, {where}"
        )
    elif death.memory_held:
        kind = "memory"
        message = (
            f"worker {death.worker} held {mebibytes(death.memory_held)} in run(), far more than "
            f"worker_memory={mebibytes(worker_memory)}, and was killed, {where}, {items}"
        )
    elif death.out_of_memory:
        kind = "memory"
        message = (
            f"worker {death.worker} was killed by the kernel because memory ran out, "
            f"peak memory {mebibytes(death.peak_rss)}, {where}, {items}"
        )
    elif damaged:
        message = f"worker {death.worker} wrote over memory that is not its own and was killed, {where}"
    else:
        memory = f", peak memory {mebibytes(death.peak_rss)}" if death.peak_rss else ""
        how = f"{death.exit.describe()}{death.crashed_at and f' at {death.crashed_at}'}"
        message = f"worker {death.worker} died: {how}, {where}{memory}"
    return Failure(
        dispatch,
        kind,
        _DEATHS[kind],
        message,
        traceback=death.stack,
        signal=death.exit.signal,
        exit_code=death.exit.exit_code,
        worker=death.worker,
        pid=death.exit.pid,
        output_tail=death.output_tail,
    )


def _column_message(expected: bytes, got: bytes) -> str:
    """Names the first column that differs."""
    if typed := difference(expected, got):
        return f"the columns differ from those of the first mini-batch with rows: {typed}"
    before, now = (text.decode("utf-8", "replace").rstrip("\n") for text in (expected, got))
    return f"the columns differ from those of the first mini-batch with rows, expected {before!r}, got {now!r}"
