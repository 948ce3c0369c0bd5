"""The work of one run of a step: the item ranges still to do, split into mini-batches.

A mini-batch is known by its *ordinal*: its place in this run's work, from 0.  What users see is its *number*.
Arithmetic only, and three machine integers for each gap: no mini-batch exists before it is asked for.

The *grid* of a step is the split of its whole input by its first run.  Whatever becomes of a mini-batch in later runs,
in pieces or together with others, failures are numbered and counted by the grid.

Invariant: every item of the gaps is in exactly one mini-batch, none crosses the end of a gap, and all begin and end
where the whole input would be split, or where a gap does.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator


def mini_batch_number(start: int, count: int, size: int, item_count: int) -> int:
    """The number that users see of the mini-batch of ``count`` items from ``start`` on, of ``item_count`` in the input.

    Those that the input is split into count from 0.  Any other range, a part of one or of a run with another size, is
    ``item_count`` + ``start``.  So all ranges that succeed have different numbers, in all runs of a step together, and
    a script may name files by them.
    """
    is_whole = start % size == 0 and count == min(size, item_count - start)
    return start // size if is_whole else item_count + start


def split_count(size: int, item_count: int) -> int:
    """How many mini-batches of ``size`` so many items are split into."""
    return -(-item_count // size)


class FailedMiniBatches:
    """Which mini-batches of a grid have failed items: each counts once, however often and in however many pieces.

    A bit for each of the grid, up to the last that has failed.
    """

    def __init__(self, size: int) -> None:
        """``size``: of the mini-batches of the grid."""
        self._size = size
        self._bits = bytearray()
        self.count = 0

    def add(self, start: int, stop: int, missing_count: int | None = None) -> None:
        """Of the items from ``start`` to ``stop``, ``missing_count`` have failed, by default all.

        Where nobody knows which ones are missing, no more mini-batches have failed than items are missing.
        """
        first, last = start // self._size, (stop - 1) // self._size
        if missing_count is not None:
            last = min(last, first + missing_count - 1)
        self._bits.extend(bytes(max(0, (last >> 3) + 1 - len(self._bits))))
        for number in range(first, last + 1):
            place, bit = number >> 3, 1 << (number & 7)
            self.count += not self._bits[place] & bit
            self._bits[place] |= bit


class MiniBatches:
    """Made by ``of``, never changed.  Looking one up takes time logarithmic in the number of gaps.

    No dataclass: a zygote imports this module, and would import the makings of one before its first worker starts.
    """

    def __init__(
        self,
        size: int,
        counts: tuple[int, int],
        gaps: tuple[array[int], array[int], array[int]],
        numbering: tuple[int, int],
    ) -> None:
        self.size = size
        self.count, self.item_count = counts
        self._starts, self._stops, self._first_ordinals = gaps
        self.number_size, self.input_count = numbering
        """The size of the mini-batches of the grid, and the items of the whole input."""

    @staticmethod
    def of(
        gaps: Iterable[tuple[int, int]],
        size: int,
        *,
        number_size: int | None = None,
        input_count: int | None = None,
    ) -> MiniBatches:
        """``gaps``: ascending disjoint half-open ranges of items; empty ones are left out.

        ``number_size``: the size that the numbers go by, that of the step's first run; ``input_count``: the items of
        the whole input.  By default ``size`` and the end of the gaps.
        Raises ``ValueError`` for other ranges and for ``size < 1``.
        """
        if size < 1:
            raise ValueError(f"a mini-batch has at least one item, {size=}")
        starts, stops, first_ordinals = array("q"), array("q"), array("q")
        count = item_count = end = 0
        for start, stop in gaps:
            if not end <= start <= stop:
                raise ValueError(f"expected ascending disjoint ranges, got {start} to {stop} after {end}")
            # What is left of a mini-batch is one by itself: none has items of two that would be split.
            middle = min(stop, size * split_count(size, start))
            for first, last in (start, middle), (middle, stop):
                if first < last:
                    starts.append(first)
                    stops.append(last)
                    first_ordinals.append(count)
                    count += split_count(size, last - first)
                    item_count += last - first
            end = stop
        input_count = end if input_count is None else input_count
        numbering = number_size or size, input_count
        return MiniBatches(size, (count, item_count), (starts, stops, first_ordinals), numbering)

    def range(self, ordinal: int) -> tuple[int, int]:
        """Its items: start (inclusive) and stop (exclusive).  Raises ``IndexError``."""
        _, start, stop = self.consecutive(ordinal, ordinal + 1)
        return start, stop

    def consecutive(self, ordinal: int, stop: int) -> tuple[int, int, int]:
        """The mini-batches from ``ordinal`` on, up to ``stop``, that lie in one gap and are of one size but the last.

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
        start, stop = self.range(ordinal)
        return mini_batch_number(start, stop - start, self.number_size, self.input_count)

    # The grid

    @property
    def grid_count(self) -> int:
        """How many mini-batches the whole input has."""
        return split_count(self.number_size, self.input_count)

    def on_grid(self, start: int, stop: int) -> Iterator[tuple[int, int, int]]:
        """These items by the mini-batches of the grid: number, first item, the one after the last."""
        size = self.number_size
        for number in range(start // size, split_count(size, stop)):
            yield number, max(start, number * size), min(stop, (number + 1) * size)
