"""How long has a worker been at what it is doing?  Pure but for the clock's readings it is given.

Time is added up in the steps in which the driver looks, each step bounded: a machine that slept, or a driver that was
stopped, makes no false timeouts.
"""

from __future__ import annotations

from collections.abc import Hashable


class Watch:
    """Adds up the time for which a worker's activity has stayed the same."""

    def __init__(self, step_max_s: float) -> None:
        self._step_max_s = step_max_s
        self._activity: Hashable = None
        self._seen_s: float | None = None
        self.elapsed_s = 0.0

    def look(self, activity: Hashable, now_s: float) -> float:
        """``activity`` is whatever changes when the worker goes on.  Returns for how many seconds it has not."""
        if self._seen_s is None or activity != self._activity:
            self._activity = activity
            self.elapsed_s = 0.0
        else:
            self.elapsed_s += min(max(0.0, now_s - self._seen_s), self._step_max_s)
        self._seen_s = now_s
        return self.elapsed_s
