"""Splitting what is still to do into mini-batches."""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchflow.mini_batches import MiniBatches, mini_batch_number

GAPS = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 40)), max_size=12).map(
    lambda pairs: [
        (sum(skip + length for skip, length in pairs[:k]) + skip, sum(skip + length for skip, length in pairs[: k + 1]))
        for k, (skip, length) in enumerate(pairs)
    ]
)
"""Ascending disjoint ranges, some empty, some adjacent."""


def ranges(mini_batches: MiniBatches) -> list[tuple[int, int]]:
    return [mini_batches.range(ordinal) for ordinal in range(mini_batches.count)]


@given(GAPS, st.integers(1, 50))
def test_every_item_of_the_gaps_is_in_exactly_one_mini_batch(gaps: list[tuple[int, int]], size: int) -> None:
    mini_batches = MiniBatches.of(gaps, size)
    items = [item for start, stop in gaps for item in range(start, stop)]
    assert [item for start, stop in ranges(mini_batches) for item in range(start, stop)] == items
    assert mini_batches.item_count == len(items)
    ends = {stop for _, stop in gaps}
    for start, stop in ranges(mini_batches):
        assert stop - start == size or (0 < stop - start < size and stop in ends)
        assert any(first <= start and stop <= end for first, end in gaps)


@given(GAPS, st.integers(1, 50), st.integers(0, 2000))
def test_a_run_of_mini_batches_is_consecutive_and_as_long_as_can_be(
    gaps: list[tuple[int, int]], size: int, stop: int
) -> None:
    mini_batches = MiniBatches.of(gaps, size)
    alone = ranges(mini_batches)
    for ordinal in range(min(stop, mini_batches.count)):
        stop_ordinal, start, stop_item = mini_batches.consecutive(ordinal, min(stop, mini_batches.count))
        assert ordinal < stop_ordinal <= stop
        cut = [(start + k * size, min(start + (k + 1) * size, stop_item)) for k in range(stop_ordinal - ordinal)]
        assert cut == alone[ordinal:stop_ordinal]
        if stop_ordinal < min(stop, mini_batches.count):  # what follows is in another gap
            assert stop_item in {end for _, end in gaps}


def test_ranges_written_by_hand() -> None:
    mini_batches = MiniBatches.of([(0, 25), (25, 27), (40, 40), (100, 120)], 10)
    assert ranges(mini_batches) == [(0, 10), (10, 20), (20, 25), (25, 27), (100, 110), (110, 120)]
    assert (mini_batches.count, mini_batches.item_count) == (6, 47)
    assert mini_batches.consecutive(0, 6) == (3, 0, 25)
    assert mini_batches.consecutive(1, 2) == (2, 10, 20)
    assert mini_batches.consecutive(4, 6) == (6, 100, 120)


def test_numbers_are_those_of_the_input_or_lie_beyond_it() -> None:
    gaps = [(20, 40), (70, 75)]
    assert [MiniBatches.of(gaps, 10).number(k) for k in range(3)] == [2, 3, 7]
    # Not the end of the input, so no mini-batch of 10 begins at 70 and ends at 75.
    assert [MiniBatches.of(gaps, 10, input_count=80).number(k) for k in range(3)] == [2, 3, 150]
    assert [MiniBatches.of(gaps, 20, number_size=10, input_count=80).number(k) for k in range(2)] == [100, 150]
    # What a worker computes for the halves of mini-batch 3.
    assert mini_batch_number(30, 5, 10, 80) == 110
    assert mini_batch_number(35, 5, 10, 80) == 115


@given(st.integers(1, 200), st.lists(st.integers(1, 9), min_size=1, max_size=40), st.integers(1, 9))
def test_ranges_that_do_not_overlap_have_different_numbers(count: int, sizes: list[int], number_size: int) -> None:
    numbers, start = [], 0
    for size in sizes:
        if start + size <= count:
            numbers.append(mini_batch_number(start, size, number_size, count))
        start += size
    assert len(numbers) == len(set(numbers))


def test_a_very_long_input_costs_nothing() -> None:
    mini_batches = MiniBatches.of([(0, 10**12)], 7)
    assert mini_batches.count == 142_857_142_858
    assert mini_batches.range(142_857_142_857) == (999_999_999_999, 10**12)


def test_half_a_million_gaps_are_no_objects() -> None:
    gaps = ((start, start + 15) for start in range(0, 10_000_000, 20))
    tracemalloc.start()
    mini_batches = MiniBatches.of(gaps, 10)
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert size < 500_000 * 32  # three machine integers for each, and room to grow
    assert (mini_batches.count, mini_batches.item_count) == (1_000_000, 7_500_000)
    assert mini_batches.range(999_999) == (9_999_990, 9_999_995)


@pytest.mark.parametrize("ordinal", [-1, 3])
def test_an_ordinal_outside_is_an_index_error(ordinal: int) -> None:
    mini_batches = MiniBatches.of([(0, 25)], 10)
    with pytest.raises(IndexError, match=f"^no mini-batch ordinal={ordinal}, there are 3$"):
        mini_batches.range(ordinal)
    with pytest.raises(IndexError, match=r"^no mini-batch ordinal=0, there are 0$"):
        MiniBatches.of([], 10).number(0)


@pytest.mark.parametrize(
    ("gaps", "message"),
    [
        ([(-1, 5)], "got -1 to 5 after 0"),
        ([(5, 4)], "got 5 to 4 after 0"),
        ([(0, 5), (4, 9)], "got 4 to 9 after 5"),
        ([(5, 9), (0, 2)], "got 0 to 2 after 9"),
    ],
)
def test_gaps_that_are_none(gaps: list[tuple[int, int]], message: str) -> None:
    with pytest.raises(ValueError, match=f"^expected ascending disjoint ranges, {message}$"):
        MiniBatches.of(gaps, 10)


@pytest.mark.parametrize("size", [0, -3])
def test_a_size_that_makes_no_sense(size: int) -> None:
    with pytest.raises(ValueError, match=f"^a mini-batch has at least one item, size={size}$"):
        MiniBatches.of([(0, 5)], size)
