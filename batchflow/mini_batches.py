"""The work of one run of a step: the item ranges still to do, split into mini-batches.

A mini-batch is known by its *ordinal*: its place in this run's work, from 0.  What users see is its *number*.
Arithmetic only, and three machine integers for each gap: no mini-batch exists before it is asked for.

Invariant: every item of the gaps is in exactly one mini-batch, and none crosses the end of a gap; only the last
mini-batch of a gap may be shorter than ``size``.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass


def mini_batch_number(ordinal: int, start: int, size: int, number_base: int | None) -> int:
    """The number that users see of the mini-batch that begins with item ``start``.

    Without a base it says where in the input the mini-batch lies, which is unique where all begin at multiples of
    ``size``; with one, mini-batches count on from those of earlier runs.  A part of a mini-batch gives the same number.
    """
    return start // size if number_base is None else number_base + ordinal


@dataclass(frozen=True, eq=False)
class MiniBatches:
    """Made by ``of``.  Looking one up takes time logarithmic in the number of gaps."""

    size: int
    number_base: int | None
    count: int
    item_count: int
    _starts: array[int]
    _stops: array[int]
    _first_ordinals: array[int]

    @staticmethod
    def of(gaps: Iterable[tuple[int, int]], size: int, *, number_base: int | None = None) -> MiniBatches:
        """``gaps``: ascending disjoint half-open ranges of items; empty ones are left out.

        Raises ``ValueError`` for other ranges and for ``size < 1``.
        """
        if size < 1:
            raise ValueError(f"a mini-batch has at least one item, {size=}")
        starts, stops, first_ordinals = array("q"), array("q"), array("q")
        count = item_count = end = 0
        for start, stop in gaps:
            if not end <= start <= stop:
                raise ValueError(f"expected ascending disjoint ranges, got {start} to {stop} after {end}")
            if start == stop:
                continue
            starts.append(start)
            stops.append(stop)
            first_ordinals.append(count)
            count -= (start - stop) // size  # rounded up
            item_count += stop - start
            end = stop
        return MiniBatches(size, number_base, count, item_count, starts, stops, first_ordinals)

    def range(self, ordinal: int) -> tuple[int, int]:
        """Its items: start (inclusive) and stop (exclusive).  Raises ``IndexError``."""
        _, start, stop = self.consecutive(ordinal, ordinal + 1)
        return start, stop

    def consecutive(self, ordinal: int, stop: int) -> tuple[int, int, int]:
        """The mini-batches from ``ordinal`` on, up to ``stop``, that lie in one gap.

        Returns the ordinal after the last of them, their first item and the item after their last one.  Raises
        ``IndexError`` if there is no mini-batch ``ordinal``.
        """
        if not 0 <= ordinal < self.count:
            raise IndexError(f"no mini-batch {ordinal=}, there are {self.count}")
        gap = bisect_right(self._first_ordinals, ordinal) - 1
        first_ordinal = self._first_ordinals[gap]
        gap_stop = self._first_ordinals[gap + 1] if gap + 1 < len(self._first_ordinals) else self.count
        stop_ordinal = min(stop, gap_stop)
        start = self._starts[gap] + (ordinal - first_ordinal) * self.size
        return stop_ordinal, start, min(start + (stop_ordinal - ordinal) * self.size, self._stops[gap])

    def number(self, ordinal: int) -> int:
        """What users see of it.  Raises ``IndexError``."""
        return mini_batch_number(ordinal, self.range(ordinal)[0], self.size, self.number_base)
