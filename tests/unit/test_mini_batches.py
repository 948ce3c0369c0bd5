"""Splitting what is still to do into mini-batches."""

from __future__ import annotations

import tracemalloc
from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchflow.mini_batches import CutGrid, FailedMiniBatches, MiniBatches, UniformGrid

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
    starts, ends = {start for start, _ in gaps}, {stop for _, stop in gaps}
    for start, stop in ranges(mini_batches):
        assert start < stop
        assert start % size == 0 or start in starts
        assert stop % size == 0 or stop in ends
        assert start // size == (stop - 1) // size
        assert any(first <= start and stop <= end for first, end in gaps)


@given(GAPS, st.integers(1, 50), st.integers(0, 2000))
def test_a_run_of_mini_batches_is_consecutive_and_as_long_as_can_be(
    gaps: list[tuple[int, int]], size: int, stop: int
) -> None:
    mini_batches = MiniBatches.of(gaps, size)
    alone = ranges(mini_batches)
    for ordinal in range(min(stop, mini_batches.count)):
        stop_ordinal, start, each, stop_item = mini_batches.consecutive(ordinal, min(stop, mini_batches.count))
        assert ordinal < stop_ordinal <= stop
        cut = [(start + k * each, min(start + (k + 1) * each, stop_item)) for k in range(stop_ordinal - ordinal)]
        assert cut == alone[ordinal:stop_ordinal]
        if stop_ordinal < min(stop, mini_batches.count):  # what follows is in another gap, or was cut by its start
            assert stop_item in {end for _, end in gaps} or start in {start for start, _ in gaps}


def test_ranges_written_by_hand() -> None:
    mini_batches = MiniBatches.of([(0, 25), (25, 27), (40, 40), (100, 120)], 10)
    assert ranges(mini_batches) == [(0, 10), (10, 20), (20, 25), (25, 27), (100, 110), (110, 120)]
    assert (mini_batches.count, mini_batches.item_count) == (6, 47)
    assert mini_batches.consecutive(0, 6) == (3, 0, 10, 25)
    assert mini_batches.consecutive(1, 2) == (2, 10, 10, 20)
    assert mini_batches.consecutive(4, 6) == (6, 100, 10, 120)


def test_what_is_left_of_a_mini_batch_is_one_by_itself() -> None:
    mini_batches = MiniBatches.of([(3, 5), (9, 35)], 10)
    assert ranges(mini_batches) == [(3, 5), (9, 10), (10, 20), (20, 30), (30, 35)]
    assert mini_batches.consecutive(1, 5) == (2, 9, 1, 10)
    assert mini_batches.consecutive(2, 5) == (5, 10, 10, 35)
    assert (mini_batches.count, mini_batches.item_count) == (5, 28)


def test_the_grid_is_that_of_the_first_run() -> None:
    mini_batches = MiniBatches.of([(14, 50)], 20, number_size=10, input_count=53)
    assert ranges(mini_batches) == [(14, 20), (20, 40), (40, 50)]
    assert mini_batches.grid.count == 6
    assert list(mini_batches.on_grid(14, 20)) == [(1, 14, 20)]
    assert list(mini_batches.on_grid(14, 31)) == [(1, 14, 20), (2, 20, 30), (3, 30, 31)]
    assert list(mini_batches.on_grid(50, 53)) == [(5, 50, 53)]


@given(st.integers(1, 9), st.lists(st.tuples(st.integers(0, 99), st.integers(1, 30)), max_size=9))
def test_a_failed_mini_batch_counts_once(size: int, pieces: list[tuple[int, int]]) -> None:
    failed, items = FailedMiniBatches(UniformGrid(size, 200)), set()
    for start, length in pieces:
        failed.add(start, start + length)
        items.update(range(start, start + length))
        assert failed.count == len({item // size for item in items})


def test_no_more_mini_batches_fell_short_than_items_are_missing() -> None:
    failed = FailedMiniBatches(UniformGrid(10, 10**7))
    failed.add(5, 55, missing_count=3)  # of six
    assert failed.count == 3
    failed.add(30, 31)
    assert failed.count == 4
    failed.add(0, 10, missing_count=7)
    assert failed.count == 4


def test_a_failed_mini_batch_is_a_bit() -> None:
    tracemalloc.start()
    failed = FailedMiniBatches(UniformGrid(10, 10**7))
    for number in range(0, 1_000_000, 1_000):
        failed.add(10 * number, 10 * number + 10)
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (failed.count, size < 250_000) == (1_000, True)


def test_numbers_are_those_of_the_input_or_lie_beyond_it() -> None:
    gaps = [(20, 40), (70, 75)]
    assert [MiniBatches.of(gaps, 10).number(k) for k in range(3)] == [2, 3, 7]
    # Not the end of the input, so no mini-batch of 10 begins at 70 and ends at 75.
    assert [MiniBatches.of(gaps, 10, input_count=80).number(k) for k in range(3)] == [2, 3, 150]
    assert [MiniBatches.of(gaps, 20, number_size=10, input_count=80).number(k) for k in range(2)] == [100, 150]
    # What a worker computes for the halves of mini-batch 3.
    assert UniformGrid(10, 80).number(30, 5) == 110
    assert UniformGrid(10, 80).number(35, 5) == 115


@given(st.integers(1, 200), st.lists(st.integers(1, 9), min_size=1, max_size=40), st.integers(1, 9))
def test_ranges_that_do_not_overlap_have_different_numbers(count: int, sizes: list[int], number_size: int) -> None:
    numbers, start = [], 0
    for size in sizes:
        if start + size <= count:
            numbers.append(UniformGrid(number_size, count).number(start, size))
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


# Grids of cuts

SIZES = st.lists(st.integers(1, 9), min_size=1, max_size=40)
"""Of the mini-batches of a grid."""


def cut_grid(sizes: list[int]) -> CutGrid:
    cuts = array("q", [0])
    for size in sizes:
        cuts.append(cuts[-1] + size)
    return CutGrid(cuts)


def cut_off(gaps: list[tuple[int, int]], item_count: int) -> list[tuple[int, int]]:
    """The gaps as far as there are items."""
    return [(start, min(stop, item_count)) for start, stop in gaps if start < item_count]


@given(SIZES)
def test_a_grid_of_cuts_knows_where_every_item_is(sizes: list[int]) -> None:
    grid = cut_grid(sizes)
    assert (grid.count, grid.item_count) == (len(sizes), sum(sizes))
    numbers = [number for number, size in enumerate(sizes) for _ in range(size)]
    assert [grid.place(item) for item in range(sum(sizes))] == numbers
    assert [grid.first_item(number) for number in range(len(sizes) + 1)] == list(grid.cuts)
    wholes = [(grid.cuts[number], sizes[number]) for number in range(len(sizes))]
    assert [grid.number(*one) for one in wholes] == list(range(len(sizes)))


@given(SIZES)
def test_any_other_range_has_a_number_beyond_the_items_and_of_its_own(sizes: list[int]) -> None:
    grid = cut_grid(sizes)
    count = grid.item_count
    for start in range(count):
        for length in range(1, count - start + 1):
            number = grid.number(start, length)
            is_whole = start in grid.cuts and sizes[grid.place(start)] == length
            assert number == (grid.place(start) if is_whole else count + start)


@given(SIZES, GAPS)
def test_gaps_on_a_grid_of_cuts_hold_every_item_once(sizes: list[int], gaps: list[tuple[int, int]]) -> None:
    grid = cut_grid(sizes)
    gaps = cut_off(gaps, grid.item_count)
    mini_batches = MiniBatches.on(gaps, grid)
    items = [item for start, stop in gaps for item in range(start, stop)]
    assert [item for start, stop in ranges(mini_batches) for item in range(start, stop)] == items
    assert (mini_batches.item_count, mini_batches.grid) == (len(items), grid)
    starts, ends, cuts = {start for start, _ in gaps}, {stop for _, stop in gaps}, set(grid.cuts)
    for start, stop in ranges(mini_batches):
        assert start in cuts | starts
        assert stop in cuts | ends
        assert grid.place(start) == grid.place(stop - 1)
        assert list(mini_batches.on_grid(start, stop)) == [(grid.place(start), start, stop)]


@given(SIZES, GAPS, st.integers(0, 60))
def test_consecutive_ones_on_a_grid_of_cuts_are_of_one_size(
    sizes: list[int], gaps: list[tuple[int, int]], stop: int
) -> None:
    grid = cut_grid(sizes)
    mini_batches = MiniBatches.on(cut_off(gaps, grid.item_count), grid)
    alone, stop = ranges(mini_batches), min(stop, mini_batches.count)
    for ordinal in range(stop):
        stop_ordinal, start, each, stop_item = mini_batches.consecutive(ordinal, stop)
        assert ordinal < stop_ordinal <= stop
        cut = [(start + k * each, min(start + (k + 1) * each, stop_item)) for k in range(stop_ordinal - ordinal)]
        assert cut == alone[ordinal:stop_ordinal]


@given(SIZES, GAPS, st.integers(0, 50), st.integers(0, 10))
def test_as_many_mini_batches_as_it_takes_for_so_many_items(
    sizes: list[int], gaps: list[tuple[int, int]], wanted: int, count_max: int
) -> None:
    grid = cut_grid(sizes)
    mini_batches = MiniBatches.on(cut_off(gaps, grid.item_count), grid)
    for ordinal in range(mini_batches.count):
        lengths = [stop - start for start, stop in ranges(mini_batches)[ordinal:][:count_max]]
        enough = [k for k in range(len(lengths) + 1) if sum(lengths[:k]) >= wanted]
        assert mini_batches.needed(ordinal, wanted, count_max) == (enough[0] if enough else count_max)


def test_of_one_size_it_takes_as_many_as_it_would_of_whole_ones() -> None:
    mini_batches = MiniBatches.of([(0, 95)], 10)
    assert [mini_batches.needed(0, items, 8) for items in (0, 1, 10, 11, 75, 95)] == [0, 1, 1, 2, 8, 8]


def test_a_grid_of_cuts_written_by_hand() -> None:
    grid = cut_grid([3, 3, 2, 5])
    mini_batches = MiniBatches.on([(0, 7), (9, 13)], grid)
    assert ranges(mini_batches) == [(0, 3), (3, 6), (6, 7), (9, 13)]
    assert mini_batches.consecutive(0, 4) == (3, 0, 3, 7)
    assert mini_batches.consecutive(2, 4) == (3, 6, 1, 7)
    assert [mini_batches.number(ordinal) for ordinal in range(4)] == [0, 1, 19, 22]
    assert list(mini_batches.on_grid(5, 9)) == [(1, 5, 6), (2, 6, 8), (3, 8, 9)]
    failed = FailedMiniBatches(grid)
    failed.add(5, 9)
    assert failed.count == 3


@pytest.mark.parametrize("cuts", [[], [1, 2]])
def test_a_grid_begins_with_the_first_item(cuts: list[int]) -> None:
    with pytest.raises(ValueError, match=r"^a grid begins with item 0$"):
        CutGrid(array("q", cuts))
