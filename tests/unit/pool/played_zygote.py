"""A zygote without a process, and a pool that believes in it: the test says what it says, and plays its workers."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from batchflow._core import Port
from batchflow.clock import FakeClock
from batchflow.pool import pool as room
from batchflow.pool.logs import WorkerLog
from batchflow.pool.pool import WorkerPool
from batchflow.pool.slot import PoolLimits
from batchflow.pool.zygote_client import Message
from batchflow.worker.spec import WorkerSpec


class PlayedZygote:
    """What the pool sees of a ``ZygoteClient``."""

    def __init__(self, spec: WorkerSpec, pickled: bytes | None, log_fd: int | None) -> None:
        self.spec, self.pickled, self.log_fd = spec, pickled, log_fd
        self.messages: list[Message] = []
        self.gone = False
        self.status: int | None = 0
        self.forks: list[tuple[int, int]] = []
        self.inputs: list[object] = []
        self.closed: list[float] = []
        self.ports: dict[int, Port] = {}
        self._ends: tuple[int, int] | None = None

    def start(self) -> None:
        self._ends = os.pipe()

    @property
    def started(self) -> bool:
        return self._ends is not None

    def fileno(self) -> int:
        assert self._ends is not None
        return self._ends[0]

    def send_input(self, description: object, descriptors: object) -> None:
        self.inputs.append(description)

    def send_fork(self, worker: int, generation: int, descriptors: tuple[int, ...]) -> None:
        self.forks.append((worker, generation))
        self.ports[worker] = Port(descriptors[0], descriptors[1], generation)

    def flush(self) -> None:
        pass

    def receive(self) -> Message | None:
        if self.messages:
            return self.messages.pop(0)
        if self.gone:
            raise EOFError
        return None

    def close(self, patience_s: float = -1.0) -> int | None:
        self.closed.append(patience_s)
        if self._ends is not None:
            for end in self._ends:
                os.close(end)
            self._ends = None
        return self.status


class Stage:
    """A started pool of two workers; ``pass_time`` is the driver's loop."""

    def __init__(self, patch: pytest.MonkeyPatch, **keys: Any) -> None:
        self.zygotes: list[PlayedZygote] = []
        self.signals: list[tuple[int, int]] = []
        self.clock = FakeClock()

        def make(*arguments: Any) -> PlayedZygote:
            self.zygotes.append(PlayedZygote(*arguments))
            return self.zygotes[-1]

        patch.setattr(room, "ZygoteClient", make)
        self.waited: list[float] = []
        patch.setattr(room, "is_readable", lambda descriptor, timeout_s: self.waited.append(timeout_s))
        patch.setattr(signal, "pidfd_send_signal", lambda descriptor, number: self.signals.append((descriptor, number)))
        limits = PoolLimits(**{"init_timeout_s": 10.0, "run_timeout_s": 2.0} | keys.pop("limits", {}))
        self.pool = WorkerPool(WorkerSpec("function", 2), limits, clock=self.clock, **keys)

    @property
    def zygote(self) -> PlayedZygote:
        return self.zygotes[-1]

    def says(self, event: str, worker: int = 0, *descriptors: int, **values: Any) -> None:
        """The zygote's next message; about a worker with its generation of now."""
        generation = self.pool.slots[worker].channel.generation
        values = {"event": event, "worker": worker, "generation": generation, **values}
        self.zygote.messages.append(Message(values, descriptors))

    def fork(self, worker: int = 0) -> int:
        """Ask for a worker and have it; returns what stands for its pidfd."""
        self.pool.start_worker(worker)
        pidfd = os.eventfd(0, os.EFD_NONBLOCK)
        self.says("forked", worker, pidfd, pid=4711)
        assert self.pool.wait(0) == []
        return pidfd

    def loaded(self) -> None:
        self.says("loaded", threads=1, culprit=None)
        assert self.pool.wait(0) == []
        assert self.pool.loaded

    def died(self, worker: int = 0, number: int | None = 9, exit_code: int | None = None) -> None:
        self.says("died", worker, signal=number, exit_code=exit_code, peak_rss=1 << 20)

    def pass_time(self, seconds: float) -> list[Any]:
        """The driver looks ten times a second; all the news."""
        news = []
        for _ in range(round(seconds * 10)):
            self.clock.advance(0.1)
            news += self.pool.wait(0)
        return news


@contextmanager
def stage(patch: pytest.MonkeyPatch, *, logs: list[WorkerLog] | None = None, **keys: Any) -> Iterator[Stage]:
    one = Stage(patch, logs=logs, **keys)
    one.pool.start()
    try:
        yield one
    finally:
        one.pool.close()
        for log in logs or ():
            log.close()
