"""What tests of the plan have in common."""

from __future__ import annotations

from batchflow.model import Dispatch, Failure
from batchflow.plan import Plan


def failure(dispatch: Dispatch) -> Failure:
    return Failure(dispatch, "exception", "ValueError", "x")


def fresh(plan: Plan, count: int) -> list[Dispatch]:
    """The first attempts of the next so many mini-batches."""
    first, stop = plan.take_fresh(count)
    ranges = [(index, *plan.mini_batches.range(index)) for index in range(first, stop)]
    return [Dispatch(index, 1, start, stop - start) for index, start, stop in ranges]
