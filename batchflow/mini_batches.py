"""The work of one run of a step: the item ranges still to do, split into mini-batches.

A mini-batch is known by its *ordinal*: its place in this run's work, from 0.  What users see is its *number*.
Arithmetic only, and three machine integers for each gap: no mini-batch exists before it is asked for.

The *grid* of a step is the split of its whole input by its first run.  Whatever becomes of a mini-batch in later runs,
in pieces or together with others, failures are numbered and counted by the grid.  Files are split evenly
(``UniformGrid``), into mini-batches of any size that a run declares.  Where the data says where a mini-batch may end,
the records of a table for one, the grid is a list of cuts (``CutGrid``), and every run of the step keeps to it.

Invariant: every item of the gaps is in exactly one mini-batch, none crosses the end of a gap, and all begin and end
where the whole input would be split, or where a gap does.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from typing import TypeAlias


def split_count(size: int, item_count: int) -> int:
    """How many mini-batches of ``size`` so many items are split into."""
    return -(-item_count // size)


class UniformGrid:
    """Mini-batches of ``size`` items; the last one has what is left.

    No dataclass, here and below: a zygote imports this module, and would import the makings of one before its first
    worker starts.
    """

    __slots__ = ("item_count", "size")

    def __init__(self, size: int, item_count: int) -> None:
        """Raises ``ValueError`` for ``size < 1``."""
        if size < 1:
            raise ValueError(f"a mini-batch has at least one item, {size=}")
        self.size = size
        self.item_count = item_count

    @property
    def count(self) -> int:
        return split_count(self.size, self.item_count)

    def place(self, item: int) -> int:
        """The number of the mini-batch that the item is in."""
        return item // self.size

    def first_item(self, number: int) -> int:
        """Of the mini-batch; of the one after the last, the number of items."""
        return min(number * self.size, self.item_count)

    def number(self, start: int, count: int) -> int:
        """The number that users see of the mini-batch of ``count`` items from ``start`` on.

        Those of the grid count from 0.  Any other range, a part of one or of a run with another size, is
        ``item_count`` + ``start``.  So all ranges that succeed have different numbers, in all runs of a step together,
        and a script may name files by them.
        """
        size, item_count = self.size, self.item_count
        is_whole = start % size == 0 and count == min(size, item_count - start)
        return start // size if is_whole else item_count + start


class CutGrid:
    """Mini-batches that begin at ``cuts``: ascending items from 0 on; the last cut is the number of items."""

    __slots__ = ("cuts",)

    def __init__(self, cuts: array[int] | memoryview[int]) -> None:
        """Raises ``ValueError`` if it does not begin with 0."""
        if not len(cuts) or cuts[0] != 0:
            raise ValueError("a grid begins with item 0")
        self.cuts = cuts

    @property
    def item_count(self) -> int:
        return self.cuts[-1]

    @property
    def count(self) -> int:
        return len(self.cuts) - 1

    def place(self, item: int) -> int:
        """As in ``UniformGrid``."""
        return bisect_right(self.cuts, item) - 1

    def first_item(self, number: int) -> int:
        """As in ``UniformGrid``."""
        return self.cuts[number]

    def number(self, start: int, count: int) -> int:
        """As in ``UniformGrid``."""
        number = bisect_left(self.cuts, start)
        is_whole = self.cuts[number] == start and number < self.count and self.cuts[number + 1] == start + count
        return number if is_whole else self.item_count + start


Grid: TypeAlias = "UniformGrid | CutGrid"


class FailedMiniBatches:
    """Which mini-batches of a grid have failed items: each counts once, however often and in however many pieces.

    A bit for each of the grid, up to the last that has failed.
    """

    def __init__(self, grid: Grid) -> None:
        self._place = grid.place
        self._bits = bytearray()
        self.count = 0

    def add(self, start: int, stop: int, missing_count: int | None = None) -> None:
        """Of the items from ``start`` to ``stop``, ``missing_count`` have failed, by default all.

        Where nobody knows which ones are missing, no more mini-batches have failed than items are missing.
        """
        first, last = self._place(start), self._place(stop - 1)
        if missing_count is not None:
            last = min(last, first + missing_count - 1)
        self._bits.extend(bytes(max(0, (last >> 3) + 1 - len(self._bits))))
        for number in range(first, last + 1):
            place, bit = number >> 3, 1 << (number & 7)
            self.count += not self._bits[place] & bit
            self._bits[place] |= bit


class MiniBatches:
    """Made by ``of`` or ``on``, never changed.  Looking one up takes time logarithmic in the number of gaps.

    ``grid`` is that of the step; ``split`` is what this run splits the gaps by, most often the same.
    """

    def __init__(
        self,
        grid: Grid,
        split: Grid,
        counts: tuple[int, int],
        gaps: tuple[array[int], array[int], array[int]],
    ) -> None:
        self.grid = grid
        self._split = split
        self.count, self.item_count = counts
        self._starts, self._stops, self._first_ordinals = gaps

    @staticmethod
    def of(
        gaps: Iterable[tuple[int, int]],
        size: int,
        *,
        number_size: int | None = None,
        input_count: int | None = None,
    ) -> MiniBatches:
        """Mini-batches of ``size`` items.

        ``gaps``: ascending disjoint half-open ranges of items; empty ones are left out.  ``number_size``: the size that
        the numbers go by, that of the step's first run; ``input_count``: the items of the whole input.  By default
        ``size`` and the end of the gaps.  Raises ``ValueError`` for other ranges and for ``size < 1``.
        """
        grid, split = UniformGrid(number_size or size, 0), UniformGrid(size, 0)
        mini_batches, end = _cut(gaps, grid, split)
        grid.item_count = split.item_count = end if input_count is None else input_count
        return mini_batches

    @staticmethod
    def on(gaps: Iterable[tuple[int, int]], grid: CutGrid) -> MiniBatches:
        """The mini-batches of the grid, and what is left of those that a gap has only a part of."""
        return _cut(gaps, grid, grid)[0]

    def range(self, ordinal: int) -> tuple[int, int]:
        """Its items: start (inclusive) and stop (exclusive).  Raises ``IndexError``."""
        gap = self._gap(ordinal)
        number = self._split.place(self._starts[gap]) + ordinal - self._first_ordinals[gap]
        start = max(self._split.first_item(number), self._starts[gap])
        return start, min(self._split.first_item(number + 1), self._stops[gap])

    def consecutive(self, ordinal: int, stop: int) -> tuple[int, int, int, int]:
        """The mini-batches from ``ordinal`` on, up to ``stop``, that lie in one gap and are of one size but the last.

        Returns the ordinal after the last of them, their first item, their size and the item after their last one.
        Raises ``IndexError`` if there is no mini-batch ``ordinal``.
        """
        start, stop_item = self.range(ordinal)
        gap, size = self._gap(ordinal), stop_item - start
        is_last = gap + 1 == len(self._first_ordinals)
        stop = min(stop, self.count if is_last else self._first_ordinals[gap + 1])
        if isinstance(self._split, UniformGrid):
            # The first of a gap may be the end of one that was cut by it.
            if size == self._split.size:
                stop_item = min(start + (stop - ordinal) * size, self._stops[gap])
                return stop, start, size, stop_item
            return ordinal + 1, start, size, stop_item
        ordinal += 1
        while ordinal < stop:
            _, next_stop = self.range(ordinal)
            if next_stop - stop_item > size:
                break
            is_shorter, stop_item, ordinal = next_stop - stop_item < size, next_stop, ordinal + 1
            if is_shorter:
                break
        return ordinal, start, size, stop_item

    def _gap(self, ordinal: int) -> int:
        if not 0 <= ordinal < self.count:
            raise IndexError(f"no mini-batch {ordinal=}, there are {self.count}")
        return bisect_right(self._first_ordinals, ordinal) - 1

    def needed(self, ordinal: int, item_count: int, count_max: int) -> int:
        """How many mini-batches from ``ordinal`` on have at least so many items, if ``count_max`` or less have."""
        if isinstance(self._split, UniformGrid):
            return min(count_max, split_count(self._split.size, item_count))
        count = 0
        while item_count > 0 and count < count_max and ordinal + count < self.count:
            start, stop = self.range(ordinal + count)
            item_count -= stop - start
            count += 1
        return count if item_count <= 0 else count_max

    def number(self, ordinal: int) -> int:
        """What users see of it.  Raises ``IndexError``."""
        start, stop = self.range(ordinal)
        return self.grid.number(start, stop - start)

    def on_grid(self, start: int, stop: int) -> Iterator[tuple[int, int, int]]:
        """These items by the mini-batches of the grid: number, first item, the one after the last."""
        grid = self.grid
        for number in range(grid.place(start), grid.place(stop - 1) + 1):
            yield number, max(start, grid.first_item(number)), min(stop, grid.first_item(number + 1))


def _cut(gaps: Iterable[tuple[int, int]], grid: Grid, split: Grid) -> tuple[MiniBatches, int]:
    """The gaps split, and the end of the last one."""
    starts, stops, first_ordinals = array("q"), array("q"), array("q")
    count = item_count = end = 0
    for start, stop in gaps:
        if not end <= start <= stop:
            raise ValueError(f"expected ascending disjoint ranges, got {start} to {stop} after {end}")
        if start < stop:
            starts.append(start)
            stops.append(stop)
            first_ordinals.append(count)
            count += split.place(stop - 1) - split.place(start) + 1
            item_count += stop - start
        end = stop
    return MiniBatches(grid, split, (count, item_count), (starts, stops, first_ordinals)), end
