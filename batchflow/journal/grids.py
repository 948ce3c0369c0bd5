"""The grid of a step in its journal: a size, or cuts that are kept as packed integers with a checksum in the state."""

from __future__ import annotations

from array import array
from itertools import pairwise

from batchflow._core import crc32c
from batchflow.journal.database import Database
from batchflow.mini_batches import CutGrid, Grid, UniformGrid


def put_grid(database: Database, grid: Grid | None) -> tuple[int, int]:
    """Keep the cuts of a grid in the place of others; returns how many mini-batches they make, and a checksum.

    Zeros for a grid without cuts: the state says all about it.
    """
    database.execute("DELETE FROM cuts")
    if not isinstance(grid, CutGrid):
        return 0, 0
    packed = bytes(grid.cuts)
    database.execute("INSERT INTO cuts (id, cuts) VALUES (1, ?)", (packed,))
    return grid.count, crc32c(packed)


def read_grid(database: Database, size: int, item_count: int, cut_count: int, cut_checksum: int) -> Grid:
    """Mini-batches of ``size``, or, if there is a ``cut_count``, those that were put.

    Raises ``JournalError`` if they are not as they were.
    """
    if not cut_count:
        return UniformGrid(size, item_count)
    packed = next((one for (one,) in database.read("SELECT cuts FROM cuts")), None)
    if isinstance(packed, bytes) and len(packed) == 8 * (cut_count + 1) and crc32c(packed) == cut_checksum:
        cuts = array("q", packed)
        if cuts[0] == 0 and cuts[-1] == item_count and all(first < second for first, second in pairwise(cuts)):
            return CutGrid(cuts)
    raise database.damaged("the mini-batches in it are not those that the step began with")
