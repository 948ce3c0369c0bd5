"""When what has failed is tried again, by readings of a clock that the test chooses."""

from __future__ import annotations

import pytest

from batchflow.pool.backoff import Backoff


@pytest.mark.fault("A15", "E10")
def test_each_failure_in_a_row_doubles_the_wait_up_to_five_seconds() -> None:
    backoff = Backoff()
    assert backoff.is_due(-1e9)
    now_s, waits = 1000.0, []
    for failure_count in range(1, 10):
        backoff.failed(now_s)
        assert backoff.failure_count == failure_count
        low = next(wait for wait in (0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 99.0) if backoff.is_due(now_s + wait + 1e-6))
        assert not backoff.is_due(now_s + low - 1e-6)
        waits.append(low)
        now_s += low
    assert waits == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0, 5.0]
    for _ in range(5000):
        backoff.failed(now_s)
    assert backoff.is_due(now_s + 5.0)


def test_a_success_makes_up_for_everything() -> None:
    backoff = Backoff()
    backoff.failed(1.0)
    backoff.failed(1.0)
    backoff.succeeded()
    assert (backoff.failure_count, backoff.is_due(1.0)) == (0, True)
    backoff.failed(2.0)
    assert backoff.is_due(2.11)
