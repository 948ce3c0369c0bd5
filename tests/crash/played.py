"""A pool whose workers are played in the driver's own process, over real rings: no process, no clock, no chance.

The product's parallel runner drives it as it drives a ``WorkerPool``.  Each ``wait`` is a moment of played time in
which every worker answers at most one mini-batch; what it answers follows from the items alone.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NoReturn

from batchflow._core import Channel, Port
from batchflow.clock import FakeClock
from batchflow.model import WorkerExit
from batchflow.pool.events import PoolEvent, WorkerDied
from batchflow.pool.slot import Slot
from batchflow.pool.watch import Watch

WAIT_S = 0.11
"""Every second ``wait`` ends with a commit (after 0.2 s), every third with a report (0.25 s), some between commits."""


@dataclass(frozen=True)
class Answer:
    """What a worker makes of one attempt: rows, an exception, or (``dies``) nothing at all."""

    returned: int = 0
    columns: bytes = b""
    rows: bytes = b""
    exception: str = ""
    dies: bool = False


@dataclass(frozen=True)
class Request:
    """One attempt of items ``start`` to ``start + count``."""

    index: int
    attempt: int
    start: int
    count: int


@dataclass(frozen=True)
class Cast:
    """Who plays: what is answered, who dawdles, and who is told which items were answered with rows."""

    answer: Callable[[Request], Answer]
    dawdles: Callable[[Request, int], int] = lambda request, worker: 0
    """For how many ``wait`` calls an attempt keeps its worker busy beyond the first."""
    succeeded: Callable[[Request], None] = lambda request: None
    lingers_s: float = 0.0
    """A process forked from the driver, which has its locks therefore, outlives it by so long at most."""


@dataclass
class _Worker:
    port: Port
    taken: deque[Request] = field(default_factory=deque)
    busy: int = -1
    """How many more ``wait`` calls the request in hand takes; -1: it has not been looked at."""


class PlayedPool:
    """What the parallel runner sees of a ``WorkerPool``."""

    def __init__(self, cast: Cast, played_time: FakeClock, spec: Any, limits: Any, **_: Any) -> None:
        self.spec = spec
        self.limits = limits
        self.loaded = True
        self._cast = cast
        self._clock = played_time
        self._event_fd = os.eventfd(0, os.EFD_NONBLOCK)
        self._generation = 0
        self._workers: dict[int, _Worker] = {}
        self._news: list[PoolEvent] = []
        self.slots = [Slot(number, self._channel(), Watch(1.0)) for number in range(spec.worker_count)]

    def _channel(self) -> Channel:
        self._generation += 1
        return Channel(
            request_size=1 << 14, completion_size=1 << 16, generation=self._generation, max_result_size=1 << 20
        )

    def start(self) -> None:
        if self._cast.lingers_s and os.fork() == 0:
            _linger(self._cast.lingers_s)

    def restart_zygote(self) -> None:
        """It never dies."""

    def send_inputs(self, inputs: Any) -> None:
        """The players know the items by their numbers."""

    def start_worker(self, number: int, *_: Any, **__: Any) -> None:
        slot = self.slots[number]
        if slot.channel.fd < 0:
            slot = self.slots[number] = Slot(number, self._channel(), Watch(1.0))
        slot.asked_for = True
        port = Port(slot.channel.fd, self._event_fd, slot.channel.generation)
        slot.channel.close_fd()
        self._workers[number] = _Worker(port)
        port.publish_ready()

    def may_start(self, number: int) -> bool:
        return not self.slots[number].asked_for

    @property
    def alive_count(self) -> int:
        return sum(slot.asked_for for slot in self.slots)

    def wait(self, timeout_s: float = 0.1) -> list[PoolEvent]:
        self._clock.advance(WAIT_S)
        for number in sorted(self._workers):
            if self.slots[number].asked_for:
                self._play(number, self._workers[number])
        news, self._news = self._news, []
        return news

    def wake(self) -> None:
        """Nobody sleeps."""

    def kill_worker(self, number: int) -> None:
        self._die(number)

    def stop_workers(self) -> None:
        for slot in self.slots:
            if slot.asked_for:
                self._die(slot.number, exit_code=0)

    def close(self) -> None:
        os.close(self._event_fd)

    def _play(self, number: int, worker: _Worker) -> None:
        """One turn of one worker: take what it was given, answer the first of it when its time has come."""
        channel = self.slots[number].channel
        while len(worker.taken) < channel.in_flight:
            given = worker.port.take()
            if given is None:
                return
            worker.taken.append(Request(*given[:4]))
        if not worker.taken:
            return
        request = worker.taken[0]
        if worker.busy < 0:
            worker.busy = self._cast.dawdles(request, number)
        if worker.busy > 0:
            worker.busy -= 1
            return
        worker.busy = -1
        worker.taken.popleft()
        self._answer(number, worker, request)

    def _answer(self, number: int, worker: _Worker, request: Request) -> None:
        answer = self._cast.answer(request)
        if answer.dies:
            self._die(number)
        elif answer.exception:
            described = {
                "kind": "exception",
                "error_type": "ValueError",
                "message": answer.exception,
                "traceback": f"ValueError: {answer.exception}",
            }
            worker.port.publish_failure(request.index, request.attempt, json.dumps(described).encode())
        else:
            worker.port.publish_result(request.index, request.attempt, answer.returned, answer.columns, answer.rows)
            self._cast.succeeded(request)

    def _die(self, number: int, exit_code: int | None = None) -> None:
        slot = self.slots[number]
        slot.asked_for = False
        del self._workers[number]
        self._news.append(
            WorkerDied(
                worker=number,
                channel=slot.channel,
                exit=WorkerExit(number, slot.channel.generation, 0, None if exit_code == 0 else 9, exit_code),
                timed_out=False,
                was_ready=slot.ready,
                init_failed=slot.init_failed,
                with_zygote=False,
                peak_rss=0,
                output_tail="",
                stack="",
            )
        )


def _linger(seconds: float) -> NoReturn:
    """Keep nothing of the driver's but what it has locked, for a while."""
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            if not os.readlink(f"/proc/self/fd/{name}").endswith("/lock"):
                os.close(int(name))
    time.sleep(seconds)
    os._exit(0)
