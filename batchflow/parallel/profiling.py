"""The clock of one parallel step: its phases, and with ``--profile-run`` what driver and workers do meanwhile.

Without it only the phases are timed: what would be measured beyond that is not even wrapped.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import ParamSpec, TypeVar

from batchflow._core import LAPS, Channel
from batchflow.clock import Clock
from batchflow.mini_batches import CutGrid
from batchflow.parallel.values import ParallelJob
from batchflow.plan import Plan
from batchflow.pool.events import PoolEvent, WorkerDied
from batchflow.pool.slot import Slot
from batchflow.profiles import DRIVER, PHASES, WORKERS, StepProfile, WorkerTime, straggling_s, with_rest, worker_time

Parameters = ParamSpec("Parameters")
Value = TypeVar("Value")


class StepClock:
    """``begin`` each phase as it comes; ``end_dispatch`` when no more work is given out, for whatever reason."""

    def __init__(self, job: ParallelJob, clock: Clock) -> None:
        self._job = job
        self._clock = clock
        self.phase = "prepare"
        self.started_s = self._since_s = clock.monotonic()
        self._phases_s = dict.fromkeys(PHASES, 0.0)
        self._driver_s: defaultdict[str, float] = defaultdict(float)
        self._workers: dict[int, WorkerTime] = {}  # by generation
        self._waiting: list[float] = []
        self._plan: Plan | None = None
        self._worker_count = 0

    def follow(self, plan: Plan, worker_count: int) -> None:
        """What there is to do is known; ``worker_count``: as many as there is work for."""
        self._plan, self._worker_count = plan, worker_count

    def begin(self, phase: str) -> None:
        now_s = self._clock.monotonic()
        self._phases_s[self.phase] += now_s - self._since_s
        self.phase, self._since_s = phase, now_s

    @property
    def timings(self) -> dict[str, float]:
        """Seconds, for the receipt: what belongs to no other phase belongs to the next one."""
        phases = self._phases_s
        return {
            "list": phases["prepare"] + phases["list"],
            "start": phases["partition"] + phases["start"],
            "dispatch": phases["dispatch"],
            "finish": phases["shutdown"] + phases["finish"],
        }

    # What is measured only when somebody asks

    def timed(self, part: str, function: Callable[Parameters, Value]) -> Callable[Parameters, Value]:
        """``function``, its time during dispatch counted as ``part`` of ``DRIVER``."""
        if not self._job.profile:
            return function
        monotonic = self._clock.monotonic

        def measured(*arguments: Parameters.args, **keywords: Parameters.kwargs) -> Value:
            begun_s = monotonic()
            try:
                return function(*arguments, **keywords)
            finally:
                if self.phase == "dispatch":
                    self._driver_s[part] += monotonic() - begun_s

        return measured

    def hearing(self, wait: Callable[[], list[PoolEvent]]) -> Callable[[], list[PoolEvent]]:
        """``wait`` of the pool, timed; what a dead worker has to say about its time is read at once."""
        if not self._job.profile:
            return wait
        timed_wait = self.timed("wait", wait)

        def hear() -> list[PoolEvent]:
            news = timed_wait()
            for event in news:
                if isinstance(event, WorkerDied):
                    self._read(event.channel)
            return news

        return hear

    def end_dispatch(self, slots: Iterable[Slot]) -> None:
        """The rest is no dispatch any more: have what workers say about their time until now."""
        if self.phase not in ("start", "dispatch"):
            return
        if self._job.profile:
            asked_for = [self._read(slot.channel) for slot in slots if slot.asked_for]
            self._waiting = [one.waiting_s for one in asked_for if one.spent_s]
        self.begin("shutdown")

    def _read(self, channel: Channel) -> WorkerTime:
        limit_s = self._clock.monotonic() - self.started_s
        time = self._workers[channel.generation] = worker_time(channel.laps, LAPS, limit_s)
        return time

    def profile(self) -> StepProfile | None:
        """Until now; None if nobody asked."""
        if not self._job.profile:
            return None
        job, plan = self._job, self._plan
        self.begin(self.phase)
        spent_s: defaultdict[str, float] = defaultdict(float)
        for worker in self._workers.values():
            for name, seconds in worker.spent_s.items():
                spent_s[name] += seconds
        inits = [worker.spent_s.get("init", 0.0) for worker in self._workers.values()]
        dispatch_s = self._phases_s["dispatch"]
        return StepProfile(
            phases_s=dict(self._phases_s),
            dispatch_s=with_rest(self._driver_s, DRIVER, dispatch_s),
            workers_s=with_rest(spent_s, WORKERS, self._worker_count * dispatch_s),
            workers=self._worker_count,
            cores=job.cores,
            init_s=max(inits, default=0.0),
            straggling_s=min(straggling_s(self._waiting), spent_s["wait"]),
            mini_batches=0 if plan is None else plan.attempts,
            items=0 if plan is None else plan.mini_batches.item_count,
            mini_batch_size=_mean_size(plan, job.settings.mini_batch_size),
            over_rows=job.inputs[0].table is not None,
            in_order=job.settings.order == "input",
        )


def _mean_size(plan: Plan | None, declared: int) -> int:
    """Items of a mini-batch; the mean where they are not all of the size that is declared."""
    grid = None if plan is None else plan.mini_batches.grid
    return max(1, grid.item_count // grid.count) if isinstance(grid, CutGrid) else declared
