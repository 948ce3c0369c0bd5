"""What the journal's extents must add up to, column by column, so that a flipped bit is noticed.  Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from batchflow._core import Extent

COLUMNS = "first_item, item_count, offset, size, checksum, returned, missing, attempt, mini_batch_count"
_PRIME = 1_000_003
"""Offsets are summed up as remainders: their plain sum could leave 64 bits, and no flipped bit keeps a remainder."""
OFFSETS = f"coalesce(sum(offset % {_PRIME}), 0)"
SUMS = (
    f"SELECT count(*), coalesce(sum(first_item), 0), coalesce(sum(item_count), 0), {OFFSETS}, coalesce(sum(size), 0),"
    " coalesce(sum(checksum), 0), coalesce(sum(returned), 0), coalesce(sum(missing), 0), coalesce(sum(attempt), 0),"
    " coalesce(sum(mini_batch_count), 0) FROM extents"
)


class Sums(NamedTuple):
    """Of the extents' columns: what the table must add up to."""

    first_items: int = 0
    items: int = 0
    offsets: int = 0
    size: int = 0
    checksums: int = 0
    returned: int = 0
    missing: int = 0
    attempts: int = 0
    mini_batches: int = 0

    def plus(self, extents: Iterable[Extent], sign: int = 1) -> Sums:
        values = list(self)
        for one in extents:
            row = one._replace(offset=one.offset % _PRIME)
            values = [value + sign * more for value, more in zip(values, row, strict=True)]
        return Sums(*values)
