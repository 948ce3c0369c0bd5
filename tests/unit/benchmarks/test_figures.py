from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.figures import Spread, far_exponent, fit_cost, fit_line, pair_ratios, spread
from benchmarks.load import busy_seconds, foreign_share


def test_a_spread_is_median_least_greatest_and_count():
    assert spread([3.0, 1.0, 2.0]) == Spread(2.0, 1.0, 3.0, 3)
    assert spread([4.0, 1.0]) == Spread(2.5, 1.0, 4.0, 2)
    assert spread([]) is None


def test_ratios_are_of_the_same_round_and_above_one_where_the_peer_is_slower():
    assert pair_ratios({1: 2.0, 2: 9.0, 4: 3.0}, {1: 1.0, 2: 3.0, 3: 1.0, 4: 6.0}) == [2.0, 3.0, 0.5]
    assert pair_ratios({1: 2.0}, {2: 1.0}) == []


def test_the_fit_takes_a_cost_apart():
    # 1,000 items: 3 µs for each item, 50 µs for each mini-batch.
    per_item_s, per_mini_batch_s = fit_cost(1_000, [(100, 0.003 + 100 * 50e-6), (1, 0.003 + 50e-6)])
    assert per_item_s == pytest.approx(3e-6)
    assert per_mini_batch_s == pytest.approx(50e-6)


def test_a_fit_needs_two_sizes():
    with pytest.raises(ValueError, match="a fit needs two different numbers of mini-batches, points=2"):
        fit_cost(10, [(5, 1.0), (5, 1.1)])


@given(
    a=st.floats(1e-8, 1e-3),
    b=st.floats(1e-7, 1e-2),
    counts=st.lists(st.integers(1, 10**6), min_size=2, max_size=5, unique=True),
)
def test_the_fit_returns_what_made_the_times(a, b, counts):
    items = 10**6
    total = a * items + b * max(counts)
    per_item_s, per_mini_batch_s = fit_cost(items, [(count, a * items + b * count) for count in counts])
    assert per_item_s * items == pytest.approx(a * items, abs=1e-6 * total)
    assert per_mini_batch_s * max(counts) == pytest.approx(b * max(counts), abs=1e-6 * total * max(counts))


@given(
    intercept=st.floats(0.1, 1e3),
    slope=st.floats(1e-3, 1e3),
    places=st.lists(st.integers(1, 10**4), min_size=2, max_size=6, unique=True),
)
def test_a_line_is_found_whatever_its_points(intercept, slope, places):
    found = fit_line([(place, intercept + slope * place) for place in places])
    scale = intercept + slope * max(places)
    assert found[0] == pytest.approx(intercept, abs=1e-6 * scale)
    assert found[1] * max(places) == pytest.approx(slope * max(places), abs=1e-6 * scale)


def test_low_points_weigh_as_much_as_high_ones():
    intercept, _ = fit_line([(1, 1.0), (2, 2.0), (1000, 1500.0)])
    assert abs(intercept) < 0.5


def test_the_exponent_is_of_the_far_end():
    assert far_exponent([(1, 5.0), (10, 5.0), (100, 500.0)]) == pytest.approx(2.0)
    assert far_exponent([(100, 7.0), (1000, 7.0)]) == pytest.approx(0.0)


def test_busy_time_is_everything_but_idle_waiting_and_guests(monkeypatch):
    monkeypatch.setattr("benchmarks.load.TICKS_PER_SECOND", 100)
    text = "cpu  100 20 30 99999 88888 4 5 6 1000 2000\ncpu0 1 1 1 1 1 1 1 1 1 1\n"
    assert busy_seconds(text) == pytest.approx((100 + 20 + 30 + 4 + 5 + 6) / 100)


@pytest.mark.parametrize(
    ("machine_s", "tree_s", "wall_s", "cpus", "share"),
    [
        (4.0, 3.0, 5.0, 2, 0.1),
        (3.0, 3.0, 5.0, 2, 0.0),
        (2.9, 3.0, 5.0, 2, 0.0),
        (10.0, 0.0, 5.0, 2, 1.0),
        (1, 1, 0, 2, 0),
    ],
)
def test_what_others_used_is_a_share_of_the_whole_machine(machine_s, tree_s, wall_s, cpus, share):
    assert foreign_share(machine_s, tree_s, wall_s, cpus) == pytest.approx(share)
