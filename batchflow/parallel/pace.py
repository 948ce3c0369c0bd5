"""How long a worker's latest attempts took, and how many keep it busy until the driver looks again.  Pure."""

from __future__ import annotations

from batchflow._core import Channel

QUEUE_NS = 20_000_000
"""How much work, by the worker's own measure, lies before it: a wake-up of the driver is small against this."""


class Pace:
    """Of one worker; the latest attempts weigh most."""

    __slots__ = ("_result_count", "_run_ns", "mean_ns")

    def __init__(self) -> None:
        self._result_count = 0
        self._run_ns = 0
        self.mean_ns: int | None = None
        """None before the first attempt has been timed."""

    def look(self, channel: Channel) -> None:
        """Take in what has been answered since the last look."""
        count = channel.result_count - self._result_count
        if count:
            latest_ns = (channel.run_ns - self._run_ns) // count
            self.mean_ns = latest_ns if self.mean_ns is None else (self.mean_ns + latest_ns) // 2
            self._result_count, self._run_ns = channel.result_count, channel.run_ns

    def depth(self, first: int, depth_max: int) -> int:
        """How many requests, at least 1, the worker should hold; ``first`` before anything is known of it."""
        return first if self.mean_ns is None else max(1, min(depth_max, QUEUE_NS // max(1, self.mean_ns)))
