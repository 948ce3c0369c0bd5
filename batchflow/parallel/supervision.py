"""The workers of one parallel step while it runs: who is well, who died and why, who is replaced, and when to give up.

Turns the pool's news into outcomes; dispatches and commits nothing.

Where memory runs out there is one worker less from then on; what cannot be started is tried again, more and more
rarely; a worker that the kernel does not let go is left behind.

Invariant: a worker that is to go because of its age or its memory is fed no more, and goes when it holds nothing; what
it was given is answered by it, and nobody is blamed.
"""

from __future__ import annotations

from collections.abc import Callable

from batchflow._core import Gather
from batchflow.clock import Clock
from batchflow.errors import EntryScriptError, ResourceError, RunAbortedError
from batchflow.model import Dispatch
from batchflow.parallel import messages
from batchflow.parallel.feeder import Feeder
from batchflow.parallel.outcomes import Outcomes, read, read_last
from batchflow.parallel.recycling import Recycling
from batchflow.parallel.restarts import RestartLimit
from batchflow.parallel.values import ParallelJob
from batchflow.pool.events import ForkFailed, InitTimedOut, LoadedLate, LoadFailed, PoolEvent, WorkerDied, ZygoteDied
from batchflow.pool.logs import WorkerLog
from batchflow.pool.pool import WorkerPool
from batchflow.pool.slot import Slot
from batchflow.text import count

ZYGOTE_DEATHS_MAX = 3
DEATHS_TOLD_MAX = 3
"""Deaths of workers that are told one by one."""
FORK_FAILURES_MAX = 6
"""How often in a row a worker may be refused while there is no other, some six seconds."""


class Supervisor:
    """``read`` what the workers published, ``take`` the pool's news, ``replace`` who is missing."""

    def __init__(
        self,
        job: ParallelJob,
        pool: WorkerPool,
        gather: Gather,
        outcomes: Outcomes,
        feeder: Feeder,
        *,
        needed: int,
        logs: list[WorkerLog],
        notice: Callable[[str], None],
        clock: Clock,
    ) -> None:
        """``needed``: no more workers than so many are of use."""
        self._settings = job.settings
        self._pool = pool
        self._gather = gather
        self._outcomes = outcomes
        self._logs = logs
        self._notice = notice
        self._restarts = RestartLimit(job.workers, clock)
        self._recycling = Recycling(job.settings, pool, feeder.given_items, clock)
        feeder.items_left = self._recycling.items_left
        self._damaged: set[int] = set()
        self._needed = needed
        self._given_up: set[int] = set()
        self._costly: set[int] = set()  # mini-batches
        self._refused = False
        self._zygote_deaths = 0
        self.worker_deaths = 0
        self.oom_deaths = 0
        """Of these, those that the kernel killed because memory ran out."""

    @property
    def any_ready(self) -> bool:
        return self._outcomes.init.any_ready

    def committed(self) -> None:
        """Rows were committed: whatever happened before, it goes on."""
        self._zygote_deaths = 0

    def read(self) -> None:
        """Take what the workers published."""
        for slot in self._pool.slots:
            if slot.asked_for and slot.channel.generation not in self._damaged:
                self._read(slot)
        self._recycling.look()

    def _read(self, slot: Slot) -> None:
        arrived, was_ready = slot.channel.arrived_items, slot.ready
        kinds = read(self._outcomes, self._gather, slot.channel, slot.number, slot.pid)
        if slot.channel.arrived_items > arrived:
            self._restarts.got_result()
        slot.ready = slot.ready or "ready" in kinds
        if slot.ready and not was_ready:
            self._recycling.check_start(slot)
        slot.retired = slot.retired or "no_memory" in kinds  # what it still holds may be much
        slot.init_failed = slot.init_failed or "init_failed" in kinds
        if "damaged" in kinds:
            self.condemn(slot)

    def condemn(self, slot: Slot) -> None:
        """End a worker that wrote over its rings: nothing it says counts any more."""
        slot.ready = False
        self._damaged.add(slot.channel.generation)
        self._pool.kill_worker(slot.number)

    # News about processes

    def take(self, news: list[PoolEvent]) -> None:
        """Raises ``EntryScriptError``, ``ResourceError`` or ``RunAbortedError`` when there is no hope."""
        for event in news:
            if isinstance(event, WorkerDied):
                self.take_death(event)
            elif isinstance(event, LoadFailed):
                raise EntryScriptError(
                    messages.load_failed(self._settings.entry_script, event.description),
                    hint="fix the entry script, then run the same command again",
                )
            elif isinstance(event, LoadedLate):
                self._notice(messages.loaded_late(event, self._settings.entry_script))
            elif isinstance(event, ForkFailed):
                self._take_refusal(event)
            elif isinstance(event, InitTimedOut):
                message = f"init() took longer than init_timeout={self._settings.init_timeout_s:g} s"
                self._outcomes.init.last = {"error_type": "TimeoutError", "message": message, "traceback": ""}
            else:
                self._replace_zygote(event)

    def take_death(self, death: WorkerDied) -> None:
        damaged = death.channel.generation in self._damaged
        kinds = set() if damaged else read_last(self._outcomes, self._gather, death)
        if death.init_failed or "init_failed" in kinds:
            return
        if death.retired and death.channel.in_flight == 0 and not damaged:
            return
        damaged = damaged or "damaged" in kinds
        self.worker_deaths += 1
        blamed = self._outcomes.bury(
            death,
            damaged=damaged,
            run_timeout_s=self._settings.run_invocation_timeout_s,
            worker_memory=self._settings.worker_memory,
        )
        if death.with_zygote:
            return
        has_successor = not death.stuck and not (death.out_of_memory and self._lowers(blamed))
        self._tell(death, has_successor=has_successor)
        if not has_successor:
            self._given_up.add(death.worker)
        elif blamed is not None or death.was_ready or "ready" in kinds:
            self._restarts.died(idle=blamed is None, in_part=blamed is not None and blamed.is_part)
            too_often = self._restarts.passed()
            if too_often is not None:
                raise RunAbortedError(messages.keep_dying(too_often, death))
        else:
            self._outcomes.init.failed(death.worker, None if death.timed_out else messages.describe_init_death(death))

    def _lowers(self, blamed: Dispatch | None) -> bool:
        """Memory ran out: is there to be one worker less?  Not a second time because of one and the same mini-batch."""
        self.oom_deaths += 1
        if blamed is not None:
            if blamed.is_part or blamed.mini_batch_index in self._costly:
                return False
            self._costly.add(blamed.mini_batch_index)
        return self._left > 1

    @property
    def _left(self) -> int:
        return sum(slot.number not in self._given_up for slot in self._pool.slots[: self._needed])

    def _tell(self, death: WorkerDied, *, has_successor: bool) -> None:
        if not has_successor:
            self._notice(f"{messages.death(death)}; going on with {count(self._left - 1, 'worker')}")
        elif self.worker_deaths <= DEATHS_TOLD_MAX:
            is_last = self.worker_deaths == DEATHS_TOLD_MAX
            more = "; further deaths are not shown" if is_last else ""
            self._notice(f"{messages.death(death)}, another takes its place{more}")

    def _take_refusal(self, refusal: ForkFailed) -> None:
        if not self._refused:
            self._refused = True
            self._notice(
                f"worker {refusal.worker} cannot be started: {refusal.message}; going on with fewer, and trying again"
            )
        if not self._pool.alive_count and refusal.failure_count > FORK_FAILURES_MAX:
            raise ResourceError(f"no worker can be started: {refusal.message}")

    def _replace_zygote(self, death: ZygoteDied) -> None:
        self._zygote_deaths += 1
        if self._zygote_deaths >= ZYGOTE_DEATHS_MAX:
            script = None if self._pool.loaded else self._settings.entry_script
            raise RunAbortedError(messages.zygote_died(death.status, self._logs[-1].tail(), script))
        how = " of a lack of memory" if death.out_of_memory else ""
        self._notice(f"the process that workers are forked from died{how}; starting another")
        self._pool.restart_zygote()

    def replace(self) -> None:
        """Start a worker in every empty slot that is needed, in time; give up those that never get ready.

        Raises ``EntryScriptError`` or ``ResourceError`` if nobody is left.
        """
        trouble = self._outcomes.init
        any_hope = False
        for slot in self._pool.slots[: self._needed]:
            if slot.asked_for:
                any_hope = True
                continue
            if slot.number in self._given_up or trouble.no_success:
                continue
            if trouble.has_no_hope(slot.number):
                self._given_up.add(slot.number)
                self._notice(f"worker {slot.number} never gets ready and is given up: {trouble.last['message']}")
                continue
            any_hope = True
            if self._pool.may_start(slot.number):
                self._pool.start_worker(slot.number)
        if not any_hope and not trouble.in_a_row:
            raise ResourceError("no worker is left: the kernel holds them all", hint="look at the file systems in use")
        if not any_hope:
            raise EntryScriptError(
                messages.init_failed(trouble.in_a_row, trouble.last),
                hint=f"fix init(), then run the same command again; worker output: {self._logs[0].path.parent}",
            )
