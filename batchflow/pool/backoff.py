"""How long to wait before trying again what has failed: 0.1 s, then twice as long each time, at most 5 s.  Pure."""

from __future__ import annotations

FIRST_S = 0.1
LONGEST_S = 5.0


class Backoff:
    """Counts failures in a row and says when the next try is due."""

    def __init__(self) -> None:
        self.failure_count = 0
        self._due_s = float("-inf")

    def failed(self, now_s: float) -> None:
        self._due_s = now_s + min(LONGEST_S, FIRST_S * 2 ** min(self.failure_count, 30))
        self.failure_count += 1

    def succeeded(self) -> None:
        self.failure_count = 0
        self._due_s = float("-inf")

    def is_due(self, now_s: float) -> bool:
        return now_s >= self._due_s
