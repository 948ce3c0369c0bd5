"""What the command line asked for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from benchmarks.peers import HEAVY


@dataclass(frozen=True)
class Options:
    """``runs`` is the number of undisturbed rounds wanted; everything else as in ``--help``."""

    cases: tuple[str, ...]
    peers: tuple[str, ...] | None
    """None: all."""
    quick: bool
    runs: int
    mini_batches: int
    """Of 10 items, in the no-op cases."""
    workers: int
    mnist: Path | None
    model: Path | None
    data: Path
    out: Path
    name: str
    foreign_limit: float
    big: bool = False
    title: str = ""
    """Only scenarios whose title has this in it."""

    def chosen(self, peers: tuple[str, ...]) -> tuple[str, ...]:
        """Those of ``peers`` that were asked for; batchflow is always among them, for the ratios.

        A quick run leaves the heavy ones out unless they were named.
        """
        if self.peers is None:
            return tuple(peer for peer in peers if not (self.quick and peer in HEAVY))
        return tuple(peer for peer in peers if peer in self.peers or peer == "batchflow")
