"""Which items of a step are committed, as a test knows it: ranges in dictionaries, and a row for each item."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import strategies as st

from batchflow._core import Extent, crc32c
from batchflow.model import FailureEntry

HEADER = b"item,value\n"


def row(item: int) -> bytes:
    return b"item-%02d,%s\n" % (item, b"v" * (item * 7 % 5))


def rows(first: int, count: int, missing: int = 0) -> bytes:
    """Of a range of items; the last ``missing`` have none."""
    return b"".join(row(item) for item in range(first, first + count - missing))


class Items:
    """``extents``: first item → count, missing; ``failed``: first item → count, of what failed as a whole."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.extents: dict[int, tuple[int, int]] = {}
        self.failed: dict[int, int] = {}
        self.has_header = False

    def gaps(self) -> list[tuple[int, int]]:
        done = [(first, first + count) for first, (count, _) in self.extents.items()]
        done += [(first, first + count) for first, count in self.failed.items()]
        found, position = [], 0
        for start, stop in [*sorted(done), (self.count, self.count)]:
            if position < start:
                found.append((position, start))
            position = stop
        return found

    def expected(self) -> bytes:
        """The file in the order of the items."""
        body = b"".join(rows(first, *self.extents[first]) for first in sorted(self.extents))
        return (HEADER if self.has_header else b"") + body

    def with_rows(self) -> dict[int, tuple[int, int]]:
        return {first: one for first, one in self.extents.items() if one[0] != one[1]}

    def succeeded(self) -> int:
        return sum(count - missing for count, missing in self.extents.values())

    def failed_count(self) -> int:
        return sum(self.failed.values()) + sum(missing for _, missing in self.extents.values())

    def add(self, extents: Sequence[Extent], failures: Sequence[FailureEntry], *, header: bool) -> None:
        self.extents |= {one.first_item: (one.item_count, one.missing) for one in extents}
        self.failed |= {one.first_item: one.item_count for one in failures if one.kind != "shortfall"}
        self.has_header = self.has_header or header

    def reopen(self) -> None:
        self.extents = {first: one for first, one in self.extents.items() if not one[1]}
        self.failed.clear()

    def draw_group(self, data: st.DataObject, kinds: Sequence[str]) -> tuple[list[Extent], list[FailureEntry], bytes]:
        """One to three mini-batches from anywhere in the gaps; the offsets are those in the bytes returned."""
        extents: list[Extent] = []
        failures: list[FailureEntry] = []
        view = b""
        gaps = self.gaps()
        for _ in range(data.draw(st.integers(1, 3), label="mini-batches")):
            if not gaps:
                break
            number = data.draw(st.integers(0, len(gaps) - 1), label="gap")
            start, stop = gaps[number]
            first = data.draw(st.integers(start, stop - 1), label="first")
            count = data.draw(st.integers(1, min(5, stop - first)), label="count")
            pieces = [(start, first), (first + count, stop)]
            gaps[number : number + 1] = [piece for piece in pieces if piece[0] < piece[1]]
            kind = data.draw(st.sampled_from(kinds), label="kind")
            if kind == "exception":
                failures.append(FailureEntry(first, count, kind, {"message": "bad"}))
                continue
            missing = data.draw(st.integers(1, count), label="missing") if kind == "shortfall" else 0
            text = rows(first, count, missing)
            extents.append(extent(first, count, len(view), missing))
            view += text
            if missing:
                failures.append(FailureEntry(first, count, "shortfall", {"missing_count": missing}))
        return extents, failures, view


def extent(first: int, count: int, offset: int, missing: int = 0) -> Extent:
    text = rows(first, count, missing)
    return Extent(first, count, offset, len(text), crc32c(text), count - missing, missing, 1, 1)
