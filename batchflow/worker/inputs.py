"""What a step is over, as its workers see it: from a range of items to what ``run()`` gets.

The driver describes each input in a message, one after another, and then the grid; the data come as descriptors of
shared memory.  No path and no row ever travels.

Invariant: a range of items lies in one input, and in one piece of a table.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from batchflow._core import Listing
from batchflow.mini_batches import CutGrid, Grid, UniformGrid

if TYPE_CHECKING:
    from batchflow.tables.index import TableIndex
    from batchflow.tables.options import FrameKind

Read: TypeAlias = Callable[[int, int], Any]
"""From the first item and the one after the last to what ``run()`` gets of them."""
Attachments: TypeAlias = "Sequence[tuple[Mapping[str, Any], tuple[int, ...]]]"
"""What workers are told of each input and then of the grid, with the descriptors."""


class DatasetRange(NamedTuple):
    """Which items a mini-batch has: ``start`` (inclusive) to ``stop`` (exclusive) of the input, counted from 0."""

    name: str
    """Of the input."""
    ranges: tuple[tuple[int, int], ...]


class TableRange(NamedTuple):
    """The same of rows of a table, and where they are."""

    name: str
    ranges: tuple[tuple[int, int], ...]
    file: str
    rows: tuple[int, int]
    """Of the file, counted from 0."""


class WorkerInput:
    """One input: files, or with an ``index`` the rows in them.  Items count from 0."""

    def __init__(self, description: Mapping[str, Any], descriptors: Sequence[int]) -> None:
        """``description`` and ``descriptors`` as in ``describe_input``."""
        self.name: str = description["name"]
        self.listing = Listing.attach(tuple(descriptors[:LISTING_DESCRIPTORS]), description["listing"])
        index = descriptors[LISTING_DESCRIPTORS:]
        self.index = _attached(index[0]) if index else None
        self._partition: tuple[str, list[str]] | None = description.get("partition")

    @property
    def item_count(self) -> int:
        return self.listing.item_count if self.index is None else self.index.row_count

    def reader(self, frame: FrameKind | None) -> Read:
        """Of files their paths; of rows a frame of that kind."""
        return self.listing.paths if self.index is None else _row_reader(self.listing, self.index, frame or "pandas")

    def locate(self, start: int, stop: int) -> DatasetRange | TableRange:
        """Where these items are, which are of one piece if they are rows."""
        if self.index is None or self.index.has_keys:
            return DatasetRange(self.name, ((start, stop),))
        file = self.index.piece(self.index.place(start)).file
        first, _ = self.index.rows_of(file)
        return TableRange(self.name, ((start, stop),), self.listing.path(file), (start - first, stop - first))

    def keys(self, start: int) -> Mapping[str, Any]:
        """What the items of the mini-batch from ``start`` on have in common; empty if it is not split by keys."""
        if self.index is not None:
            return self.index.keys(self.index.place(start))
        if self._partition is None:
            return {}
        from batchflow.path_keys import parse_path_keys

        text, wanted = self._partition
        keys = parse_path_keys(text)
        values = dict(zip(keys.names, keys.values(self.listing.path(start)) or (), strict=False))
        return {name: values[name] for name in wanted}


LISTING_DESCRIPTORS = 4


def describe_input(
    name: str,
    listing: Listing,
    index: TableIndex | None,
    partition: tuple[str, Sequence[str]] | None,
) -> tuple[dict[str, Any], tuple[int, ...]]:
    """What a worker is told of an input, and the descriptors that go with it.

    ``partition``: a format of paths, and the keys of it that mini-batches of files have in common.
    """
    description: dict[str, Any] = {"name": name, "listing": listing.describe()}
    if partition is not None:
        description["partition"] = partition[0], list(partition[1])
    return description, listing.fds() if index is None else (*listing.fds(), index.descriptor)


def describe_grid(grid: Grid, cuts: int) -> tuple[dict[str, Any], tuple[int, ...]]:
    """The same of the grid; ``cuts``: a descriptor of its cuts, if it has any."""
    if isinstance(grid, UniformGrid):
        return {"size": grid.size, "item_count": grid.item_count}, ()
    return {"cut_count": grid.count}, (cuts,)


class WorkerInputs:
    """All inputs, one behind the other; complete when the grid has come."""

    def __init__(self) -> None:
        self.inputs: list[WorkerInput] = []
        self._first_items: list[int] = []
        self.grid: Grid | None = None

    def attach(self, description: Mapping[str, Any], descriptors: Sequence[int]) -> None:
        """One more message: an input or the grid.  The descriptors stay the caller's."""
        if "name" in description:
            self._first_items.append(self._first_items[-1] + self.inputs[-1].item_count if self.inputs else 0)
            self.inputs.append(WorkerInput(description, descriptors))
        elif "size" in description:
            self.grid = UniformGrid(description["size"], description["item_count"])
        else:
            self.grid = _attached_grid(descriptors[0], description["cut_count"])

    def reader(self, frame: FrameKind | None) -> Read:
        """What ``run()`` gets of items, whichever input they are of."""
        if len(self.inputs) == 1:
            return self.inputs[0].reader(frame)
        readers = [one.reader(frame) for one in self.inputs]
        first_items = self._first_items

        def read(start: int, stop: int) -> Any:  # noqa: ANN401
            place = bisect_right(first_items, start) - 1
            return readers[place](start - first_items[place], stop - first_items[place])

        return read

    def locate(self, start: int, stop: int) -> DatasetRange | TableRange:
        """Where these items are."""
        one, first = self._input_of(start)
        return one.locate(start - first, stop - first)

    def keys(self, start: int) -> Mapping[str, Any]:
        """As ``WorkerInput.keys``."""
        one, first = self._input_of(start)
        return one.keys(start - first)

    def _input_of(self, item: int) -> tuple[WorkerInput, int]:
        """The input that the item is in, and the first item of that."""
        place = bisect_right(self._first_items, item) - 1
        return self.inputs[place], self._first_items[place]


def _attached(descriptor: int) -> TableIndex:
    from batchflow.tables.index import TableIndex  # not where there are only files

    index = TableIndex.attach(descriptor)
    index.close()
    return index


def _attached_grid(descriptor: int, cut_count: int) -> CutGrid:
    import mmap  # most grids have no cuts

    memory = mmap.mmap(descriptor, 8 * (cut_count + 1), prot=mmap.PROT_READ)
    return CutGrid(memoryview(memory).cast("q"))


def _row_reader(listing: Listing, index: TableIndex, frame: FrameKind) -> Read:
    from batchflow.tables.options import TableOptions
    from batchflow.tables.partition_reader import PartitionReader
    from batchflow.tables.reading import PieceReader
    from batchflow.tables.schema import Schema

    options, schema = TableOptions.from_json(index.header["options"]), Schema.from_json(index.header["schema"])
    reader = PartitionReader(schema, frame) if index.has_keys else PieceReader(options, schema, frame)
    read_rows, place, piece_of, path_of = reader.read, index.place, index.piece, listing.path

    def read(start: int, stop: int) -> Any:  # noqa: ANN401
        piece = piece_of(place(start))
        skip = start - piece.first_row
        return read_rows(path_of(piece.file), piece.begin, piece.end, piece.row_count, skip, stop - start)

    return read
