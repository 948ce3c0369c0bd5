"""A pool of workers that a test plays by hand, over real rings, and the ``Caller`` that believes in it."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, NamedTuple

from batchflow._core import Channel, Port
from batchflow.clock import FakeClock
from batchflow.model import WorkerExit
from batchflow.parallel.call_setup import call_setup
from batchflow.parallel.calls import Caller
from batchflow.pool.events import ForkFailed, PoolEvent, WorkerDied
from batchflow.pool.pool import ALONE, Asleep
from batchflow.pool.slot import PoolLimits, Slot
from batchflow.pool.watch import Watch
from batchflow.worker.spec import WorkerSpec


class PlayedPool:
    """What ``Caller`` sees of a ``WorkerPool``; the test plays the workers, through ``port(number)``."""

    def __init__(self, spec: WorkerSpec, limits: PoolLimits, pickled: bytes | None) -> None:
        self.spec = spec
        self.event_fd = os.eventfd(0, os.EFD_NONBLOCK)
        self.generation = 0
        self.ports: dict[int, Port] = {}
        self.slots = [Slot(number, self.channel(), Watch(1.0)) for number in range(spec.worker_count)]
        self.news: list[PoolEvent] = []
        self.started: list[int] = []
        self.killed: list[int] = []
        self.not_due: set[int] = set()
        self.closed = self.stopped = self.zygotes = 0

    def channel(self) -> Channel:
        self.generation += 1
        return Channel(request_size=4096, completion_size=4096, generation=self.generation, max_result_size=1 << 20)

    def start(self) -> None:
        self.zygotes += 1

    restart_zygote = start

    def may_start(self, number: int) -> bool:
        return not self.slots[number].asked_for and number not in self.not_due

    def start_worker(self, number: int) -> None:
        slot = self.slots[number]
        assert not slot.asked_for
        if slot.channel.fd < 0:
            slot = self.slots[number] = Slot(number, self.channel(), Watch(1.0))
        slot.asked_for = True
        self.ports[number] = Port(slot.channel.fd, self.event_fd, slot.channel.generation)
        slot.channel.close_fd()
        self.started.append(number)

    @property
    def alive_count(self) -> int:
        return sum(slot.asked_for for slot in self.slots)

    def wait(self, timeout_s: float, asleep: Asleep = ALONE) -> list[PoolEvent]:
        with asleep:
            pass
        news, self.news = self.news, []
        for event in news:
            if isinstance(event, (WorkerDied, ForkFailed)):
                self.slots[event.worker].asked_for = False
        return news

    def kill_worker(self, number: int) -> None:
        self.killed.append(number)

    def stop_workers(self) -> None:
        self.stopped += 1

    def close(self) -> None:
        self.closed += 1

    # The test's side

    def die(self, number: int, signal: int | None = 9, **facts: Any) -> None:
        """The worker is gone; its channel still holds what it published."""
        slot = self.slots[number]
        facts = {"timed_out": False, "init_failed": slot.init_failed, "with_zygote": False, **facts}
        self.news.append(
            WorkerDied(
                worker=number,
                channel=slot.channel,
                exit=WorkerExit(number, slot.channel.generation, 4711, signal, facts.pop("exit_code", None)),
                was_ready=slot.ready,
                peak_rss=facts.pop("peak_rss", 0),
                output_tail="",
                stack="",
                **facts,
            )
        )


class Outcome(NamedTuple):
    """What became of a call."""

    call_index: int
    value: bytes | None
    error: BaseException | None


class Table:
    """A ``Caller``, the pool played for it, and its clock."""

    def __init__(self, workers: int = 1, accept: Callable[[int], bool] | None = None, **options: Any) -> None:
        self.clock = FakeClock()
        pools: list[PlayedPool] = []

        def make(*arguments: Any) -> Any:
            pools.append(PlayedPool(*arguments))
            return pools[0]

        self.caller = Caller(call_setup(workers=workers, **options), make_pool=make, clock=self.clock, accept=accept)
        (self.pool,) = pools
        self.caller.start()

    def submit(self, *indices: int) -> None:
        for index in indices:
            self.caller.submit(index, b"call %d" % index)

    def pump(self) -> list[Outcome]:
        """One round, and what became of calls: those with a value first."""
        self.caller.pump(0)
        values, errors = self.caller.take()
        return [
            *(Outcome(index, value, None) for index, value in values.items()),
            *(Outcome(index, None, error) for index, error in errors.items()),
        ]

    def get_ready(self) -> None:
        """Start what is needed, and let every worker say that it is ready."""
        self.pump()
        for number in list(self.pool.started):
            if not self.pool.slots[number].ready:
                self.pool.ports[number].publish_ready()
        self.pump()

    def take(self, number: int = 0) -> int:
        """The worker begins its next call; which one that is."""
        request = self.pool.ports[number].take_call()
        assert request is not None
        index, _, payload = request
        assert payload == b"call %d" % index
        return index

    def answer(self, number: int, index: int, attempt: int = 1) -> None:
        self.pool.ports[number].publish_result(index, attempt, 1, b"", b"value %d" % index)

    def held(self, number: int = 0) -> list[int]:
        return [index for index, *_ in self.pool.slots[number].channel.flights()]
