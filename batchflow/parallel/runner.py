"""One parallel step, from a pattern of files to a complete output file and its receipt.

    start the zygote · list · partition · while not done: fill, wait, tell the plan, append · finish · receipt

The driver runs no user code and is the only writer.  Its Python runs once for a batch of completions.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import NoReturn

from batchflow._core import Gather, Listing
from batchflow.clock import Clock, SystemClock
from batchflow.control import StopLevel, StopRequest
from batchflow.data import list_files
from batchflow.errors import (
    EntryScriptError,
    InterruptedRunError,
    RefusedError,
    ResourceError,
    RunAbortedError,
)
from batchflow.journal.state_folder import make_state_folder
from batchflow.model import Event, Notice, Receipt, StepProgress
from batchflow.parallel import messages
from batchflow.parallel.books import Books
from batchflow.parallel.feeder import Feeder
from batchflow.parallel.outcomes import Outcomes, read, read_last
from batchflow.parallel.pieces import Pieces
from batchflow.parallel.restarts import RestartLimit
from batchflow.parallel.setup import plan_policy, pool_limits, worker_spec
from batchflow.parallel.values import ParallelJob
from batchflow.plan import Plan
from batchflow.pool.events import ForkFailed, InitTimedOut, LoadedLate, LoadFailed, PoolEvent, WorkerDied, ZygoteDied
from batchflow.pool.logs import WorkerLog
from batchflow.pool.pool import Slot, WorkerPool
from batchflow.pool.watch import Watch
from batchflow.private import remove, renew_private_folder

PROGRESS_S = 0.25
GRACE_S = 10.0
"""How long mini-batches in flight may take to finish when the step stops early."""
ZYGOTE_DEATHS_MAX = 3
DEATHS_TOLD_MAX = 3
"""Deaths of workers that are told one by one."""


def run_parallel_step(
    job: ParallelJob, *, on_event: Callable[[Event], None], stop: StopRequest, clock: Clock | None = None
) -> Receipt:
    """Run the step; returns its receipt when every item has been accounted for and the output is on disk.

    Raises ``DatasetError`` (nothing to do, or not listable), ``EntryScriptError``, ``RunAbortedError`` (a threshold),
    ``ResourceError`` and ``InterruptedRunError``.  Leaves no process, however it ends.
    """
    run = _ParallelRun(job, on_event, stop, clock or SystemClock())
    try:
        return run.run()
    except (ResourceError, RefusedError):
        raise
    except BaseException:
        run.save()
        raise
    finally:
        run.close()


class _ParallelRun:
    """The state of one run of one step, from start to close."""

    def __init__(self, job: ParallelJob, on_event: Callable[[Event], None], stop: StopRequest, clock: Clock) -> None:
        self._job = job
        self._settings = job.settings
        self._on_event = on_event
        self._stop = stop
        self._clock = clock
        self._started_s = self._phase_s = clock.monotonic()
        self._timings: dict[str, float] = {}
        self._told_s = float("-inf")
        self._logs: list[WorkerLog] = []
        self._pool: WorkerPool | None = None
        self._books: Books | None = None
        self._damaged: set[int] = set()
        self._restarts = RestartLimit(job.workers, clock)
        self._zygote_deaths = 0
        self._worker_deaths = 0
        self._given_up: set[int] = set()

    # The story

    def run(self) -> Receipt:
        job, settings = self._job, self._settings
        self._make_folders()
        books = self._books = Books(job, self._clock, self._stop, self._notice)
        if job.resumes and books.resume():
            return books.past_receipt()
        pool = self._pool = self._make_pool(books.number_size)
        if not books.is_covered:
            pool.start()  # it imports the script while we list
        self._tell(0, 0, None, note="listing files")
        listing = self._listing = job.listing or list_files(job.patterns)
        self._phase("list")
        skipped = messages.skipped(listing.skipped_hidden, listing.skipped_special)
        if skipped:
            self._notice(skipped)
        self._tell(0, 0, listing.item_count, note="starting workers")
        if not job.resumes:
            books.begin(listing.item_count)
        work = books.work(listing.item_count)
        plan = self._plan = Plan(work, plan_policy(job, listing.item_count, work.count), books.before)
        self._gather = Gather(
            in_order=settings.order == "input",
            any_items=settings.items == "any",
            write_header=settings.header,
            columns=books.columns,
        )
        pieces = Pieces()
        self._feeder = Feeder(plan, self._gather, pieces)
        self._outcomes = Outcomes(plan, self._gather, self._feeder, pieces)
        books.follow(plan, self._gather, self._outcomes)
        if work.count:
            pool.send_listing(listing)
        for number in range(min(pool.spec.worker_count, work.count)):
            pool.start_worker(number)
        self._work(pool, listing)
        self._phase("dispatch")
        self._shut_down(pool)
        return self._finish(books, listing)

    def _work(self, pool: WorkerPool, listing: Listing) -> None:
        """Until every mini-batch has succeeded or failed."""
        plan = self._plan
        idle = Watch(1.0)
        while not plan.done:
            self._check_stop(pool)
            for slot in self._feeder.fill(pool.slots):
                self._condemn(slot, pool)
            self._take_news(pool.wait(), pool)
            self._collect(pool)
            reason = plan.passed_threshold()
            if reason is not None:
                self._abort(pool, reason)
            self._progress(pool, listing)
            limit_s = self._settings.progress_update_timeout_s
            arrived = sum(slot.channel.result_count for slot in pool.slots)
            if idle.look((plan.attempts, arrived, plan.succeeded_count), self._clock.monotonic()) > (limit_s or 1e12):
                raise RunAbortedError(messages.no_progress(limit_s or 0.0, pool.slots, plan.mini_batches))
        reason = plan.passed_threshold()
        if reason is not None:
            self._abort(pool, reason)

    def _collect(self, pool: WorkerPool) -> None:
        """Take what the workers published; append it; book it."""
        for slot in pool.slots:
            if slot.asked_for and slot.channel.generation not in self._damaged:
                self._read(slot, pool)
        self._commit()

    def _commit(self, *, at_once: bool = False) -> None:
        is_idle = not any(slot.asked_for and slot.channel.in_flight for slot in self._slots)
        if self._books is not None and self._books.commit(self._worker_deaths, at_once=at_once or is_idle):
            self._zygote_deaths = 0

    def _read(self, slot: Slot, pool: WorkerPool) -> None:
        arrived = slot.channel.arrived_items
        kinds = read(self._outcomes, self._gather, slot.channel, slot.number, slot.pid)
        if slot.channel.arrived_items > arrived:
            self._restarts.got_result()
        if "ready" in kinds:
            slot.ready = True
            self._phase("start", once=True)
        slot.init_failed = slot.init_failed or "init_failed" in kinds
        if "damaged" in kinds:
            self._condemn(slot, pool)

    def _condemn(self, slot: Slot, pool: WorkerPool) -> None:
        """End a worker that wrote over its rings: nothing it says counts any more."""
        slot.ready = False
        self._damaged.add(slot.channel.generation)
        pool.kill_worker(slot.number)

    # News about processes

    def _take_news(self, news: list[PoolEvent], pool: WorkerPool) -> None:
        for event in news:
            if isinstance(event, WorkerDied):
                self._take_death(event, pool)
            elif isinstance(event, LoadFailed):
                raise EntryScriptError(
                    messages.load_failed(self._settings.entry_script, event.description),
                    hint="fix the entry script, then run the same command again",
                )
            elif isinstance(event, LoadedLate):
                self._notice(messages.loaded_late(event, self._settings.entry_script))
            elif isinstance(event, ForkFailed):
                self._given_up.add(event.worker)
                self._notice(f"worker {event.worker} cannot be started: {event.message}; going on with fewer")
                if not pool.alive_count:
                    raise ResourceError(f"no worker can be started: {event.message}")
            elif isinstance(event, InitTimedOut):
                message = f"init() took longer than init_timeout={self._settings.init_timeout_s:g} s"
                self._outcomes.init.last = {"error_type": "TimeoutError", "message": message, "traceback": ""}
            else:
                self._replace_zygote(event, pool)
        if not self._plan.done:
            self._replace_dead(pool)

    def _take_death(self, death: WorkerDied, pool: WorkerPool) -> None:
        damaged = death.channel.generation in self._damaged
        kinds = set() if damaged else read_last(self._outcomes, self._gather, death)
        if death.init_failed or "init_failed" in kinds:
            return
        damaged = damaged or "damaged" in kinds
        self._worker_deaths += 1
        if not death.with_zygote and self._worker_deaths <= DEATHS_TOLD_MAX:
            more = (
                "; deaths after this one are counted in the receipt" if self._worker_deaths == DEATHS_TOLD_MAX else ""
            )
            self._notice(f"{messages.death(death)}, another takes its place{more}")
        blamed = self._outcomes.bury(death, damaged=damaged, run_timeout_s=self._settings.run_invocation_timeout_s)
        if death.with_zygote:
            return
        if blamed is not None or death.was_ready or "ready" in kinds:
            self._restarts.died(idle=blamed is None, in_part=blamed is not None and blamed.is_part)
            too_often = self._restarts.passed()
            if too_often is not None:
                raise RunAbortedError(messages.keep_dying(too_often, death))
        else:
            self._outcomes.init.failed(death.worker, None if death.timed_out else messages.describe_init_death(death))

    def _replace_zygote(self, death: ZygoteDied, pool: WorkerPool) -> None:
        self._zygote_deaths += 1
        if self._zygote_deaths >= ZYGOTE_DEATHS_MAX:
            script = None if pool.loaded else self._settings.entry_script
            raise RunAbortedError(messages.zygote_died(death.status, self._logs[-1].tail(), script))
        self._notice("the process that workers are forked from died; starting another")
        pool.restart_zygote()

    def _replace_dead(self, pool: WorkerPool) -> None:
        """Start a worker in every empty slot that is needed; give up those that never get ready."""
        trouble = self._outcomes.init
        for slot in pool.slots[: self._plan.mini_batches.count]:
            if slot.asked_for or slot.number in self._given_up or trouble.no_success:
                continue
            if trouble.has_no_hope(slot.number):
                self._given_up.add(slot.number)
                self._notice(f"worker {slot.number} never gets ready and is given up: {trouble.last['message']}")
                continue
            pool.start_worker(slot.number)
        if not pool.alive_count and trouble.in_a_row:
            raise EntryScriptError(
                messages.init_failed(trouble.in_a_row, trouble.last),
                hint=f"fix init(), then run the same command again; worker output: {self._logs[0].path.parent}",
            )

    # Stopping early

    def _check_stop(self, pool: WorkerPool) -> None:
        if self._stop.level == StopLevel.NONE:
            return
        if self._stop.level == StopLevel.DRAIN:
            self._drain(pool)
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
            for event in pool.wait():
                if isinstance(event, WorkerDied):
                    self._take_death(event, pool)
            self._collect(pool)
        self._outcomes.hand_over()
        self._commit(at_once=True)

    def _abort(self, pool: WorkerPool, reason: str) -> NoReturn:
        self._drain(pool)
        raise RunAbortedError(
            messages.aborted(
                reason,
                self._outcomes,
                self._plan.mini_batches,
                self._listing,
                self._job.state_folder / "failed.jsonl",
            ),
            hint="raise the threshold and run the same command again, or fix the cause and run `batchflow retry`",
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

    def _finish(self, books: Books, listing: Listing) -> Receipt:
        books.write_failed(listing)
        books.committer.put_in_order(any_order=self._settings.order != "input")
        self._phase("finish")
        receipt = books.receipt(
            listing,
            workers=min(self._job.workers, self._plan.mini_batches.count),
            elapsed_s=self._clock.monotonic() - self._started_s,
            timings=self._timings,
        )
        if receipt.surplus:
            self._notice(messages.surplus(receipt.surplus))
        self._tell(receipt.succeeded, receipt.failed, receipt.items_in)
        return books.finish(receipt)

    def save(self) -> None:
        """The step ends with an error: keep what has been done, as far as that is possible."""
        with contextlib.suppress(Exception):  # the error itself is the one to tell
            self._outcomes.hand_over()
            self._commit(at_once=True)
            if self._books is not None and self._books.state.item_count:
                self._books.write_failed(self._listing)

    def close(self) -> None:
        if self._pool is not None:
            self._pool.close()
        if self._books is not None:
            self._books.close()
        for log in self._logs:
            log.close()
        with contextlib.suppress(OSError):
            remove(self._job.state_folder / "scratch")

    # Small things

    @property
    def _slots(self) -> list[Slot]:
        return [] if self._pool is None else self._pool.slots

    def _make_folders(self) -> None:
        logs = make_state_folder(self._job.state_folder) / "logs"
        renew_private_folder(logs)
        remove(self._job.state_folder / "scratch")
        names = [f"worker-{number}.log" for number in range(self._job.workers)]
        self._logs = [WorkerLog(logs / name) for name in [*names, "import.log"]]

    def _make_pool(self, number_size: int) -> WorkerPool:
        return WorkerPool(
            worker_spec(self._job, number_size),
            pool_limits(self._job),
            logs=self._logs[:-1],
            zygote_log=self._logs[-1],
            clock=self._clock,
        )

    def _phase(self, name: str, *, once: bool = False) -> None:
        if once and name in self._timings:
            return
        now_s = self._clock.monotonic()
        self._timings[name] = now_s - self._phase_s
        self._phase_s = now_s

    def _progress(self, pool: WorkerPool, listing: Listing) -> None:
        if self._clock.monotonic() - self._told_s >= PROGRESS_S:
            plan = self._plan
            note = "" if any(slot.ready for slot in pool.slots) else "starting workers"
            self._tell(plan.succeeded_item_count, plan.failed_item_count, listing.item_count, note=note)

    def _tell(self, done: int, failed: int, total: int | None, *, note: str = "") -> None:
        self._told_s = self._clock.monotonic()
        workers = 0 if self._pool is None else sum(slot.ready and slot.asked_for for slot in self._pool.slots)
        elapsed_s = self._told_s - self._started_s
        self._on_event(StepProgress(self._job.step, done, failed, total, workers, elapsed_s, note))

    def _notice(self, message: str) -> None:
        self._on_event(Notice(message, self._job.step))
