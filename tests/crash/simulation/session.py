"""One run of the step: the driver's loop in the order of the real one, until it is done, stopped, or gone."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from batchflow._core import Gather
from batchflow.clock import FakeClock
from batchflow.journal.commits import Totals
from batchflow.model import Dispatch, Failure
from batchflow.parallel.books import Books
from batchflow.parallel.feeder import Feeder
from batchflow.parallel.outcomes import Outcomes, read, read_last
from batchflow.parallel.pieces import Pieces
from batchflow.parallel.restarts import RestartLimit
from batchflow.plan import Lost, Plan, Policy
from batchflow.pool.events import WorkerDied
from batchflow.pool.watch import Watch
from tests.crash.simulation.case import Case, Settings
from tests.crash.simulation.disk import Committer, Crash, Journal, Violation
from tests.crash.simulation.places import check, places
from tests.crash.simulation.workers import Collector, Worker

STEPS_MAX = 4000
"""Far more than any run takes."""


class Stopped(Exception):
    """The run ended early, in an orderly way."""


class PlayedBooks(Books):
    """The real ones over a journal in memory."""

    def __init__(self, size: int, clock: FakeClock, journal: Journal, committer: Committer) -> None:
        self._job: Any = SimpleNamespace(settings=SimpleNamespace(mini_batch_size=size, header=True), resumes=True)
        self._clock = clock
        self._segment: Any = object()
        self.journal: Any = journal
        self.committer: Any = committer
        self._before = Totals()
        self._work_s = self._started_s = 0.0
        self._room_deadline_s = None
        self._window_watch = Watch(1.0)


class WatchedPlan(Plan):
    """A plan whose isolations are held against what they may cost."""

    spent: dict[int, int]
    failures: dict[int, list[Dispatch]]

    def failed(self, failure: Failure) -> Lost | None:
        dispatch = failure.dispatch
        self._watch(dispatch)
        self.failures.setdefault(dispatch.mini_batch_index, []).append(dispatch)
        return super().failed(failure)

    def part_succeeded(self, part: Dispatch, missing_count: int = 0) -> None:
        self._watch(part)
        super().part_succeeded(part, missing_count)

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

    def finish_isolation(self, mini_batch_index: int, *, spoilt_count: int = 0) -> bool:
        start, stop = self.mini_batches.range(mini_batch_index)
        failed = self.failures[mini_batch_index]
        first = max(one.start for one in failed)
        end = min(one.start + one.count for one in failed)
        extra = self.spent[mini_batch_index] - (stop - start)
        if first < end and extra > 3 * (stop - start):  # one item explains all failures
            raise Violation(f"one bad item cost {extra} items more, in a mini-batch of {stop - start}")
        return super().finish_isolation(mini_batch_index, spoilt_count=spoilt_count)


class Session:
    """Everything that a driver has in memory, gone with it."""

    def __init__(self, case: Case, settings: Settings, journal: Journal, troubled: set[tuple[int, int]]) -> None:
        self.case, self.settings, self.journal, self.troubled = case, settings, journal, troubled
        self.rng = case.rng
        self.clock = FakeClock()
        crashes = case.crash_steps and not settings.is_last
        self.points_left = self.rng.randrange(case.crash_steps) if crashes else -1
        faults = 0.0 if settings.is_last else case.fault_rate
        self.faults_left = self.rng.randrange(1, 12) if faults else 0
        self.fault_rate = faults
        disk_rate = 0.0 if settings.is_last else case.disk_rate
        committer = Committer(journal, self.rng, self.point, disk_rate)
        self.books = PlayedBooks(settings.size, self.clock, journal, committer)
        work = self.books.work(case.item_count)
        policy = Policy(
            attempts_max=settings.attempts_max,
            isolate=settings.isolate,
            failed_items_limit=settings.failed_items_limit,
            failed_mini_batches_limit=settings.failed_mini_batches_limit,
        )
        self.plan = WatchedPlan(work, policy, self.books.before)
        self.plan.spent, self.plan.failures = {}, {}
        real = Gather(in_order=case.in_order, any_items=case.items == "any", columns=self.books.columns)
        self.gather: Any = Collector(real)
        self.pieces = Pieces()
        self.feeder = Feeder(self.plan, self.gather, self.pieces)
        self.outcomes = Outcomes(self.plan, self.gather, self.feeder, self.pieces)
        self.books.follow(self.plan, self.gather, self.outcomes)
        self.restarts = RestartLimit(settings.workers, self.clock)
        self.slots: Any = [Worker(number, case, troubled) for number in range(settings.workers)]
        self.generation = 0
        self.damaged: set[int] = set()
        self.given_up: set[int] = set()

    def point(self) -> None:
        """A place where the driver may vanish."""
        self.points_left -= 1
        if self.points_left == 0:
            raise Crash

    # The driver's loop

    def run(self) -> None:
        """Until the work is done.  Raises ``Stopped``, ``Crash``, ``DiskError``; ``Violation`` if it must not be."""
        for number in range(min(self.settings.workers, self.plan.mini_batches.count)):
            self._start(number)
        steps = 0
        while not self.plan.done:
            steps += 1
            if steps > STEPS_MAX:
                raise Violation("no end")
            self.point()
            for slot in self.feeder.fill(self.slots):
                self._condemn(slot)
            self.point()
            for death in self._play():
                self._take_death(death)
            if not self.plan.done:
                self._replace_dead()
            self._collect()
            self._check()
            if self.plan.passed_threshold() is not None:
                self._give_up()
        self._check_books()

    def _check_books(self) -> None:
        """All is committed, so plan and journal must have the same to say."""
        plan, totals = self.plan, self.journal.state.totals
        planned = (plan.succeeded_item_count, plan.failed_item_count, plan.failed_mini_batch_count)
        if planned != (totals.succeeded, totals.failed, totals.failed_mini_batches):
            raise Violation(f"the plan says {planned}, the journal {totals}")
        if plan.decided_count != plan.mini_batches.count or plan.in_flight_count or plan.ready_count:
            raise Violation(f"done with {plan.in_flight_count} in flight and {plan.ready_count} ready")

    def _collect(self) -> None:
        for slot in self.slots:
            if slot.asked_for and slot.channel.generation not in self.damaged:
                self._read(slot)
        self.point()
        if self.case.spill_rate and self.rng.random() < self.case.spill_rate:
            self.outcomes.spill()  # as when results have waited for long
        self._commit()

    def _commit(self, *, at_once: bool = False) -> None:
        is_idle = not any(slot.asked_for and slot.channel.held for slot in self.slots)
        self.journal.is_ordered = self.case.in_order and not self.gather.has_spilled
        self.books.commit(0, at_once=at_once or is_idle)
        self.gather.held_items &= ~self.journal.done

    def _read(self, slot: Worker) -> None:
        arrived = slot.channel.arrived_items
        kinds = read(self.outcomes, self.gather, slot.channel, slot.number, slot.pid)  # type: ignore[arg-type]
        if slot.channel.arrived_items > arrived:
            self.restarts.got_result()
        slot.ready = slot.ready or "ready" in kinds
        slot.init_failed = slot.init_failed or "init_failed" in kinds
        if "damaged" in kinds:
            self._condemn(slot)

    def _condemn(self, slot: Worker) -> None:
        slot.ready = False
        self.damaged.add(slot.channel.generation)
        slot.is_condemned = True

    def _take_death(self, death: WorkerDied) -> None:
        damaged = death.channel.generation in self.damaged
        kinds = set() if damaged else read_last(self.outcomes, self.gather, death)
        if death.init_failed or "init_failed" in kinds:
            return
        damaged = damaged or "damaged" in kinds
        if damaged and death.channel.flights():
            self.troubled.add(death.channel.flights()[0][2:])
        blamed = self.outcomes.bury(death, damaged=damaged, run_timeout_s=60)
        if death.with_zygote:
            return
        if blamed is not None or death.was_ready or "ready" in kinds:
            self.restarts.died(idle=blamed is None, in_part=blamed is not None and blamed.is_part)
            if self.restarts.passed() is not None:
                raise Stopped
        else:
            self.outcomes.init.failed(death.worker, {})

    def _replace_dead(self) -> None:
        trouble = self.outcomes.init
        for slot in self.slots[: self.plan.mini_batches.count]:
            if slot.asked_for or slot.number in self.given_up or trouble.no_success:
                continue
            if trouble.has_no_hope(slot.number):
                self.given_up.add(slot.number)
                continue
            self._start(slot.number)
        if not any(slot.asked_for for slot in self.slots):
            raise Stopped

    def _give_up(self) -> None:
        """A threshold: let what is in flight finish, within reason, and keep what there is."""
        for _ in range(self.rng.randrange(6)):
            for death in self._play():
                self._take_death(death)
            self._collect()
        raise Stopped

    def save(self) -> None:
        """The run ends with an error that is not the machine's."""
        self.outcomes.hand_over()
        self._commit(at_once=True)

    # The world

    def _start(self, number: int) -> None:
        self.generation += 1
        self.slots[number].start(self.generation)

    def _play(self) -> list[WorkerDied]:
        """Time goes by: workers move, some end, the driver is told of some of the deaths."""
        rng = self.rng
        if self.settings.is_last:
            self.clock.advance(100.0)  # no deaths so close to each other that they are too many
        else:
            self.clock.advance(rng.choice((0.001, 0.1, 1.0, 3.0, 1e6) if rng.random() < 0.2 else (0.001, 0.1)))
        faults = self.fault_rate if self.faults_left else 0.0
        alive = [slot for slot in self.slots if slot.asked_for and slot.ending is None]
        if faults and rng.random() < faults / 20:  # the process that they are forked from dies
            self.faults_left -= 1
            for slot in alive:
                slot.end(with_zygote=True)
            alive = []
        for slot in alive:
            for _ in range(rng.choice((1, 1, 3))):
                if slot.ending is None and slot.move(faults if self.faults_left else 0.0):
                    self.faults_left -= 1
        return [slot.news() for slot in self.slots if slot.asked_for and slot.ending and rng.random() < 0.8]

    def _check(self) -> None:
        found = places(self.plan, self.outcomes, self.pieces, self.gather, self.slots, self.journal)
        check(self.case.all, found)
