"""What a step is over, as its driver sees it: how many items, the grid, their names, what workers are told.

Files and tables alike: items are numbered from 0, input after input.  Reads no value and keeps no object for an item.

Invariant: no mini-batch has items of two inputs, and the numbers of items depend on the inputs alone.
"""

from __future__ import annotations

import os
from array import array
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, Protocol

from batchflow._core import Listing, ListingBuilder
from batchflow.errors import DatasetError, ResourceError
from batchflow.mini_batches import CutGrid, Grid, UniformGrid
from batchflow.model import FailureEntry
from batchflow.parallel.values import OverInput
from batchflow.text import safe_text
from batchflow.worker.inputs import Attachments, describe_grid, describe_input


class Split(NamedTuple):
    """How the whole input is split into mini-batches: by the declaration, or as the first run of the step did it."""

    size: int
    unit: Literal["items", "bytes", "rows", "keys"]
    keys: tuple[str, ...] = ()
    """What the items of a mini-batch have in common."""


class InputItems(Protocol):
    """The items of one input, counted from 0."""

    name: str
    source: Listing
    """Of the files as they were declared."""

    @property
    def item_count(self) -> int: ...
    def cuts(self, split: Split) -> Iterable[int]:
        """Where mini-batches begin."""
        ...

    def names(self, start: int, stop: int) -> Sequence[str | Mapping[str, Any]]:
        """What users know each item by, as JSON."""
        ...

    def candidates(self, start: int, stop: int) -> Sequence[str | Mapping[str, Any]]:
        """The same for all of them together."""
        ...

    def told(self, start: int, stop: int) -> str:
        """The same in words."""
        ...

    def describe(self) -> tuple[dict[str, Any], tuple[int, ...]]:
        """As ``worker.inputs.describe_input``."""
        ...

    def counted(self, failed: Mapping[int, int]) -> dict[str, Any]:
        """What a receipt says of this input; ``failed``: how many items of each file have failed."""
        ...

    def file_of(self, item: int) -> tuple[int, int]:
        """The file that an item is or lies in, and the item after the last of that file."""
        ...

    def discard(self) -> None:
        """Remove what was made of it for this step, which is done."""
        ...

    def close(self) -> None: ...


class FileItems:
    """Files: an item is a path."""

    def __init__(self, over: OverInput, listing: Listing, keys: tuple[str, ...] = ()) -> None:
        """``keys``: those of the partition format that the files of a mini-batch have in common.

        Raises ``DatasetError`` for a file that has no such keys.
        """
        self.name = over.name
        self.source = listing
        self._partition = None
        self._group_sizes: list[int] = []
        if keys and over.partition_format is not None:
            self._partition = over.partition_format, keys
            listing, self._group_sizes = _grouped(listing, over, keys)
        self.listing = listing

    @property
    def item_count(self) -> int:
        return self.listing.item_count

    def cuts(self, split: Split) -> Iterable[int]:
        if self._partition is None:
            return range(0, self.item_count, split.size)
        cuts = [0]
        for size in self._group_sizes[:-1]:
            cuts.append(cuts[-1] + size)
        return cuts

    def names(self, start: int, stop: int) -> Sequence[str]:
        return self.listing.paths(start, stop)

    candidates = names

    def told(self, start: int, stop: int) -> str:
        more = f" and {stop - start - 1} more" if stop - start > 1 else ""
        return f"{self.listing.path(start)}{more}"

    def describe(self) -> tuple[dict[str, Any], tuple[int, ...]]:
        return describe_input(self.name, self.listing, None, self._partition)

    def counted(self, failed: Mapping[int, int]) -> dict[str, Any]:
        return {"items": self.item_count, "failed": sum(failed.values())}

    def file_of(self, item: int) -> tuple[int, int]:
        return 0, self.item_count  # nobody wants to know it for each

    def discard(self) -> None:
        """Nothing was made."""

    def close(self) -> None:
        """There is nothing that is not freed with the object."""


class StepInputs:
    """All that a step is over; ``grid`` is that of a run that begins now."""

    def __init__(self, inputs: Sequence[InputItems], split: Split) -> None:
        self._inputs = inputs
        self._firsts = [0]
        for one in inputs:
            self._firsts.append(self._firsts[-1] + one.item_count)
        self.item_count = self._firsts.pop()
        self.split = split
        self.grid = self._make_grid()
        self._cuts_fd = -1

    def _make_grid(self) -> Grid:
        if len(self._inputs) == 1 and self.split.unit == "items":
            return UniformGrid(self.split.size, self.item_count)
        cuts = array("q")
        for first, one in zip(self._firsts, self._inputs, strict=True):
            cuts.extend(first + cut for cut in one.cuts(self.split))
        cuts.append(self.item_count)
        return CutGrid(cuts)

    @property
    def skipped(self) -> tuple[int, int]:
        """Hidden names and special files that are no part of it."""
        listings = [one.source for one in self._inputs]
        return sum(one.skipped_hidden for one in listings), sum(one.skipped_special for one in listings)

    def names(self, start: int, stop: int) -> list[str | Mapping[str, Any]]:
        """What users know each of these items by, as JSON."""
        return [name for one, first, last in self._parts(start, stop) for name in one.names(first, last)]

    def candidates(self, start: int, stop: int) -> list[str | Mapping[str, Any]]:
        """The same for all of them together."""
        return [name for one, first, last in self._parts(start, stop) for name in one.candidates(first, last)]

    def told(self, start: int, stop: int) -> str:
        """The same in words."""
        one, first, last = next(iter(self._parts(start, stop)))
        return one.told(first, last)

    def _parts(self, start: int, stop: int) -> Iterable[tuple[InputItems, int, int]]:
        """The items by input, counted from the first one of that."""
        while start < stop:
            place = bisect_right(self._firsts, start) - 1
            first, one = self._firsts[place], self._inputs[place]
            last = min(stop - first, one.item_count)
            yield one, start - first, last
            start = first + last

    def attachments(self, grid: Grid) -> Attachments:
        """What workers are told; ``grid``: that of the step."""
        if isinstance(grid, CutGrid) and self._cuts_fd < 0:
            try:
                self._cuts_fd = os.memfd_create("batchflow-grid", os.MFD_CLOEXEC)
                with open(self._cuts_fd, "wb", closefd=False) as file:
                    file.write(grid.cuts)
            except OSError as error:
                raise ResourceError(f"cannot hold the mini-batches in memory: {error.strerror}") from error
        return [*(one.describe() for one in self._inputs), describe_grid(grid, self._cuts_fd)]

    def counted(self, failures: Iterable[FailureEntry]) -> dict[str, Any]:
        """What a receipt says of each input: how many items, how many of them failed; of tables by file."""
        failed: list[dict[int, int]] = [{} for _ in self._inputs]
        for failure in failures:
            missing = failure.entry.get("missing_count", failure.item_count)
            for one, start, stop in self._parts(failure.first_item, failure.first_item + failure.item_count):
                counts = failed[self._inputs.index(one)]
                while start < stop and missing:
                    file, end = one.file_of(start)
                    number = min(missing, min(stop, end) - start)
                    counts[file] = counts.get(file, 0) + number
                    missing -= number
                    start = end
        return {one.name: one.counted(counts) for one, counts in zip(self._inputs, failed, strict=True)}

    def discard(self) -> None:
        """The step is done: remove what was made for it."""
        for one in self._inputs:
            one.discard()

    def close(self) -> None:
        """Give back what workers were told with."""
        for one in self._inputs:
            one.close()
        if self._cuts_fd >= 0:
            os.close(self._cuts_fd)
            self._cuts_fd = -1


def _grouped(listing: Listing, over: OverInput, wanted: Sequence[str]) -> tuple[Listing, list[int]]:
    """The files in the order of their keys, and how many there are of each."""
    from batchflow.path_keys import parse_path_keys  # few steps have such

    keys = parse_path_keys(over.partition_format or "")
    places = [keys.names.index(name) for name in wanted]
    groups: dict[tuple[str, ...], array[int]] = {}
    misfits, misfit = 0, -1
    for item in range(listing.item_count):
        values = keys.values(listing.path(item))
        if values is None:
            misfits += 1
            misfit = item if misfits == 1 else misfit
        else:
            groups.setdefault(tuple(values[place] for place in places), array("q")).append(item)
    if misfits:
        more = f" and {misfits - 1:,} more" if misfits > 1 else ""
        raise DatasetError(
            f"input {over.name}: {safe_text(listing.path(misfit))}{more} does not end as partition_format says,"
            f" {over.partition_format}",
            hint="let the pattern match only files that do, or change partition_format",
        )
    builder = ListingBuilder(True, 1)
    for _, items in sorted(groups.items()):
        for item in items:
            folder, _, name = os.fsencode(listing.path(item)).rpartition(b"/")
            builder.add(folder + b"/", name, listing.size(item), listing.mtime_ns(item))
    return builder.finish(), [len(items) for _, items in sorted(groups.items())]
