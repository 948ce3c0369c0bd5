"""The thread between a run and whatever shows it: a slow or stopped terminal never holds the run up.

Invariant: events are shown in the order in which they were posted, and only by the courier's own thread.
Progress events may be dropped when the receiver is far behind; no other event is.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable
from typing import Protocol

from batchflow.clock import Clock
from batchflow.model import Event, StepProgress

_PROGRESS_BACKLOG_MAX = 1_000


class Receiver(Protocol):
    """Whatever shows or stores events; used by one thread at a time."""

    tick_s: float
    """How often ``tick`` wants to be called."""

    def show(self, event: Event) -> None: ...

    def say(self, line: str) -> None:
        """One line of our own, not from the run."""

    def tick(self) -> None: ...

    def close(self) -> None: ...


class Courier:
    """Carries events to one receiver on a thread of its own; ``post`` and ``say`` never block.

    Both may be called from a signal handler: ``SimpleQueue.put`` is re-entrant.
    """

    def __init__(self, receiver: Receiver, clock: Clock, on_tick: Callable[[], None] | None = None) -> None:
        self._receiver = receiver
        self._clock = clock
        self._on_tick = on_tick
        self._queue: queue.SimpleQueue[Event | str | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._carry, name="batchflow-courier", daemon=True)
        self.error: Exception | None = None
        """What the receiver raised; from then on it gets nothing more."""

    def start(self) -> Courier:
        self._thread.start()
        return self

    def post(self, event: Event) -> None:
        if isinstance(event, StepProgress) and self._queue.qsize() > _PROGRESS_BACKLOG_MAX:
            return
        self._queue.put(event)

    def say(self, line: str) -> None:
        self._queue.put(line)

    def close(self, timeout_s: float | None = None) -> None:
        """Show what is still queued and close the receiver; give up on it after ``timeout_s``."""
        self._queue.put(None)
        self._thread.join(timeout_s)

    def _carry(self) -> None:
        tick_at = self._clock.monotonic() + self._receiver.tick_s
        while True:
            with contextlib.suppress(queue.Empty):
                item = self._queue.get(timeout=max(0.0, tick_at - self._clock.monotonic()))
                if item is None:
                    self._attempt(self._receiver.close)
                    return
                if isinstance(item, str):
                    self._attempt(self._receiver.say, item)
                else:
                    self._attempt(self._receiver.show, item)
            if self._clock.monotonic() >= tick_at:
                tick_at = self._clock.monotonic() + self._receiver.tick_s
                self._attempt(self._receiver.tick)
                if self._on_tick is not None:
                    self._on_tick()

    def _attempt(self, action: Callable[..., None], *arguments: Event | str) -> None:
        if self.error is None:
            try:
                action(*arguments)
            except Exception as error:  # a display that breaks must not end the run it shows
                self.error = error
