"""Splitting items into mini-batches."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchflow.data import mini_batch_count, mini_batch_range
from batchflow.model import MiniBatch


@given(item_count=st.integers(0, 5000), size=st.integers(1, 700))
def test_every_item_is_in_exactly_one_mini_batch(item_count: int, size: int) -> None:
    count = mini_batch_count(item_count, size)
    batches = [mini_batch_range(index, item_count, size) for index in range(count)]
    assert [item for batch in batches for item in range(batch.start, batch.stop)] == list(range(item_count))
    assert [batch.index for batch in batches] == list(range(count))
    assert all(batch.item_count == size for batch in batches[:-1])
    assert all(1 <= batch.item_count <= size for batch in batches)


@pytest.mark.parametrize(
    ("item_count", "size", "expected"),
    [(0, 10, 0), (1, 10, 1), (10, 10, 1), (11, 10, 2), (10**12, 7, 142_857_142_858)],
)
def test_counts_written_by_hand(item_count: int, size: int, expected: int) -> None:
    assert mini_batch_count(item_count, size) == expected


def test_ranges_written_by_hand() -> None:
    assert mini_batch_range(2, 25, 10) == MiniBatch(2, 20, 25)
    assert mini_batch_range(0, 25, 10) == MiniBatch(0, 0, 10)


@pytest.mark.parametrize("index", [-1, 3])
def test_an_index_outside_is_an_index_error(index: int) -> None:
    with pytest.raises(IndexError, match=f"no mini-batch index={index} with item_count=25 mini_batch_size=10"):
        mini_batch_range(index, 25, 10)


@pytest.mark.parametrize(("item_count", "size"), [(-1, 10), (10, 0), (10, -3)])
def test_sizes_that_make_no_sense(item_count: int, size: int) -> None:
    with pytest.raises(ValueError, match=f"got item_count={item_count} mini_batch_size={size}"):
        mini_batch_count(item_count, size)
