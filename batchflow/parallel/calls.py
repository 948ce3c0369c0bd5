"""Calls of Python functions in a pool of workers: what ``map`` and ``Pool`` stand on.

A call goes out pickled and its value comes back pickled, over memory shared with this process's own children only.
A worker that dies or hangs costs the call it was running one attempt; calls behind it are not blamed.

Invariant: every call that was submitted and not reported is in exactly one of ready, in flight.
"""

from __future__ import annotations

import os
import pickle
import sys
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from batchflow import _core
from batchflow._core import Channel, Note
from batchflow.cpus import available_cpus
from batchflow.errors import (
    BatchflowError,
    EntryScriptError,
    InternalError,
    ResourceError,
    UsageError,
    WorkerDiedError,
)
from batchflow.parallel.feeder import depth_for
from batchflow.pool.events import ForkFailed, InitTimedOut, LoadedLate, LoadFailed, PoolEvent, WorkerDied
from batchflow.pool.pool import PoolLimits, Slot, WorkerPool
from batchflow.worker.capture import THREAD_VARIABLES
from batchflow.worker.spec import WorkerSpec

FAILURES_MAX = 3
"""Workers that may fail to get ready, one after another, before the pool gives up."""


@dataclass
class Call:
    """One call on its way; ``payload`` is kept for another attempt."""

    index: int
    payload: bytes
    attempt: int = 1


@dataclass(frozen=True)
class Outcome:
    """What became of a call: ``value`` is the pickled return value, or ``error`` is set."""

    index: int
    value: bytes | None
    error: BaseException | None


class RemoteTraceback(Exception):
    """The traceback in the worker; the cause of an exception that came from there."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return f"\n{self.text}"


def reference_of(function: Callable[..., Any] | None) -> str | None:
    """``module:qualified.name`` if another process can import the very same function by it, else None."""
    module = getattr(function, "__module__", None)
    name = getattr(function, "__qualname__", None)
    if not module or not name or module == "__main__" or "<" in name:
        return None
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    return f"{module}:{name}" if found is function else None


def pickled_function(function: Callable[..., Any]) -> bytes:
    """A function for another process: by reference where it can be imported, else by value."""
    import cloudpickle

    return cloudpickle.dumps(function)  # type: ignore[no-any-return]


def call_spec(
    workers: int | None, function: Callable[..., Any] | None, init: Callable[[], object] | None
) -> tuple[WorkerSpec, bytes | None]:
    """The spec of a pool for calls, and the functions that must travel by value, pickled, if any."""
    if workers is not None and workers < 1:
        raise UsageError(f"a pool needs at least one worker, workers={workers}")
    for one in (function, init):
        if one is not None and not callable(one):
            raise UsageError(f"expected a function, got {type(one).__name__}")
    cores = available_cpus()
    references = reference_of(function), reference_of(init)
    by_value = [
        None if one is None or reference is not None else one
        for one, reference in zip((function, init), references, strict=True)
    ]
    spec = WorkerSpec(
        kind="function",
        worker_count=workers or cores,
        cores=cores,
        function=references[0],
        init=references[1],
        calls_pickled=function is None,
        thread_environment={name: os.environ[name] for name in THREAD_VARIABLES if name in os.environ},
        paths=tuple(path or str(Path.cwd()) for path in sys.path),
    )
    if by_value == [None, None]:
        return spec, None
    import cloudpickle

    return spec, cloudpickle.dumps(tuple(by_value))


class Caller:
    """Sends calls to a pool of workers and says what became of them.  One thread drives it."""

    def __init__(
        self,
        *,
        workers: int | None,
        function: Callable[..., Any] | None = None,
        init: Callable[[], object] | None = None,
        timeout_s: float | None = None,
        attempts: int = 3,
    ) -> None:
        if attempts < 1:
            raise UsageError(f"a call needs at least one attempt, attempts={attempts}")
        if timeout_s is not None and not timeout_s > 0:
            raise UsageError(f"expected a positive time, timeout_s={timeout_s}")
        self._spec, self._pickled = call_spec(workers, function, init)
        self._timeout_s = timeout_s
        self._attempts = attempts
        self._pool = WorkerPool(self._spec, PoolLimits(run_timeout_s=timeout_s), pickled=self._pickled)
        self._ready: deque[Call] = deque()
        self._in_flight: dict[int, Call] = {}
        self._outcomes: list[Outcome] = []
        self._failures = 0
        self._last_trouble = ""
        self._zygote_deaths = 0

    @property
    def worker_count(self) -> int:
        return self._spec.worker_count

    @property
    def outstanding(self) -> int:
        """Calls submitted and not reported."""
        return len(self._ready) + len(self._in_flight)

    def start(self) -> None:
        self._pool.start()
        for number in range(self._spec.worker_count):
            self._pool.start_worker(number)

    def submit(self, index: int, payload: bytes) -> None:
        self._ready.append(Call(index, payload))

    def wake(self) -> None:
        """Make ``pump`` return soon; may be called from another thread."""
        self._pool.wake()

    def pump(self, timeout_s: float) -> list[Outcome]:
        """Send what can be sent, wait for news up to ``timeout_s``, report what has come back.

        Raises ``EntryScriptError`` when no worker gets ready, ``ResourceError`` when none can be started.
        """
        self._fill()
        for event in self._pool.wait(timeout_s):
            self._take_event(event)
        for slot in self._pool.slots:
            if slot.asked_for:
                self._read(slot)
        self._replace_dead()
        self._fill()
        outcomes, self._outcomes = self._outcomes, []
        return outcomes

    def close(self) -> None:
        self._pool.close()

    def stop(self, grace_s: float = 5.0) -> None:
        """Let the workers end by themselves, then end what is left."""
        self._pool.stop_workers()
        rounds = int(grace_s / 0.1)
        while self._pool.alive_count and rounds:
            self._pool.wait(0.1)
            rounds -= 1
        self.close()

    def _fill(self) -> None:
        ready = [slot for slot in self._pool.slots if slot.ready and slot.asked_for]
        for slot in ready:
            channel = slot.channel
            if not channel.flush():
                continue
            depth = depth_for(channel.run_ns, channel.result_count, len(self._ready), len(ready))
            channel.set_low_water(depth // 2)
            while self._ready and channel.in_flight < depth and channel.flush():
                call = self._ready.popleft()
                self._in_flight[call.index] = call
                channel.call(call.index, call.attempt, call.payload)

    def _read(self, slot: Slot) -> None:
        for note in slot.channel.drain():
            if note.kind == _core.DAMAGED:
                self._pool.kill_worker(slot.number)
            else:
                self._take_note(note, slot)

    def _take_note(self, note: Note, slot: Slot | None) -> None:
        if note.kind == _core.READY:
            self._failures = 0
            if slot is not None:
                slot.ready = True
        elif note.kind == _core.INIT_FAILED:
            self._failures += 1
            self._last_trouble = init_trouble(note.payload)
        else:
            self._in_flight.pop(note.mini_batch_index)
            if note.kind == _core.RESULT:
                self._outcomes.append(Outcome(note.mini_batch_index, note.payload, None))
            else:
                self._outcomes.append(Outcome(note.mini_batch_index, None, exception_of(note.payload)))

    def _take_event(self, event: PoolEvent) -> None:
        if isinstance(event, WorkerDied):
            self._take_death(event)
        elif isinstance(event, LoadFailed):
            description = event.description
            raise EntryScriptError(description["traceback"] or description["message"])
        elif isinstance(event, ForkFailed):
            if not self._pool.alive_count:
                raise ResourceError(f"no worker can be started: {event.message}")
        elif isinstance(event, InitTimedOut):
            self._last_trouble = "init took too long"
        elif not isinstance(event, LoadedLate):
            self._zygote_deaths += 1
            if self._zygote_deaths >= FAILURES_MAX:
                raise WorkerDiedError(f"the process that workers are forked from keeps dying, status={event.status}")
            self._pool.restart_zygote()

    def _take_death(self, death: WorkerDied) -> None:
        reported = False
        for note in death.channel.drain():
            if note.kind != _core.DAMAGED:
                reported = reported or note.kind == _core.INIT_FAILED
                self._take_note(note, None)
        blamed = self._blame(death.channel, death)
        if not blamed and not reported:
            self._failures += 1
            self._last_trouble = f"worker {death.worker} died before it had work: {death.exit.describe()}"

    def _blame(self, channel: Channel, death: WorkerDied) -> bool:
        flights = channel.flights()
        started = bool(flights) and channel.first_started
        if started:
            call = self._in_flight.pop(flights[0][0])
            if call.attempt < self._attempts:
                call.attempt += 1
                self._ready.appendleft(call)
            else:
                self._outcomes.append(Outcome(call.index, None, death_error(death, call, self._timeout_s)))
        for index, _ in reversed(flights[1:] if started else flights):
            self._ready.appendleft(self._in_flight.pop(index))
        return started

    def _replace_dead(self) -> None:
        for slot in self._pool.slots:
            if slot.asked_for:
                continue
            if self._failures >= FAILURES_MAX:
                if not any(other.ready and other.asked_for for other in self._pool.slots):
                    raise EntryScriptError(f"{self._failures} workers in a row did not get ready\n{self._last_trouble}")
                continue
            self._pool.start_worker(slot.number)


def init_trouble(payload: bytes) -> str:
    import json

    description = json.loads(payload)
    return description["traceback"] or f"{description['error_type']}: {description['message']}"


def exception_of(payload: bytes) -> BaseException:
    """The exception that the worker raised, with its traceback as the cause; one of ours if it cannot be rebuilt."""
    description, pickled = pickle.loads(payload)
    if pickled is None:
        return EntryScriptError(description["traceback"] or f"{description['error_type']}: {description['message']}")
    try:
        error = pickle.loads(pickled)
    except Exception:
        return EntryScriptError(description["traceback"])
    if not isinstance(error, BaseException):
        raise InternalError(f"a failure that is not an exception, type={type(error).__name__}")
    error.__cause__ = RemoteTraceback(description["traceback"])
    return error


def death_error(death: WorkerDied, call: Call, timeout_s: float | None) -> BatchflowError:
    """Why a call has no result although it was tried as often as allowed."""
    if death.timed_out:
        return WorkerDiedError(f"the call took longer than timeout_s={timeout_s:g}, attempt={call.attempt}")
    return WorkerDiedError(
        f"worker {death.worker} died: {death.exit.describe()}, pid={death.exit.pid}, attempt={call.attempt}"
    )
