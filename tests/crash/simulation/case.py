"""One seed's step: its items, what ``run()`` does with them, and what else goes wrong.

Sets of items are integers with a bit for each item.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from random import Random

from batchflow.mini_batches import CutGrid

ITEMS_MAX = 24
SESSIONS_MAX = 5
"""The last one sees no more faults from outside and tolerates any number of failures, so it must come to its end."""


def mask(start: int, count: int) -> int:
    return ((1 << count) - 1) << start


@dataclass(frozen=True)
class Settings:
    """Of one run; all of them may be others when it is resumed."""

    size: int
    workers: int
    attempts_max: int
    isolate: bool
    failed_items_limit: int | None
    failed_mini_batches_limit: int | None
    items_per_worker: int | None
    is_last: bool


class Case:
    """Made from a seed, with everything that chance decides about the step as a whole."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        rng = self.rng = Random(seed)
        self.item_count = 1 + int(rng.random() ** 1.5 * ITEMS_MAX)
        self.all = mask(0, self.item_count)
        self.in_order = rng.random() < 0.7
        self.items = rng.choice(("at_least", "at_least", "at_least", "exact", "any"))
        self.is_about_columns = rng.random() < 0.2
        """Large mini-batches that are isolated and do not agree about their columns."""
        self.has_columns = self.is_about_columns or rng.random() < 0.4
        share = rng.choice((0.0, 0.05, 0.1, 0.2, 0.4)) if rng.random() < 0.97 else 1.0
        if self.is_about_columns:
            share = 0.3
        self.raises = self._some(share * 0.6)
        self.dies = self._some(share * 0.3)
        self.hangs = self._some(share * 0.2)
        self.flaky = self._some(rng.choice((0.0, 0.0, 0.1, 0.3, 1.0)))
        self.short = self._some(rng.choice((0.0, 0.0, 0.1))) if self.items != "any" else 0
        self.odd_columns = self._some(rng.choice((0.0, 0.0, 0.1, 0.5))) if self.has_columns else 0
        if self.is_about_columns:
            self.odd_columns = self._some(0.4)
        self.empty = self._some(rng.choice((0.0, 0.0, 0.3)))
        """Items whose row has no bytes."""
        self.lines = {columns: self._lines(columns) for columns in (b"", b"a\n", b"b\n")}
        self.fault_rate = rng.choice((0.0, 0.02, 0.1, 0.3))
        """How often a worker has a fault of its own when it moves."""
        self.disk_rate = rng.choice((0.0, 0.0, 0.1, 0.3))
        self.crash_steps = rng.choice((0, 50, 100) if self.is_about_columns else (0, 0, 0, 15, 50, 150))
        """A driver crashes after up to so many actions; 0: never."""
        self.spill_rate = rng.choice((0.0, 0.0, 0.1))
        self.dawdle = rng.choice((0.0, 0.3, 0.8))
        self.ring_room = rng.choice((2, 4, 64))
        self.run_ns = rng.choice((1_000, 3_000_000, 1_000_000_000))
        self.grid = self._grid()
        """Of the step if its mini-batches are not of one size, as those of a table."""

    def _grid(self) -> CutGrid | None:
        rng = Random(f"grid {self.seed}")  # all else is what it would be without a grid of cuts
        if rng.random() < 0.7:
            return None
        cuts = array("q", [0])
        while cuts[-1] < self.item_count:
            cuts.append(min(self.item_count, cuts[-1] + rng.choice((1, 2, 3, 5, 8, 16))))
        return CutGrid(cuts)

    def _some(self, share: float) -> int:
        if not share:
            return 0
        random = self.rng.random
        return sum(1 << item for item in range(self.item_count) if random() < share)

    def _lines(self, columns: bytes) -> list[bytes]:
        """The row of each item in a result with these columns."""
        return [b"" if self.empty >> item & 1 else b"%d %s" % (item, columns or b"\n") for item in range(ITEMS_MAX + 1)]

    def rows(self, start: int, count: int, columns: bytes) -> tuple[int, bytes]:
        """How many elements ``run()`` returns for these items, and their bytes."""
        lines = self.lines[columns]
        there = [lines[item] for item in range(start, start + count) if not self.short >> item & 1]
        return len(there), b"".join(there)

    def columns(self, start: int, count: int) -> bytes:
        if not self.has_columns:
            return b""
        return b"b\n" if self.odd_columns & mask(start, count) else b"a\n"

    def settings(self, number: int) -> Settings:
        """Of the run that is the ``number``-th, from 0."""
        rng = self.rng
        is_last = number >= SESSIONS_MAX - 1
        return Settings(
            size=rng.choice((6, 8, 16) if self.is_about_columns else (1, 2, 3, 4, 5, 8, 16)),
            workers=rng.choice((2, 3) if self.is_about_columns else (1, 1, 2, 3)),
            attempts_max=rng.choice((1, 2, 3, 3, 5)),
            isolate=self.items != "any" and rng.random() < 0.85,
            failed_items_limit=None if is_last or rng.random() < 0.7 else rng.randrange(3),
            failed_mini_batches_limit=None if is_last or rng.random() < 0.9 else rng.randrange(3),
            items_per_worker=rng.choice((None, None, None, 1, 4)),
            is_last=is_last,
        )

    @property
    def always_fails(self) -> int:
        """Items that no attempt with them survives."""
        return self.raises | self.dies | self.hangs | (self.short if self.items == "exact" else 0)
