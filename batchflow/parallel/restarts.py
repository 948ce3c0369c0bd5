"""When workers die too often for the step to get anywhere.

A worker that died is replaced without asking; what ends that is this.  A death in a part does not count: while a
mini-batch is isolated workers are expected to die, and how often is bounded by its size.  A result of any mini-batch or
part makes up for all deaths before it.
"""

from __future__ import annotations

from collections import deque

from batchflow.clock import Clock

WINDOW_S = 60.0


class RestartLimit:
    """Too many: more than ``max(5, 3 × workers)`` within ``WINDOW_S``, or while idle, without a result in between."""

    def __init__(self, worker_count: int, clock: Clock) -> None:
        self._deaths_max = max(5, 3 * worker_count)
        self._clock = clock
        self._deaths_s: deque[float] = deque(maxlen=self._deaths_max + 1)
        self._idle_count = 0

    def got_result(self) -> None:
        self._deaths_s.clear()
        self._idle_count = 0

    def died(self, *, idle: bool, in_part: bool = False) -> None:
        """A worker that had been ready died; ``idle``: no mini-batch is to blame."""
        if not in_part:
            self._deaths_s.append(self._clock.monotonic())
            self._idle_count += idle

    def passed(self) -> str | None:
        """What has happened too often, in words; None if nothing has."""
        if self._idle_count > self._deaths_max:
            return f"{self._idle_count} workers died one after another while idle"
        deaths_s = self._deaths_s
        if len(deaths_s) > self._deaths_max and deaths_s[-1] - deaths_s[0] <= WINDOW_S:
            return f"{len(deaths_s)} workers died within {WINDOW_S:g} s without any result in between"
        return None
