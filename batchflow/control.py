"""How the outside asks a run to stop.  Imports nothing of ours."""

from __future__ import annotations

import enum
import signal


class StopLevel(enum.IntEnum):
    """NONE: go on.  DRAIN: finish what is in flight, then stop.  NOW: kill the workers and stop."""

    NONE = 0
    DRAIN = 1
    NOW = 2


class StopRequest:
    """Set by a signal handler or another thread, read by whatever runs; a level never falls.

    Setting it is one attribute assignment, so it is safe in a signal handler.
    """

    def __init__(self) -> None:
        self.level = StopLevel.NONE
        self.signal_number = int(signal.SIGINT)

    def request(self, level: StopLevel, signal_number: int = signal.SIGINT) -> None:
        if level > self.level:
            self.signal_number = signal_number
            self.level = level
