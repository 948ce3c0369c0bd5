"""What is known about a step while it runs, put together from its events.

Pure: the time is handed in.  Rates come from the events' own ``elapsed_s``, so a late display shows right ones.
"""

from __future__ import annotations

from collections import deque
from typing import Literal

from batchflow.cli.text import count, duration, rate
from batchflow.model import StepProgress, StepStarted
from batchflow.text import safe_text

_RATE_WINDOW_S = 10.0


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

    def update(self, event: StepProgress, now: float) -> None:
        self.done, self.failed, self.total = event.done, event.failed, event.total
        self.workers, self.note = event.workers, event.note
        self._updated_at = now
        self._samples.append((event.elapsed_s, event.done + event.failed))
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

    def eta_s(self, now: float) -> float | None:
        """Seconds until the last item at the present rate; None while nothing can be said."""
        per_second = self.rate()
        if per_second is None or self.total is None or self.finished_count >= self.total:
            return None
        return max(0.0, (self.total - self.finished_count) / per_second - (now - self._updated_at))

    @property
    def finished_count(self) -> int:
        return self.done + self.failed

    def parts(self, now: float) -> list[str]:
        """What a progress line says, the most important first."""
        parts: list[str] = []
        if self.total is not None:
            percent = 100 if self.total == 0 else min(100, 100 * self.finished_count // self.total)
            parts.append(f"{self.finished_count:,} of {count(self.total, 'item')} ({percent} %)")
        elif self.finished_count:
            parts.append(count(self.finished_count, "item"))
        if self.failed:
            parts.append(f"{self.failed:,} failed")
        per_second, eta_s = self.rate(), self.eta_s(now)
        if per_second is not None:
            parts.append(rate(per_second))
        if eta_s is not None:
            parts.append(f"ETA {duration(round(eta_s) if eta_s >= 1 else eta_s)}")
        if self.workers:
            parts.append(count(self.workers, "worker"))
        parts.append(duration(self.elapsed_s(now)))
        if self.note:
            parts.append(safe_text(self.note))
        return parts
