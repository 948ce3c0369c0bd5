"""How long a worker's latest attempts took, how long their results were, and how many keep it busy until the driver
looks again.  Pure."""

from __future__ import annotations

from batchflow._core import Channel

QUEUE_NS = 20_000_000
"""How much work, by the worker's own measure, lies before it: a wake-up of the driver is small against this."""
QUEUE_SIZE = 16 << 20
"""Bytes of results that all workers together may be asked for in advance: well below what may wait in input order, for
what one worker gives waits for what another was given before."""


class Pace:
    """Of one worker; the latest attempts weigh most."""

    __slots__ = ("_result_count", "_result_size", "_run_ns", "mean_ns", "mean_size")

    def __init__(self) -> None:
        self._result_count = self._result_size = self._run_ns = 0
        self.mean_ns: int | None = None
        """None before the first attempt has been timed."""
        self.mean_size = 0
        """Bytes of a result."""

    def look(self, channel: Channel) -> None:
        """Take in what has been answered since the last look."""
        count = channel.result_count - self._result_count
        if count:
            latest_ns = (channel.run_ns - self._run_ns) // count
            latest_size = (channel.result_size - self._result_size) // count
            if self.mean_ns is None:
                self.mean_ns, self.mean_size = latest_ns, latest_size
            self.mean_ns = (self.mean_ns + latest_ns) // 2
            self.mean_size = (self.mean_size + latest_size) // 2
            self._result_count, self._run_ns = channel.result_count, channel.run_ns
            self._result_size = channel.result_size

    def depth(self, first: int, depth_max: int, size_max: int) -> int:
        """How many requests, at least 1, the worker should hold; ``first`` before anything is known of it.

        ``size_max``: bytes of results that these may give, as far as anybody can tell.
        """
        if self.mean_ns is None:
            return first
        return max(1, min(depth_max, QUEUE_NS // max(1, self.mean_ns), size_max // max(1, self.mean_size)))
