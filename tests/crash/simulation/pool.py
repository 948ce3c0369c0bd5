"""The pool, played: workers move when it waits, and what became of them is told at once, later, or all at a time."""

from __future__ import annotations

from batchflow.clock import FakeClock
from batchflow.pool.events import ForkFailed, InitTimedOut, PoolEvent, WorkerDied, ZygoteDied
from tests.crash.simulation.case import Case, Settings
from tests.crash.simulation.workers import Worker

FAULTS_MAX = 12
"""In one run: then the world is at peace, and the run comes to its end."""


class Pool:
    """What the supervisor sees of a ``WorkerPool``."""

    loaded = True

    def __init__(self, case: Case, settings: Settings, clock: FakeClock, troubled: set[tuple[int, int]]) -> None:
        self.rng = case.rng
        self.clock = clock
        self.is_last = settings.is_last
        self.slots = [Worker(number, case, troubled) for number in range(settings.workers)]
        self.troubled = troubled
        self.generation = 0
        self.fault_rate = 0.0 if settings.is_last else case.fault_rate
        self.faults_left = self.rng.randrange(1, FAULTS_MAX) if self.fault_rate else 0
        self.is_without_zygote = False

    @property
    def alive_count(self) -> int:
        return sum(slot.asked_for for slot in self.slots)

    def start_worker(self, number: int) -> None:
        self.generation += 1
        self.slots[number].start(self.generation)

    def may_start(self, number: int) -> bool:
        """After a fork that was refused it takes a while."""
        slot = self.slots[number]
        return not slot.asked_for and not slot.is_stuck and (self.is_last or self.rng.random() < 0.7)

    def kill_worker(self, number: int) -> None:
        self.slots[number].is_condemned = True

    def restart_zygote(self) -> None:
        self.is_without_zygote = False

    @property
    def faults(self) -> float:
        return self.fault_rate if self.faults_left else 0.0

    def wait(self) -> list[PoolEvent]:
        """Time goes by."""
        rng = self.rng
        if self.is_last:
            self.clock.advance(100.0)  # no deaths so close to each other that they are too many
        else:
            self.clock.advance(rng.choice((0.001, 0.1, 1.0, 3.0, 1e6) if rng.random() < 0.2 else (0.001, 0.1)))
        if self.faults and rng.random() < self.faults / 20:
            return self._lose_zygote()
        for slot in self.slots:
            if slot.asked_for and slot.ending is None:
                for _ in range(rng.choice((1, 1, 3))):
                    if slot.ending is None and slot.move(self.faults):
                        self.faults_left -= 1
        news: list[PoolEvent] = []
        for slot in self.slots:
            if slot.asked_for and slot.ending and rng.random() < 0.8:
                if slot.ending["timed_out"] and not slot.is_up:
                    news.append(InitTimedOut(slot.number))
                news.append(self._bury(slot))
        return news

    def _bury(self, slot: Worker) -> WorkerDied:
        if slot.is_condemned or slot.has_answered_twice:
            # What it seems to work on when the damage is seen has failed, begun or not, answered or not.
            self.troubled.update(request[2:4] for request in slot.channel.held)
        return slot.news()

    def _lose_zygote(self) -> list[PoolEvent]:
        """The process that all were forked from dies, and all with it; or it cannot fork one more."""
        self.faults_left -= 1
        alive = [slot for slot in self.slots if slot.asked_for]
        if self.rng.random() < 0.5 and len(alive) > 1 and not alive[-1].is_up and not alive[-1].channel.held:
            alive[-1].asked_for = False
            return [ForkFailed(alive[-1].number, "no more processes", 1)]
        for slot in alive:
            slot.end(with_zygote=True)
        return [*[slot.news() for slot in alive], ZygoteDied(-9)]
