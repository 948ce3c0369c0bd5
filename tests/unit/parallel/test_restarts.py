"""How many deaths are too many."""

from __future__ import annotations

import pytest

from batchflow.clock import FakeClock
from batchflow.parallel.restarts import RestartLimit


def limit(workers: int = 1) -> tuple[RestartLimit, FakeClock]:
    clock = FakeClock()
    return RestartLimit(workers, clock), clock


@pytest.mark.parametrize(("workers", "tolerated"), [(1, 5), (2, 6), (10, 30)])
def test_so_many_deaths_without_a_result_are_tolerated(workers: int, tolerated: int) -> None:
    restarts, _ = limit(workers)
    for _ in range(tolerated):
        restarts.died(idle=False)
        assert restarts.passed() is None
    restarts.died(idle=False)
    assert restarts.passed() == f"{tolerated + 1} workers died within 60 s without any result in between"


def test_a_result_makes_up_for_all_deaths_before_it() -> None:
    restarts, _ = limit()
    for _ in range(100):
        for _ in range(5):
            restarts.died(idle=True)
        assert restarts.passed() is None
        restarts.got_result()


def test_deaths_that_are_far_apart_are_tolerated() -> None:
    restarts, clock = limit()
    for _ in range(100):
        restarts.died(idle=False)
        assert restarts.passed() is None
        clock.advance(12.1)  # six deaths take more than 60 s


def test_the_sixth_death_within_a_minute_is_one_too_many() -> None:
    restarts, clock = limit()
    for _ in range(5):
        restarts.died(idle=False)
        clock.advance(12)
    assert restarts.passed() is None
    restarts.died(idle=False)
    assert restarts.passed() is not None


def test_deaths_while_idle_are_counted_however_far_apart() -> None:
    """With no mini-batch to blame nothing would ever end it."""
    restarts, clock = limit()
    for _ in range(5):
        restarts.died(idle=True)
        clock.advance(3600)
    assert restarts.passed() is None
    restarts.died(idle=True)
    assert restarts.passed() == "6 workers died one after another while idle"


def test_deaths_in_parts_do_not_count() -> None:
    restarts, _ = limit()
    for _ in range(1000):
        restarts.died(idle=False, in_part=True)
    assert restarts.passed() is None
    for _ in range(5):
        restarts.died(idle=False)
    assert restarts.passed() is None
