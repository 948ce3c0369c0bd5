"""What is known about a step while it runs, put together from its events.

Pure: the time is handed in.  Rates come from the events' own ``elapsed_s``, so a late display shows right ones.
"""

from __future__ import annotations

import math
from collections import deque
from typing import Literal

from batchflow.cli.text import rate
from batchflow.model import StepProgress, StepStarted
from batchflow.text import count, duration, safe_text

_RATE_WINDOW_S = 10.0
_PACE_MEMORY_S = 30.0
"""What was so long ago counts a third for the ETA."""


class StepView:
    """One running step; ``now`` is in seconds of the display's own clock."""

    def __init__(self, event: StepStarted, now: float) -> None:
        self.step = event.step
        self.kind: Literal["run", "call", "parallel"] = event.kind
        self.started_at = now
        self.done = 0
        self.failed = 0
        self.total = event.item_count
        self.workers = 0
        self.note = ""
        self._updated_at = now
        self._samples: deque[tuple[float, int]] = deque()
        self._pace_items = 0.0
        self._pace_s = 0.0

    def update(self, event: StepProgress, now: float) -> None:
        self.done, self.failed, self.total = event.done, event.failed, event.total
        self.workers, self.note = event.workers, event.note
        self._updated_at = now
        self._learn_pace(event)
        self._samples.append((event.elapsed_s, _of_this_run(event)))
        # One sample older than the window stays, so that the window is always covered.
        while len(self._samples) > 2 and event.elapsed_s - self._samples[1][0] >= _RATE_WINDOW_S:
            self._samples.popleft()

    def elapsed_s(self, now: float) -> float:
        return max(0.0, now - self.started_at)

    def rate(self) -> float | None:
        """Items per second over the last seconds; None while nothing can be said."""
        if len(self._samples) < 2:
            return None
        (first_s, first), (last_s, last) = self._samples[0], self._samples[-1]
        if last_s <= first_s or last <= first:
            return None
        return (last - first) / (last_s - first_s)

    def _learn_pace(self, event: StepProgress) -> None:
        """Count items and seconds, the older ones less, so that a mini-batch more or less does not move the ETA."""
        finished_count = _of_this_run(event)
        if not self._samples or (not finished_count and event.note):
            # The time until the workers are ready says nothing about how fast they will be.
            self._samples.clear()
            self._pace_items = self._pace_s = 0.0
            return
        passed_s = event.elapsed_s - self._samples[-1][0]
        if passed_s >= 0:
            fading = math.exp(-passed_s / _PACE_MEMORY_S)
            self._pace_items = self._pace_items * fading + finished_count - self._samples[-1][1]
            self._pace_s = self._pace_s * fading + passed_s

    def eta_s(self, now: float) -> float | None:
        """Seconds until the last item at the pace so far, recent seconds first; None while nothing can be said."""
        if self._pace_items <= 0 or self._pace_s <= 0 or self.total is None or self.finished_count >= self.total:
            return None
        to_go_s = (self.total - self.finished_count) * self._pace_s / self._pace_items
        return max(0.0, to_go_s - (now - self._updated_at))

    @property
    def finished_count(self) -> int:
        return self.done + self.failed

    @property
    def percent(self) -> int:
        return min(100, 100 * self.finished_count // self.total) if self.total else 100

    @property
    def short_count(self) -> str:
        """``156/400 (39 %)``."""
        if self.total is None:
            return f"{self.finished_count:,}"
        return f"{self.finished_count:,}/{self.total:,} ({self.percent} %)"

    def facts(self, now: float) -> dict[str, str]:
        """What there is to say, in the order of a line: count, failed, rate, eta, workers, elapsed, note."""
        facts: dict[str, str] = {}
        if self.total is not None:
            facts["count"] = f"{self.finished_count:,} of {count(self.total, 'item')} ({self.percent} %)"
        elif self.finished_count:
            facts["count"] = count(self.finished_count, "item")
        if self.failed:
            facts["failed"] = f"{self.failed:,} failed"
        per_second, eta_s = self.rate(), self.eta_s(now)
        if per_second is not None:
            facts["rate"] = rate(per_second)
        if eta_s is not None:
            facts["eta"] = f"ETA {_rough(eta_s)}"
        if self.workers:
            facts["workers"] = count(self.workers, "worker")
        facts["elapsed"] = duration(self.elapsed_s(now))
        if self.note:
            facts["note"] = safe_text(self.note)
        return facts


def _of_this_run(event: StepProgress) -> int:
    """What is finished and was not kept of an earlier run, which took no time now."""
    return event.done + event.failed - event.kept


def _rough(seconds: float) -> str:
    """A duration that is only guessed: whole seconds, from a minute on in steps of 5, from ten minutes of 30."""
    step = 1 if seconds < 60 else 5 if seconds < 600 else 30
    whole = max(1, round(seconds / step) * step)
    return f"{whole} s" if whole < 10 else duration(whole)
