"""One run of the step: the driver's loop in the order of the real one, until it is done, stopped, or gone."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from batchflow._core import Gather
from batchflow.clock import FakeClock
from batchflow.errors import BatchflowError, InternalError
from batchflow.journal.state import Totals
from batchflow.model import Dispatch, Failure
from batchflow.parallel.books import Books
from batchflow.parallel.feeder import Feeder
from batchflow.parallel.outcomes import Outcomes
from batchflow.parallel.pieces import Pieces
from batchflow.parallel.supervision import Supervisor
from batchflow.plan import Lost, Plan, Policy
from batchflow.pool.events import WorkerDied
from batchflow.pool.watch import Watch
from tests.crash.simulation.case import Case, Settings
from tests.crash.simulation.disk import Committer, Crash, Journal, Violation
from tests.crash.simulation.places import check, places
from tests.crash.simulation.pool import Pool
from tests.crash.simulation.workers import Collector

NO_LOG: Any = SimpleNamespace(path=Path("logs/worker-0.log"), tail=lambda: "")
STEPS_MAX = 4000
"""Far more than any run takes."""


class Stopped(Exception):
    """The run ended early, in an orderly way."""


class PlayedBooks(Books):
    """The real ones over a journal in memory."""

    def __init__(self, size: int, clock: FakeClock, journal: Journal, committer: Committer) -> None:
        self._job: Any = SimpleNamespace(
            settings=SimpleNamespace(mini_batch_size=size), writes_header=True, resumes=True
        )
        self._clock = clock
        self._segment: Any = object()
        self.journal: Any = journal
        self.committer: Any = committer
        self._before = Totals()
        self._work_s = self._started_s = 0.0
        self._room_deadline_s = None
        self._window_watch = Watch(1.0)
        self.may_commit = False


class WatchedPlan(Plan):
    """A plan whose isolations are held against what they may cost."""

    spent: dict[int, int]
    failures: dict[int, list[Dispatch]]

    def failed(self, failure: Failure) -> Lost | None:
        dispatch = failure.dispatch
        self._watch(dispatch)
        self.failures.setdefault(dispatch.mini_batch_index, []).append(dispatch)
        return super().failed(failure)

    def part_succeeded(self, part: Dispatch) -> None:
        self._watch(part)
        super().part_succeeded(part)

    def _watch(self, dispatch: Dispatch) -> None:
        index, policy = dispatch.mini_batch_index, self.policy
        self.spent[index] = self.spent.get(index, 0) + dispatch.count
        start, stop = self.mini_batches.range(index)
        isolates = policy.isolate and stop - start > 1
        attempts_max = min(2, policy.attempts_max) if isolates else policy.attempts_max
        if dispatch.attempt > attempts_max + (stop - start - 1).bit_length() * dispatch.is_part:
            raise Violation(f"too many attempts, {dispatch}")
        if dispatch.start < start or dispatch.start + dispatch.count > stop:
            raise Violation(f"items of another mini-batch, {dispatch}")

    def finish_isolation(self, mini_batch_index: int, spoilt: Collection[Dispatch] = ()) -> bool:
        start, stop = self.mini_batches.range(mini_batch_index)
        failed = self.failures[mini_batch_index]
        first = max(one.start for one in failed)
        end = min(one.start + one.count for one in failed)
        extra = self.spent[mini_batch_index] - (stop - start)
        if first < end and extra > 3 * (stop - start):  # one item explains all failures
            raise Violation(f"one bad item cost {extra} items more, in a mini-batch of {stop - start}")
        return super().finish_isolation(mini_batch_index, spoilt)


class Session:
    """Everything that a driver has in memory, gone with it."""

    def __init__(self, case: Case, settings: Settings, journal: Journal, troubled: set[tuple[int, int]]) -> None:
        self.case, self.settings, self.journal, self.troubled = case, settings, journal, troubled
        self.rng, self.clock = case.rng, FakeClock()
        crashes = case.crash_steps and not settings.is_last
        self.points_left = self.rng.randrange(case.crash_steps) if crashes else -1
        committer = Committer(journal, self.rng, self.point, 0.0 if settings.is_last else case.disk_rate)
        self.books = PlayedBooks(settings.size, self.clock, journal, committer)
        policy = Policy(
            attempts_max=settings.attempts_max,
            isolate=settings.isolate,
            failed_items_limit=settings.failed_items_limit,
            failed_mini_batches_limit=settings.failed_mini_batches_limit,
        )
        inputs: Any = SimpleNamespace(item_count=case.item_count, grid=journal.grid)
        self.plan = WatchedPlan(self.books.work(inputs), policy, self.books.before)
        self.plan.spent, self.plan.failures = {}, {}
        any_items = case.items == "any"
        self.gather: Any = Collector(Gather(in_order=case.in_order, any_items=any_items, columns=self.books.columns))
        self.pieces = Pieces()
        self.feeder = Feeder(self.plan, self.gather, self.pieces)
        self.outcomes = Outcomes(self.plan, self.gather, self.feeder, self.pieces)
        self.books.follow(self.plan, self.gather, self.outcomes)
        self.pool: Any = Pool(case, settings, self.clock, troubled)
        self.supervisor = Supervisor(
            job_of(settings),
            self.pool,
            self.gather,
            self.outcomes,
            self.feeder,
            needed=self.plan.mini_batches.count,
            logs=[NO_LOG],
            notice=lambda text: None,
            clock=self.clock,
        )

    def point(self) -> None:
        """A place where the driver may vanish."""
        self.points_left -= 1
        if self.points_left == 0:
            raise Crash

    def run(self) -> None:
        """Until the work is done.  Raises ``Stopped``, ``Crash``, ``DiskError``; ``Violation`` if it must not be."""
        try:
            self._work()
        except InternalError:
            raise
        except BatchflowError as error:  # workers keep dying, or none gets ready
            raise Stopped from error

    def _work(self) -> None:
        """In the order of ``runner._ParallelRun._work``."""
        plan, supervisor = self.plan, self.supervisor
        for number in range(min(self.settings.workers, plan.mini_batches.count)):
            self.pool.start_worker(number)
        steps = 0
        while not plan.done:
            steps += 1
            if steps > STEPS_MAX:
                raise Violation("no end")
            self.point()
            for slot in self.feeder.fill(self.pool.slots):
                supervisor.condemn(slot)
            self.point()
            supervisor.take(self.pool.wait())
            if not plan.done:
                supervisor.replace()
            self._collect()
            check(
                self.case.all,
                places(plan, self.outcomes, self.pieces, self.gather, self.pool.slots, self.journal),
            )
            if plan.passed_threshold() is not None:
                self._give_up()
        self._check_books()

    def _collect(self) -> None:
        self.supervisor.read()
        self.point()
        if self.case.spill_rate and self.rng.random() < self.case.spill_rate:
            self.outcomes.spill()  # as when results have waited for long
        self._commit()

    def _commit(self, *, at_once: bool = False) -> None:
        is_idle = not any(slot.asked_for and slot.channel.in_flight for slot in self.pool.slots)
        self.journal.is_ordered = self.case.in_order and not self.gather.has_spilled
        if self.books.commit(self.supervisor.worker_deaths, at_once=at_once or is_idle):
            self.supervisor.committed()
        self.gather.held_items &= ~self.journal.done

    def _give_up(self) -> None:
        """A threshold: let what is in flight finish, within reason, and keep what there is."""
        for _ in range(self.rng.randrange(6)):
            for event in self.pool.wait():
                if isinstance(event, WorkerDied):
                    self.supervisor.take_death(event)
            self._collect()
        raise Stopped

    def save(self) -> None:
        """The run ends with an error that is not the machine's."""
        self.outcomes.hand_over()
        if self.books.may_commit:
            self._commit(at_once=True)

    def _check_books(self) -> None:
        """All is committed, so plan and journal must have the same to say."""
        plan, totals = self.plan, self.journal.state.totals
        planned = (plan.succeeded_item_count, plan.failed_item_count, plan.failed_mini_batch_count)
        if planned != (totals.succeeded, totals.failed, totals.failed_mini_batches):
            raise Violation(f"the plan says {planned}, the journal {totals}")
        if plan.in_flight_count or plan.ready_count:
            raise Violation(f"done with {plan.in_flight_count} in flight and {plan.ready_count} ready")


def job_of(settings: Settings) -> Any:
    """As much of a ``ParallelJob`` as the supervisor asks for."""
    values = SimpleNamespace(
        run_invocation_timeout_s=60.0,
        init_timeout_s=600.0,
        max_items_per_worker=settings.items_per_worker,
        worker_memory=None,
        entry_script=Path("score.py"),
    )
    return SimpleNamespace(settings=values, workers=settings.workers)
