"""One parallel step, from a pattern of files to a complete output file and its receipt.

    start the zygote · list · partition · while not done: fill, wait, tell the plan, append · finish · receipt

The driver runs no user code and is the only writer.  Its Python runs once for a batch of completions.
"""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Callable
from typing import NoReturn

from batchflow._core import Gather
from batchflow.clock import Clock, SystemClock
from batchflow.control import StopLevel, StopRequest
from batchflow.errors import (
    InterruptedRunError,
    ResourceError,
    RunAbortedError,
)
from batchflow.journal.state import Totals
from batchflow.journal.state_folder import make_state_folder
from batchflow.model import Event, Notice, Receipt, StepProfiled, StepProgress
from batchflow.parallel import messages
from batchflow.parallel.books import Books
from batchflow.parallel.feeder import Feeder
from batchflow.parallel.inputs import StepInputs
from batchflow.parallel.opening import open_inputs, split_of
from batchflow.parallel.outcomes import Outcomes
from batchflow.parallel.pieces import Pieces
from batchflow.parallel.profiling import StepClock
from batchflow.parallel.setup import plan_policy, pool_limits, worker_spec
from batchflow.parallel.supervision import Supervisor
from batchflow.parallel.values import ParallelJob
from batchflow.plan import Plan
from batchflow.pool.events import WorkerDied
from batchflow.pool.logs import WorkerLog
from batchflow.pool.pool import WorkerPool
from batchflow.pool.slot import Slot
from batchflow.pool.watch import Watch
from batchflow.private import remove, renew_private_folder
from batchflow.profiles import StepProfile

PROGRESS_S = 0.25
GRACE_S = 10.0
"""How long mini-batches in flight may take to finish when the step stops early."""


def run_parallel_step(
    job: ParallelJob, *, on_event: Callable[[Event], None], stop: StopRequest, clock: Clock | None = None
) -> Receipt:
    """Run the step; returns its receipt when every item has been accounted for and the output is on disk.

    Raises ``DatasetError`` (nothing to do, or not listable), ``EntryScriptError``, ``RunAbortedError`` (a threshold),
    ``ResourceError`` and ``InterruptedRunError``.  Leaves no process, however it ends.
    """
    with contextlib.closing(_ParallelRun(job, on_event, stop, clock or SystemClock())) as run:
        try:
            return run.run()
        except BaseException as error:
            run.save()
            if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM):
                raise ResourceError(f"the machine, or a limit of this process, has no more: {error}") from error
            raise
        finally:
            run.tell_profile()


class _ParallelRun:
    """The state of one run of one step, from start to close."""

    def __init__(self, job: ParallelJob, on_event: Callable[[Event], None], stop: StopRequest, clock: Clock) -> None:
        self._job = job
        self._settings = job.settings
        self._on_event = on_event
        self._stop = stop
        self._clock = clock
        self._times = StepClock(job, clock)
        self._told_s = float("-inf")
        self._logs: list[WorkerLog] = []
        self._pool: WorkerPool | None = None
        self._books: Books | None = None
        self._inputs: StepInputs | None = None
        self._profile: StepProfile | None = None
        self._kept = 0
        """Items that earlier runs have decided."""

    # The story

    def run(self) -> Receipt:
        job = self._job
        self._make_folders()
        books = self._books = Books(job, self._clock, self._stop, self._notice)
        if job.resumes and books.resume():
            return books.past_receipt(self._open_inputs)
        pool = self._pool = self._make_pool()
        if not books.is_covered:
            pool.start()  # it imports the script while we look at the input
        totals = books.state.totals if job.resumes else Totals()
        kept = totals.succeeded, totals.failed
        self._kept = sum(kept)
        self._times.begin("list")
        inputs = self._open_inputs()
        self._times.begin("prepare")
        skipped = messages.skipped(*inputs.skipped)
        if skipped:
            self._notice(skipped)
        self._tell(*kept, inputs.item_count, note="starting workers")
        if not job.resumes:
            books.begin(inputs)
        self._times.begin("partition")
        work = books.work(inputs)
        plan = self._plan = Plan(work, plan_policy(job, inputs.item_count, work.grid.count), books.before)
        self._times.begin("start")
        self._times.follow(plan, min(pool.spec.worker_count, work.count))
        self._arrange(pool, books, plan)
        if work.count:
            pool.send_inputs(inputs.attachments(work.grid))
        for number in range(min(pool.spec.worker_count, work.count)):
            pool.start_worker(number)
        self._work(pool)
        self._times.end_dispatch(pool.slots)
        self._shut_down(pool)
        self._times.begin("finish")
        return self._finish(books, inputs)

    def _arrange(self, pool: WorkerPool, books: Books, plan: Plan) -> None:
        """All who work on the plan, each knowing whom it talks to."""
        job, settings, times = self._job, self._settings, self._times
        self._gather = Gather(
            in_order=settings.order == "input",
            any_items=settings.items == "any",
            write_header=job.writes_header,
            columns=books.columns,
        )
        pieces = Pieces()
        self._feeder = Feeder(plan, self._gather, pieces)
        self._outcomes = Outcomes(plan, self._gather, self._feeder, pieces)
        books.follow(plan, self._gather, self._outcomes)
        self._supervisor = Supervisor(
            job,
            pool,
            self._gather,
            self._outcomes,
            self._feeder,
            needed=plan.mini_batches.count,
            logs=self._logs,
            notice=self._notice,
            clock=self._clock,
        )
        self._fill = times.timed("feed", self._feeder.fill)
        self._read = times.timed("drain", self._supervisor.read)
        self._book = times.timed("commit", books.commit)
        self._wait = times.hearing(pool.wait)

    def _work(self, pool: WorkerPool) -> None:
        """Until every mini-batch has succeeded or failed."""
        plan = self._plan
        idle = Watch(1.0)
        while not plan.done:
            self._check_stop(pool)
            for slot in self._fill(pool.slots):
                self._supervisor.condemn(slot)
            self._supervisor.take(self._wait())
            if not plan.done:
                self._supervisor.replace()
            self._collect()
            reason = plan.passed_threshold()
            if reason is not None:
                self._abort(pool, reason)
            self._progress(pool)
            limit_s = self._settings.progress_update_timeout_s
            arrived = sum(slot.channel.result_count for slot in pool.slots)
            if idle.look((plan.attempts, arrived, plan.succeeded_count), self._clock.monotonic()) > (limit_s or 1e12):
                raise RunAbortedError(messages.no_progress(limit_s or 0.0, pool.slots, plan.mini_batches))
        reason = plan.passed_threshold()
        if reason is not None:
            self._abort(pool, reason)

    def _collect(self) -> None:
        """Take what the workers published; have it durable; book it."""
        self._read()
        if self._times.phase == "start" and self._supervisor.any_ready:
            self._times.begin("dispatch")
        self._commit()

    def _commit(self, *, at_once: bool = False) -> None:
        is_idle = not any(slot.asked_for and slot.channel.in_flight for slot in self._slots)
        if self._book(self._supervisor.worker_deaths, at_once=at_once or is_idle):
            self._supervisor.committed()

    # Stopping early

    def _check_stop(self, pool: WorkerPool) -> None:
        if self._stop.level == StopLevel.NONE:
            return
        if self._stop.level == StopLevel.DRAIN:
            self._drain(pool)
        self._outcomes.hand_over()
        self._commit(at_once=True)
        raise InterruptedRunError(
            f"stopped with {self._plan.succeeded_item_count:,} of {self._plan.item_count:,} items done",
            signal_number=self._stop.signal_number,
        )

    def _drain(self, pool: WorkerPool) -> None:
        """Let mini-batches in flight finish, within reason."""
        watch = Watch(1.0)
        while (
            any(slot.asked_for and slot.channel.in_flight for slot in pool.slots)
            and self._stop.level < StopLevel.NOW
            and watch.look(0, self._clock.monotonic()) < GRACE_S
        ):
            for event in self._wait():
                if isinstance(event, WorkerDied):  # other news is about workers to come, and nobody starts one any more
                    self._supervisor.take_death(event)
            self._collect()
        self._outcomes.hand_over()
        self._commit(at_once=True)

    def _abort(self, pool: WorkerPool, reason: str) -> NoReturn:
        self._drain(pool)
        reason = self._plan.passed_threshold() or reason  # more may have failed meanwhile
        tolerated_with = messages.tolerated_with(reason, self._plan)
        raise RunAbortedError(
            messages.aborted(
                reason,
                self._outcomes,
                self._plan.mini_batches,
                self._open_inputs(),
                self._job.state_folder / "failed.jsonl",
            ),
            hint=messages.ways_on(tolerated_with),
            tolerated_with=tolerated_with,
        )

    # The end

    def _shut_down(self, pool: WorkerPool) -> None:
        """Let every worker run shutdown() and end."""
        pool.stop_workers()
        watch = Watch(1.0)
        limit_s = max(GRACE_S, self._settings.run_invocation_timeout_s)
        while (
            (left := sum(slot.ready and slot.asked_for for slot in pool.slots))
            and self._stop.level < StopLevel.NOW
            and watch.look(0, self._clock.monotonic()) < limit_s
        ):
            for event in pool.wait():
                if isinstance(event, WorkerDied) and event.was_ready and event.exit.exit_code != 0:
                    self._notice(messages.bad_shutdown(event))
        if left:
            self._notice(f"shutdown() took longer than {watch.elapsed_s:.3g} s in {left} workers, which were killed")

    def _finish(self, books: Books, inputs: StepInputs) -> Receipt:
        books.write_failed(self._open_inputs)
        books.committer.put_in_order(any_order=self._settings.order != "input")
        books.make_output()
        self._times.begin("finish")
        self._profile = self._times.profile()
        details = {"timings": self._times.timings, "oom_deaths": self._supervisor.oom_deaths}
        receipt = books.receipt(
            inputs,
            workers=min(self._job.workers, self._plan.mini_batches.count),
            elapsed_s=self._clock.monotonic() - self._times.started_s,
            details=details if self._profile is None else details | {"profile": self._profile.as_dict()},
        )
        if receipt.surplus:
            self._notice(messages.surplus(receipt.surplus))
        self._tell(receipt.succeeded, receipt.failed, receipt.items_in)
        receipt = books.finish(receipt)
        inputs.discard()
        return receipt

    def save(self) -> None:
        """The step ends with an error: keep what has been done, as far as that is possible."""
        self._times.end_dispatch(self._slots)
        self._times.begin("finish")
        with contextlib.suppress(Exception):  # the error itself is the one to tell
            self._outcomes.hand_over()
            if self._books is not None and self._books.may_commit:
                self._commit(at_once=True)
                self._books.write_failed(self._open_inputs)

    def tell_profile(self) -> None:
        """Where the time went, as far as the step came."""
        profile = self._profile or self._times.profile()
        if profile is not None:
            self._on_event(StepProfiled(self._job.step, profile.as_dict()))

    def close(self) -> None:
        if self._pool is not None:
            self._pool.close()
        if self._books is not None:
            self._books.close()
        if self._inputs is not None:
            self._inputs.close()
        for log in self._logs:
            log.close()
        with contextlib.suppress(OSError):
            remove(self._job.state_folder / "scratch")

    # Small things

    def _open_inputs(self) -> StepInputs:
        """What the step is over, opened when it is first asked for."""
        if self._inputs is None:
            job = self._job
            state = self._books.state if self._books is not None and job.resumes else None
            self._inputs = open_inputs(job, split_of(job, state), stop=self._stop, say=self._say, notice=self._notice)
        return self._inputs

    def _say(self, doing: str) -> None:
        """What is done before the first item can be."""
        totals = self._books.state.totals if self._books is not None and self._job.resumes else Totals()
        self._tell(totals.succeeded, totals.failed, None, note=doing)

    @property
    def _slots(self) -> list[Slot]:
        return [] if self._pool is None else self._pool.slots

    def _make_folders(self) -> None:
        logs = make_state_folder(self._job.state_folder) / "logs"
        renew_private_folder(logs)
        remove(self._job.state_folder / "scratch")
        names = [f"worker-{number}.log" for number in range(self._job.workers)]
        self._logs = [WorkerLog(logs / name) for name in [*names, "import.log"]]

    def _make_pool(self) -> WorkerPool:
        return WorkerPool(
            worker_spec(self._job),
            pool_limits(self._job),
            logs=self._logs[:-1],
            zygote_log=self._logs[-1],
            clock=self._clock,
        )

    def _progress(self, pool: WorkerPool) -> None:
        if self._clock.monotonic() - self._told_s >= PROGRESS_S:
            plan = self._plan
            note = "" if any(slot.ready for slot in pool.slots) else "starting workers"
            self._tell(plan.succeeded_item_count, plan.failed_item_count, plan.item_count, note=note)

    def _tell(self, done: int, failed: int, total: int | None, *, note: str = "") -> None:
        self._told_s = self._clock.monotonic()
        workers = 0 if self._pool is None else sum(slot.ready and slot.asked_for for slot in self._pool.slots)
        elapsed_s = self._told_s - self._times.started_s
        self._on_event(StepProgress(self._job.step, done, failed, total, workers, elapsed_s, note, self._kept))

    def _notice(self, message: str) -> None:
        self._on_event(Notice(message, self._job.step))
