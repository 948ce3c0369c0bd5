"""The search for the bad items of one mini-batch, by halving.

A part that fails is halved, down to the single item, which is lost when it fails.  The second half waits for the
first: when the first half is good, the fault lies in the second one, which is then halved without a try of its own.
So one bad item costs less than two mini-batches of work, wherever it is, and a good item is never lost by inference:
every item is either in a part that succeeded or has failed alone.

Knows no workers, rows or reasons.

Invariant: every item of the mini-batch is in exactly one of: an open part (to be tried or being tried), a waiting
second half, saved, lost.  A waiting half has an open part before it, so without open parts the search is over.
"""

from __future__ import annotations

from typing import NamedTuple


class Part(NamedTuple):
    """Items ``start`` to ``start + item_count``; ``attempt``: how often they are given to ``run()``, this time too."""

    start: int
    item_count: int
    attempt: int


class Isolation:
    """Begins when the mini-batch as a whole has failed for the last time; ``open_parts`` are to be tried then."""

    def __init__(self, whole: Part) -> None:
        """``whole``: the mini-batch of at least two items and the attempt that failed."""
        self._open: dict[int, Part] = {}  # by start
        self._waiting: dict[int, Part] = {}  # by the start of the first half that they wait for
        self.saved_count = 0
        """Items."""
        self._halve(whole, whole.attempt + 1)

    @property
    def open_parts(self) -> list[Part]:
        return list(self._open.values())

    @property
    def first_open(self) -> int:
        """The first item that is neither saved nor lost."""
        return min(self._open)

    @property
    def is_over(self) -> bool:
        return not self._open

    def saved(self, start: int) -> list[Part]:
        """The open part that begins there has succeeded.  Returns the parts to be tried from now on."""
        part = self._open.pop(start)
        self.saved_count += part.item_count
        second = self._waiting.pop(start, None)
        if second is None:
            return []
        return [self._try(second) if second.item_count == 1 else self._halve(second, second.attempt)]

    def failed(self, start: int) -> list[Part]:
        """The open part that begins there has failed: lost if it is one item.  Returns the parts to be tried now."""
        part = self._open.pop(start)
        second = self._waiting.pop(start, None)
        ready = [] if second is None else [self._try(second)]
        if part.item_count > 1:
            ready.insert(0, self._halve(part, part.attempt + 1))
        return ready

    def _try(self, part: Part) -> Part:
        self._open[part.start] = part
        return part

    def _halve(self, part: Part, attempt: int) -> Part:
        """The first half, open from now on."""
        half = part.item_count // 2
        self._waiting[part.start] = Part(part.start + half, part.item_count - half, attempt)
        return self._try(Part(part.start, half, attempt))
