"""What became of the work: from notes and deaths to the plan's books and the failure log.

The rare path.  Blame is for the mini-batch that was running, and for no other.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Literal

from batchflow import _core
from batchflow._core import Channel, Gather, Listing, Note
from batchflow.errors import InternalError
from batchflow.model import Dispatch, Failure, FailureEntry, Shortfall
from batchflow.output.failed import entry_of_failure, entry_of_shortfall
from batchflow.parallel.feeder import Feeder
from batchflow.plan import Lost, Plan
from batchflow.pool.events import WorkerDied

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


class Outcomes:
    """Tells plan, gather, feeder and failure log what happened; they decide nothing together without it."""

    def __init__(self, plan: Plan, gather: Gather, feeder: Feeder, listing: Listing, mini_batch_size: int) -> None:
        self._plan = plan
        self._gather = gather
        self._feeder = feeder
        self._failures: list[FailureEntry] = []
        self._listing = listing
        self._mini_batch_size = mini_batch_size
        self._counted = gather.counts
        self.init = InitTrouble()
        self.first_lost: Lost | None = None
        self.first_shortfall: Shortfall | None = None

    def item_count(self, mini_batch_index: int) -> int:
        start = mini_batch_index * self._mini_batch_size
        return min(self._mini_batch_size, self._listing.item_count - start)

    def items(self, mini_batch_index: int) -> list[str]:
        start = mini_batch_index * self._mini_batch_size
        return self._listing.paths(start, start + self.item_count(mini_batch_index))

    def settle(self) -> bool:
        """Book what the gather has appended since the last call; True if there was anything."""
        counts, before = self._gather.counts, self._counted
        if counts.done == before.done:
            return False
        self._plan.succeeded(counts.done - before.done, counts.succeeded - before.succeeded)
        self._counted = counts
        for index, attempt, returned, missing, _, _ in self._gather.take_shortfalls():
            shortfall = Shortfall(index, attempt, returned, missing)
            self.first_shortfall = self.first_shortfall or shortfall
            self._plan.fell_short(shortfall)
            start = index * self._mini_batch_size
            self._failures.append(entry_of_shortfall(shortfall, start, self.item_count(index)))
        return True

    def take_failures(self) -> list[FailureEntry]:
        """What failed for good since the last call, for the journal."""
        failures, self._failures = self._failures, []
        return failures

    def read_note(self, note: Note, worker: int, pid: int) -> Literal["ready", "init_failed", "failed", "damaged"]:
        """Book one note of a worker; says what it was."""
        if note.kind == _core.READY:
            self.init.ready(worker)
            return "ready"
        if note.kind == _core.INIT_FAILED:
            self.init.failed(worker, json.loads(note.payload))
            return "init_failed"
        if note.kind == _core.DAMAGED:
            return "damaged"
        dispatch = Dispatch(note.mini_batch_index, note.attempt)
        if note.kind == _core.FAILURE:
            self._fail(_failure_of(dispatch, json.loads(note.payload), worker, pid))
        elif note.kind == _core.COLUMNS_DIFFER:
            self._fail(self._column_failure(note, worker, pid))
        else:
            raise InternalError(f"a note of unknown kind, kind={note.kind}")
        return "failed"

    def bury(self, death: WorkerDied, *, damaged: bool, run_timeout_s: float) -> bool:
        """Book what a dead worker held; its channel has been drained.  True if a mini-batch is to blame."""
        channel = death.channel
        flights = channel.flights()
        started = bool(flights) and (channel.first_started or damaged) and not death.with_zygote
        if started:
            self._fail(
                _failure_of_death(Dispatch(*flights[0][:2]), death, damaged=damaged, run_timeout_s=run_timeout_s)
            )
        for index, attempt, _, _ in flights[1:] if started else flights:
            self._plan.returned(Dispatch(index, attempt))
        return started

    def _fail(self, failure: Failure) -> None:
        failures = [failure]
        while failures:  # not by recursion: all that waits behind a skipped one may have other columns
            failure = failures.pop()
            index = failure.dispatch.mini_batch_index
            lost = self._plan.failed(failure, self.item_count(index))
            if lost is None:
                self._feeder.failed_on(index, failure.worker)
                continue
            if self.first_lost is None or index < self.first_lost.dispatch.mini_batch_index:
                self.first_lost = lost  # the first of the input, whichever came first
            self._failures.append(entry_of_failure(failure, index * self._mini_batch_size, self.item_count(index)))
            notes = self._gather.put(index, failure.dispatch.attempt, [])
            failures += [self._column_failure(note, failure.worker, failure.pid) for note in notes]

    def _column_failure(self, note: Note, worker: int, pid: int) -> Failure:
        dispatch = Dispatch(note.mini_batch_index, note.attempt)
        message = _column_message(self._gather.columns, note.columns)
        return Failure(dispatch, "contract", "ContractError", message, worker=worker, pid=pid)


def read(outcomes: Outcomes, gather: Gather, channel: Channel, worker: int, pid: int) -> set[str]:
    """Drain one channel, up to some megabytes, and book every note; the kinds of notes that there were."""
    return {outcomes.read_note(note, worker, pid) for note in gather.drain(channel)}


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


def _failure_of_death(dispatch: Dispatch, death: WorkerDied, *, damaged: bool, run_timeout_s: float) -> Failure:
    where = f"mini_batch_index={dispatch.mini_batch_index}, attempt={dispatch.attempt}, pid={death.exit.pid}"
    kind: Literal["died", "timeout"] = "died"
    if death.timed_out:
        kind = "timeout"
        message = (
            f"run() took longer than run_invocation_timeout={run_timeout_s:g} s, "
            f"worker {death.worker} was killed, {where}"
        )
    elif damaged:
        message = f"worker {death.worker} wrote over memory that is not its own and was killed, {where}"
    else:
        memory = f", peak memory {death.peak_rss / (1 << 20):,.0f} MiB" if death.peak_rss else ""
        message = f"worker {death.worker} died: {death.exit.describe()}, {where}{memory}"
    return Failure(
        dispatch,
        kind,
        "TimeoutError" if kind == "timeout" else "WorkerDiedError",
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
    before, now = (text.decode("utf-8", "replace").rstrip("\n") for text in (expected, got))
    return f"the columns differ from those of the first mini-batch with rows, expected {before!r}, got {now!r}"
