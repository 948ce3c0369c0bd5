"""How long something has stayed the same, by a clock that the test moves."""

from __future__ import annotations

import pytest

from batchflow.clock import FakeClock
from batchflow.pool.watch import Watch


def test_time_adds_up_while_nothing_changes() -> None:
    clock, watch = FakeClock(), Watch(10.0)
    assert watch.look("idle", clock.monotonic()) == 0
    clock.advance(3)
    assert watch.look("idle", clock.monotonic()) == 3
    clock.advance(4)
    assert watch.look("idle", clock.monotonic()) == 7


def test_a_change_starts_anew() -> None:
    clock, watch = FakeClock(100.0), Watch(10.0)
    watch.look(("running", 1), clock.monotonic())
    clock.advance(3)
    assert watch.look(("running", 2), clock.monotonic()) == 0
    clock.advance(2)
    assert watch.look(("running", 2), clock.monotonic()) == 2


@pytest.mark.fault("E6", "M2")
def test_a_time_in_which_nobody_looked_counts_as_one_step() -> None:
    """A laptop that slept for an hour, a driver that was stopped: nobody has been hanging for an hour."""
    clock, watch = FakeClock(), Watch(0.2)
    watch.look("running", clock.monotonic())
    clock.advance(3600)
    assert watch.look("running", clock.monotonic()) == 0.2
    clock.advance(0.1)
    assert round(watch.look("running", clock.monotonic()), 6) == 0.3


@pytest.mark.fault("M1")
def test_a_clock_that_goes_back_takes_nothing_away() -> None:
    watch = Watch(1.0)
    watch.look("x", 100.0)
    assert watch.look("x", 100.5) == 0.5
    assert watch.look("x", 50.0) == 0.5
    assert watch.look("x", 50.25) == 0.75


def test_none_is_an_activity_like_any_other() -> None:
    watch = Watch(10.0)
    assert watch.look(None, 1.0) == 0
    assert watch.look(None, 3.0) == 2
