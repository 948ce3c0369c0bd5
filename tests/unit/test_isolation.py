"""Halving: which parts are tried, what it costs, and that no good item is lost."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchflow.isolation import Isolation, Part


class Search:
    """An isolation whose parts fail when they hold a bad item; the lowest part is tried first."""

    def __init__(self, count: int, bad: set[int], *, start: int = 0, attempt: int = 2) -> None:
        self.isolation = Isolation(Part(start, count, attempt))
        self.bad = bad
        self.open = sorted(self.isolation.open_parts)
        self.tried: list[Part] = []
        self.saved: list[int] = []
        self.lost: list[int] = []

    def step(self, place: int = 0) -> None:
        part = self.open.pop(place)
        self.tried.append(part)
        items = range(part.start, part.start + part.item_count)
        if self.bad.isdisjoint(items):
            self.saved += items
            ready = self.isolation.saved(part.start)
        else:
            self.lost += items if part.item_count == 1 else ()
            ready = self.isolation.failed(part.start)
        self.open = sorted([*self.open, *ready])

    def run(self) -> Search:
        while self.open:
            self.step()
        assert self.isolation.is_over
        return self

    @property
    def shapes(self) -> list[tuple[int, int]]:
        return [(part.start, part.item_count) for part in self.tried]


@pytest.mark.fault("C7")
@pytest.mark.parametrize("attempts", [1, 2])
@pytest.mark.parametrize("count", range(2, 65))
def test_one_bad_item_costs_at_most_three_times_its_mini_batch(count: int, attempts: int) -> None:
    """Counted in items given to ``run()``, over and above the one time that every item costs, wherever it is."""
    for bad in range(count):
        search = Search(count, {bad}, attempt=attempts).run()
        assert (sorted(search.saved), search.lost) == ([k for k in range(count) if k != bad], [bad])
        given_out = attempts * count + sum(part.item_count for part in search.tried)
        assert given_out - count <= 3 * count
        assert sum(part.item_count for part in search.tried) <= 2 * count - 2
        assert len(search.tried) <= 2 * (count - 1).bit_length()


def test_parts_written_by_hand() -> None:
    # The bad one in the first half: the second half is tried, it might hold another.
    assert Search(8, {0}).run().shapes == [(0, 4), (0, 2), (0, 1), (1, 1), (2, 2), (4, 4)]
    # The first half was good, so the second one is not tried as a whole.
    assert Search(8, {7}).run().shapes == [(0, 4), (4, 2), (6, 1), (7, 1)]
    assert Search(8, {4}).run().shapes == [(0, 4), (4, 2), (4, 1), (5, 1), (6, 2)]
    assert Search(5, {2}).run().shapes == [(0, 2), (2, 1), (3, 2)]
    assert Search(2, {10}, start=10).run().shapes == [(10, 1), (11, 1)]
    assert Search(3, {1, 2}).run().shapes == [(0, 1), (1, 1), (2, 1)]


def test_attempts_count_how_often_an_item_was_given_to_run() -> None:
    for count, bad in itertools.product(range(2, 20), range(19)):
        search = Search(count, {bad}, attempt=2).run()
        for item in range(count):
            parts = [part for part in search.tried if part.start <= item < part.start + part.item_count]
            assert [part.attempt for part in parts] == list(range(3, 3 + len(parts)))


@given(st.data(), st.integers(2, 40), st.integers(0, 1000))
def test_every_item_is_saved_or_lost_once_in_any_order(data: st.DataObject, count: int, start: int) -> None:
    bad = data.draw(st.sets(st.integers(start, start + count - 1)))
    search = Search(count, bad, start=start)
    while search.open:
        assert not search.isolation.is_over
        assert search.isolation.first_open == search.open[0].start
        decided = set(search.saved) | set(search.lost)
        assert decided.issuperset(range(start, search.isolation.first_open))
        search.step(data.draw(st.integers(0, len(search.open) - 1)))
    assert sorted(search.saved) == [item for item in range(start, start + count) if item not in bad]
    assert sorted(search.lost) == sorted(bad)
    assert search.isolation.saved_count == count - len(bad)
    assert search.isolation.is_over


@given(st.integers(2, 64), st.randoms(use_true_random=False))
def test_a_fault_that_comes_and_goes_loses_no_item_that_did_not_fail_alone(count: int, random: object) -> None:
    isolation = Isolation(Part(0, count, 2))
    ready, saved, lost = list(isolation.open_parts), [], []
    tries = 0
    while ready:
        part = ready.pop()
        tries += part.item_count
        if random.random() < 0.4:  # type: ignore[attr-defined]
            lost += [part.start] if part.item_count == 1 else []
            ready += isolation.failed(part.start)
        else:
            saved += range(part.start, part.start + part.item_count)
            ready += isolation.saved(part.start)
    assert sorted(saved + lost) == list(range(count))
    assert tries <= count * (1 + (count - 1).bit_length())  # as if everything had failed
