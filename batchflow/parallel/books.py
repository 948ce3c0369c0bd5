"""What a parallel step has to show for itself: results committed in groups, the list of what failed, the receipt.

Between the gather, which collects, the plan's books, and the committer, which makes things durable.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from batchflow._core import Gather
from batchflow.clock import Clock
from batchflow.control import StopLevel, StopRequest
from batchflow.errors import InternalError, InterruptedRunError, JournalError, NoRoomError
from batchflow.failpoints import reach
from batchflow.journal.commits import Journal
from batchflow.journal.state import State, Totals
from batchflow.journal.state_folder import ROWS_NAME
from batchflow.mini_batches import CutGrid, MiniBatches, UniformGrid
from batchflow.model import Receipt
from batchflow.output.checksums import checksum_text
from batchflow.output.failed import write_failures
from batchflow.output.files import explained
from batchflow.output.ordering import ordered_path
from batchflow.output.receipt import write_receipt
from batchflow.output.segment import RESTART_HINT, Segment
from batchflow.output.typed import TypedJob, make_typed
from batchflow.parallel.committer import Committer, Progress
from batchflow.parallel.feeder import WINDOW_SIZE
from batchflow.parallel.inputs import StepInputs
from batchflow.parallel.outcomes import Outcomes
from batchflow.parallel.values import ParallelJob
from batchflow.plan import Before, Plan
from batchflow.pool.watch import Watch

DISK_FULL_WAIT_S = 60.0
DISK_FULL_PAUSE_S = 0.5
SPILL_S = 5.0
"""How long results may wait for an earlier one before they are committed out of order."""
SPILL_FULL_S = 0.5
"""The same when so many wait that the other workers stand still; not at once, for to order the rows later costs more
than a short rest."""


class Books:
    """Opened with the journal of the step; ``follow`` says whose results they keep."""

    def __init__(self, job: ParallelJob, clock: Clock, stop: StopRequest, notice: Callable[[str], None]) -> None:
        self._job = job
        self._clock = clock
        self._stop = stop
        self._notice = notice
        self._room_deadline_s: float | None = None
        self._segment = None
        if job.rows_path is not None:
            self._segment = Segment(job.rows_path, mode=0o600 if job.is_typed else 0o666)
        self._made: tuple[int, int] | None = None
        """Size and checksum of the output that was made of the rows."""
        self.journal = Journal.open_for_run(job.state_folder, durability=job.settings.durability)
        self.committer = Committer(
            self.journal,
            self._segment,
            is_output=not job.is_typed,
            folders=job.folders,
            outputs=job.outputs,
            clock=clock,
            wait_for_room=self._wait_for_room,
        )
        self.may_commit = False
        """Work goes on, and no commit has failed: a sync that did is never tried again."""
        self._before = Totals()
        self._work_s = 0.0
        self._window_watch = Watch(1.0)
        self._started_s = 0.0
        self._failed_checksum = 0

    @property
    def state(self) -> State:
        return self.committer.state

    @property
    def before(self) -> Before:
        """What earlier runs of the step have decided."""
        totals = self.state.totals
        return Before(totals.succeeded, totals.failed, self.journal.failed_mini_batches())

    @property
    def columns(self) -> bytes:
        return self.state.columns.encode("latin-1")

    @property
    def is_covered(self) -> bool:
        """Nothing is left to do but to finish."""
        return self._job.resumes and not self.journal.gaps()

    def resume(self) -> bool:
        """Go on with what the journal says; True if all is done and finished."""
        job = self._job
        if job.is_published:
            self.committer.adopt(job.run_id)
            self.committer.drop_rows()
            return True
        if job.reopens:
            self.committer.reopen(job.copies)
        self.committer.resume(job.run_id, job.signature, job.settings.durability)
        if self.state.phase != "finished":
            return False
        self.committer.drop_rows()
        return True

    def past_receipt(self, inputs: Callable[[], StepInputs]) -> Receipt:
        """The receipt of a step that was finished and only waited for its name; and the list of what failed.

        ``inputs`` are opened if anything failed.
        """
        receipt = Receipt(
            **dict(self.state.receipt or {}) | {"run_id": self._job.run_id, "output": self._job.output_name}
        )
        write_receipt(self._job.state_folder / "receipt.json", receipt)
        self.write_failed(inputs)
        return receipt

    def work(self, inputs: StepInputs) -> MiniBatches:
        """What is left to do of these."""
        state, grid = self.state, self.journal.grid
        if inputs.item_count != state.item_count:
            raise InternalError(f"the input has {inputs.item_count} items, the journal {state.item_count}")
        if isinstance(grid, UniformGrid):
            size = self._job.settings.mini_batch_size
            return MiniBatches.of(self.journal.gaps(), size, number_size=grid.size, input_count=grid.item_count)
        if not isinstance(inputs.grid, CutGrid) or inputs.grid.cuts != grid.cuts:
            raise JournalError(
                "the input is not split as it was when the step began: its mini-batches are others", hint=RESTART_HINT
            )
        return MiniBatches.on(self.journal.gaps(), grid)

    def begin(self, inputs: StepInputs) -> None:
        """Begin anew."""
        job, split = self._job, inputs.split
        self.committer.begin(
            State(
                run_id=job.run_id,
                step=job.step,
                item_count=inputs.item_count,
                signature=job.signature,
                mini_batch_size=split.size,
                mini_batch_unit=split.unit,
                durability=job.settings.durability,
            ),
            inputs.grid,
        )
        if not job.is_typed:
            self._drop_old_stream()

    def _drop_old_stream(self) -> None:
        """What the step has committed when its output was a typed one."""
        path = self._job.state_folder / ROWS_NAME
        for one in (path, ordered_path(path)):
            with explained(one), contextlib.suppress(FileNotFoundError):
                one.unlink()

    def follow(self, plan: Plan, gather: Gather, outcomes: Outcomes) -> None:
        """Work begins: what these say from now on is added to what was there."""
        self._plan, self._gather, self._outcomes = plan, gather, outcomes
        self._before, self._work_s = self.state.totals, self.state.work_s
        self._started_s = self._clock.monotonic()
        self.may_commit = True

    def commit(self, worker_deaths: int, *, at_once: bool) -> bool:
        """Book what has been gathered and have it durable, if it is time to; True if there was a result."""
        gather = self._gather
        self._relieve(gather)
        if not (at_once or self.committer.is_due(len(gather.output()))):
            return False
        failures, extents = self._outcomes.take_failures(), gather.take_extents()
        if not extents and not failures:
            return self._outcomes.settle()
        view = gather.output()
        rows = view if self._segment is not None else view[:0]
        self.may_commit = False
        self.committer.commit(rows, extents, failures, self._standing(worker_deaths))
        self.may_commit = True
        rows.release()
        view.release()
        gather.clear()
        self._room_deadline_s = None
        return self._outcomes.settle()

    def _relieve(self, gather: Gather) -> None:
        """No result waits for ever for a slow one: what has been done is to be safe."""
        if gather.waiting:
            waited_s = self._window_watch.look(gather.next, self._clock.monotonic())
            if waited_s > (SPILL_FULL_S if gather.held_bytes > WINDOW_SIZE else SPILL_S):
                self._outcomes.spill()

    def _standing(self, worker_deaths: int) -> Progress:
        plan, before = self._plan, self._before
        columns = self._gather.columns
        return Progress(
            totals=replace(
                self.state.totals,
                surplus=before.surplus + self._gather.counts.surplus,
                attempts=before.attempts + plan.attempts,
                worker_deaths=before.worker_deaths + worker_deaths,
            ),
            work_s=self._work_s + self._clock.monotonic() - self._started_s,
            columns=columns,
            header_size=len(columns) if self._job.writes_header and self._segment is not None else 0,
        )

    def _wait_for_room(self, error: NoRoomError) -> bool:
        """The disk is full: wait for somebody to make room; False when that takes too long."""
        now_s = self._clock.monotonic()
        if self._room_deadline_s is None:
            self._room_deadline_s = now_s + DISK_FULL_WAIT_S
            self._notice(f"{error.message}; waiting {DISK_FULL_WAIT_S:.0f} s for room")
        if self._stop.level > StopLevel.NONE or now_s >= self._room_deadline_s:
            return False
        time.sleep(DISK_FULL_PAUSE_S)
        return True

    # The end

    def write_failed(self, inputs: Callable[[], StepInputs]) -> None:
        """``failed.jsonl``, from the journal; ``inputs`` are asked for if there is anything to name."""
        self._failed_checksum = write_failures(
            self._job.state_folder / "failed.jsonl",
            self.journal.failures(),
            lambda start, stop: inputs().names(start, stop),
            lambda start, stop: inputs().candidates(start, stop),
        )
        reach("failed_list_written")

    def make_output(self) -> None:
        """Have a typed output made of the rows, which are complete and in order."""
        job, state = self._job, self.state
        source, target = job.rows_path, job.output_path
        if source is None or target is None or not job.is_typed:
            return
        typed = TypedJob(source, state.committed_size, state.checksum, target, str(job.settings.output_format))
        reach("before_made")
        while True:
            try:
                made = make_typed(typed, lambda: self._stop.level > StopLevel.NONE)
                break
            except NoRoomError as error:
                with contextlib.suppress(OSError):
                    target.unlink()
                if not self._wait_for_room(error):
                    raise
        if made is None:
            raise InterruptedRunError(
                f"stopped while {target.name} was written; all items are done", signal_number=self._stop.signal_number
            )
        if made.row_count != state.totals.rows:
            raise InternalError(f"{target} has {made.row_count} rows, the journal {state.totals.rows}")
        self._made = made.size, made.checksum
        self._room_deadline_s = None
        reach("output_made")

    def finish(self, receipt: Receipt) -> Receipt:
        """Everything is done and in order: have that durable; returns the receipt."""
        if not receipt.balances():
            raise InternalError(f"the receipt does not balance: {receipt}")
        self.committer.finish(receipt.as_dict(), self._made)
        self.committer.drop_rows()
        write_receipt(self._job.state_folder / "receipt.json", receipt)
        reach("receipt_written")
        return receipt

    def receipt(self, inputs: StepInputs, *, workers: int, elapsed_s: float, details: Mapping[str, Any]) -> Receipt:
        """What the journal adds up to."""
        job, state = self._job, self.state
        totals = state.totals
        skipped_hidden, skipped_special = inputs.skipped
        output_size, output_checksum = self._made or (state.committed_size, state.checksum)
        return Receipt(
            step=job.step,
            run_id=job.run_id,
            items_in=inputs.item_count,
            succeeded=totals.succeeded,
            failed=totals.failed,
            mini_batches=state.mini_batch_count,
            failed_mini_batches=totals.failed_mini_batches,
            rows_out=totals.rows if self._segment is not None else 0,
            surplus=totals.surplus,
            output=job.output_name,
            output_size=0 if self._segment is None else output_size,
            output_checksum="" if self._segment is None else checksum_text(output_checksum),
            workers=workers,
            elapsed_s=elapsed_s,
            attempts=totals.attempts,
            worker_deaths=totals.worker_deaths,
            details={
                **details,
                "inputs": inputs.counted(self.journal.failures()),
                "skipped_hidden": skipped_hidden,
                "skipped_special": skipped_special,
            },
            failed_checksum=checksum_text(self._failed_checksum),
        )

    def close(self) -> None:
        self.committer.close()
