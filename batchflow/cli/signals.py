"""Ctrl-C, SIGTERM and SIGHUP while a run goes on: the first drains, the second stops now.

The only place where batchflow installs signal handlers.  A signal that was inherited as ignored (``nohup``, a
background job) stays ignored.

Invariant: what was installed before ``__enter__`` is installed again after ``__exit__``.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any

from batchflow.cli.text import signal_label
from batchflow.clock import Clock
from batchflow.control import StopLevel, StopRequest

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
GRACE_S = 10.0
"""What is in flight is given so long.  After SIGTERM or SIGHUP nobody sends a second signal: then stop now."""
HARD_EXIT_AFTER_S = 10.0
"""A signal that comes so long after "stop now" ends the process at once."""


def prepare_signals() -> None:
    """Undo what a careless parent may have left: blocked stop signals, and SIGCHLD ignored (children unwaitable)."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
    if signal.getsignal(signal.SIGCHLD) is signal.SIG_IGN:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)


class StopOnSignals:
    """While entered, signals become levels of ``stop``; ``say`` gets one line for each.

    ``say`` must be re-entrant, as it is called from a signal handler.  Enter it on the main thread.
    """

    def __init__(
        self,
        stop: StopRequest,
        say: Callable[[str], None],
        clock: Clock,
        hard_exit: Callable[[int], Any] = os._exit,
    ) -> None:
        self._stop = stop
        self._say = say
        self._clock = clock
        self._hard_exit = hard_exit
        self._previous: dict[signal.Signals, Any] = {}
        self._drain_deadline: float | None = None
        self._now_since: float | None = None

    def __enter__(self) -> StopOnSignals:
        for one in _SIGNALS:
            if signal.getsignal(one) is not signal.SIG_IGN:
                self._previous[one] = signal.signal(one, self._handle)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for one, handler in self._previous.items():
            signal.signal(one, handler)
        self._previous.clear()

    def tick(self) -> None:
        """Turn a drain that took longer than ``GRACE_S`` after SIGTERM or SIGHUP into a stop."""
        deadline = self._drain_deadline
        if deadline is not None and self._stop.level < StopLevel.NOW and self._clock.monotonic() >= deadline:
            self._stop_now(self._stop.signal_number, f"not finished after {GRACE_S:.0f} s: stopping now")

    def _handle(self, number: int, frame: FrameType | None) -> None:
        label = signal_label(number)
        if self._stop.level < StopLevel.DRAIN:
            if number != signal.SIGINT:
                self._drain_deadline = self._clock.monotonic() + GRACE_S
            again = "Ctrl-C again" if number == signal.SIGINT else "a second signal"
            self._stop.request(StopLevel.DRAIN, number)
            self._say(
                f"stopping after {label}: finishing what is in flight (at most {GRACE_S:.0f} s); {again} stops now"
            )
        elif self._stop.level < StopLevel.NOW:
            self._stop_now(number, f"stopping now after a second signal ({label})")
        elif self._now_since is not None and self._clock.monotonic() - self._now_since > HARD_EXIT_AFTER_S:
            self._hard_exit(128 + number)

    def _stop_now(self, number: int, line: str) -> None:
        self._now_since = self._clock.monotonic()
        self._stop.request(StopLevel.NOW, number)
        self._say(line)
