"""Whatever interrupts a step and whoever goes on with it: the verdict is that of the run that nobody interrupted.

The runner over real rings and a real journal; workers played by the test.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any, Literal, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from unit.parallel.test_run import DrivenPool, Theatre

from batchflow.control import StopLevel, StopRequest
from batchflow.errors import InterruptedRunError, RunAbortedError
from batchflow.journal.commits import Journal
from batchflow.model import Receipt
from batchflow.parallel import runner as room
from batchflow.workflow.values import Threshold

FAST_FOLDER = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
FAILURE = b'{"kind": "exception", "error_type": "E", "message": "m", "traceback": ""}'


class Died(BaseException):
    """The driver is gone."""


@dataclass(frozen=True)
class Items:
    """What ``run()`` does with so many items: it raises where one is bad, and returns nothing for those left out."""

    count: int
    bad: frozenset[int] = frozenset()
    left_out: frozenset[int] = frozenset()

    def work(self, pool: DrivenPool, number: int) -> None:
        slot, port = pool.slots[number], pool.ports.get(number)
        if port is None or not slot.asked_for:
            return
        if not slot.ready:
            port.publish_ready()
        if not slot.channel.in_flight:
            return
        request = port.take()
        assert request is not None
        index, attempt, start, count = request
        items = range(start, start + count)
        if self.bad.isdisjoint(items):
            there = [item for item in items if item not in self.left_out]
            port.publish_result(index, attempt, len(there), b"", b"".join(b"%d\n" % item for item in there))
        else:
            port.publish_failure(index, attempt, FAILURE)


class Cut(NamedTuple):
    """How a run is interrupted, after so many times that the driver waited; and the size that the next one has."""

    how: Literal["crash", "drain", "now"]
    waits: int
    size: int


class Verdict(NamedTuple):
    """What must not depend on the way."""

    failed: int
    failed_mini_batches: int
    mini_batches: int
    listed: list[tuple[str, int]]
    """Items that failed, and the mini-batches that they are in."""


class Step:
    """One step, over all its runs."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch, items: Items, size: int, **values: Any) -> None:
        tolerant = {"error_threshold": Threshold(count=-1), "durability": "process"}
        self.theatre = Theatre(folder, patch, **tolerant | values)
        for item in range(6, items.count):
            (folder / f"in/{item}").touch()
        for item in range(items.count):
            (folder / f"in/{item}").rename(folder / f"in/{item:03}")
        for item in range(items.count, 6):
            (folder / f"in/{item}").unlink()
        self.items, self.patch = items, patch
        self._set_size(size)

    def _set_size(self, size: int) -> None:
        job = self.theatre.job
        self.theatre.job = replace(job, settings=replace(job.settings, mini_batch_size=size))

    def run(self, cut: Cut | None = None, *, reopens: bool = False, seed: int = 0) -> Receipt | str:
        """The receipt, or why there is none: ``threshold`` or ``interrupted``."""
        theatre, rng = self.theatre, Random(seed)
        theatre.stop = StopRequest()
        waits = 0

        def play(pool: DrivenPool) -> None:
            nonlocal waits
            waits += 1
            theatre.clock.advance(rng.choice((0.0, 0.0, 0.3)))  # a commit is due, or it is not
            if cut is not None and waits > cut.waits and not pool.stopped:
                if cut.how == "crash":
                    self.patch.setattr(room._ParallelRun, "save", lambda self: None)
                    raise Died
                theatre.stop.request(StopLevel.DRAIN if cut.how == "drain" else StopLevel.NOW)
            for number in range(2):
                if rng.random() < 0.7:
                    self.items.work(pool, number)
            if pool.stopped:
                for slot in pool.slots:
                    if slot.asked_for:
                        pool.die(slot.number, signal=None, exit_code=0)

        with self.patch.context() as patch:
            patch.setattr(room._ParallelRun, "save", room._ParallelRun.save)  # undone in the end
            try:
                return theatre.perform(play, resumes=self.has_begun, reopens=reopens)
            except RunAbortedError:
                return "threshold"
            except (InterruptedRunError, Died):
                return "interrupted"

    @property
    def has_begun(self) -> bool:
        journal = Journal.open_for_reading(self.theatre.job.state_folder)
        if journal is None:
            return False
        with journal:
            return journal.state is not None

    def verdict(self, cuts: list[Cut], *, retries: int = 0) -> Verdict | str:
        """Of the run that comes to an end at last, or of the last ``retry``."""
        outcome: Receipt | str = ""
        for seed, cut in enumerate(cuts, 1):
            if not isinstance(outcome, Receipt):
                outcome = self.run(cut, reopens=outcome == "threshold", seed=seed)
                self._set_size(cut.size)
        if not isinstance(outcome, Receipt):
            outcome = self.run(reopens=outcome == "threshold")
        for seed in range(retries):
            if outcome == "threshold" or (isinstance(outcome, Receipt) and outcome.failed):
                outcome = self.run(reopens=True, seed=100 + seed)
        if not isinstance(outcome, Receipt):
            return outcome
        lines = (self.theatre.job.state_folder / "failed.jsonl").read_text().splitlines()
        listed = [
            (Path(item).name, entry["mini_batch"])
            for entry in map(json.loads, lines)
            for item in ([entry["item"]] if "item" in entry else entry["candidates"])
        ]
        return Verdict(outcome.failed, outcome.failed_mini_batches, outcome.mini_batches, listed)


@contextlib.contextmanager
def step(items: Items, size: int, **values: Any) -> Iterator[Step]:
    with (
        tempfile.TemporaryDirectory(prefix="counts-", dir=FAST_FOLDER) as folder,
        pytest.MonkeyPatch.context() as patch,
    ):
        yield Step(Path(folder), patch, items, size, **values)


def verdicts(
    items: Items, size: int, cuts: list[Cut], retries: int, **values: Any
) -> tuple[Verdict | str, Verdict | str]:
    """With interruptions, and without."""
    with step(items, size, **values) as one, step(items, size, **values) as other:
        return one.verdict(cuts, retries=retries), other.verdict([])


def some(count: int) -> st.SearchStrategy[frozenset[int]]:
    return st.frozensets(st.integers(0, count - 1), max_size=5)


COUNTS = st.integers(1, 24)
LIMITS = st.one_of(st.builds(Threshold, count=st.integers(-1, 4)), st.builds(Threshold, percent=st.floats(0, 100)))
THRESHOLDS = {"mini_batch_error_threshold": LIMITS, "allowed_failed_percent": st.floats(0, 100)}
HOW = st.sampled_from(["crash", "drain", "now"])
QUICK = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))


@QUICK
@given(data=st.data(), count=COUNTS, size=st.integers(1, 8), isolate=st.booleans(), retries=st.integers(0, 2))
def test_interruptions_and_retries_change_nothing_about_the_verdict(
    data: st.DataObject, count: int, size: int, isolate: bool, retries: int
) -> None:
    items = data.draw(st.builds(Items, st.just(count), some(count), some(count)), label="items")
    cuts = data.draw(st.lists(st.builds(Cut, HOW, st.integers(0, 30), st.just(size)), max_size=4), label="cuts")
    values = data.draw(st.fixed_dictionaries({}, optional=THRESHOLDS), label="thresholds")
    tries = data.draw(st.integers(1, 3), label="tries")
    found, expected = verdicts(items, size, cuts, retries, isolate_failures=isolate, run_max_try=tries, **values)
    if items.left_out and isolate:  # which parts fell short depends on the parts, and so do the items listed for it
        assert found[:3] == expected[:3]
    else:
        assert found == expected


@QUICK
@given(data=st.data(), count=COUNTS, size=st.integers(1, 8), retries=st.integers(0, 1))
def test_nor_does_another_mini_batch_size_where_failures_are_isolated(
    data: st.DataObject, count: int, size: int, retries: int
) -> None:
    items = data.draw(st.builds(Items, st.just(count), some(count)), label="items")
    sizes = st.integers(1, 12)
    cuts = data.draw(st.lists(st.builds(Cut, HOW, st.integers(0, 30), sizes), min_size=1, max_size=4), label="cuts")
    values = data.draw(st.fixed_dictionaries({}, optional=THRESHOLDS), label="thresholds")
    found, expected = verdicts(items, size, cuts, retries, **values)
    assert found == expected


@QUICK
@given(data=st.data(), count=COUNTS, size=st.integers(1, 8))
def test_whatever_the_sizes_are_each_mini_batch_counts_once(data: st.DataObject, count: int, size: int) -> None:
    items = data.draw(st.builds(Items, st.just(count), some(count)), label="items")
    sizes = st.integers(1, 12)
    cuts = data.draw(st.lists(st.builds(Cut, HOW, st.integers(0, 20), sizes), min_size=1, max_size=4), label="cuts")
    with step(items, size, isolate_failures=False) as one:
        found = one.verdict(cuts, retries=1)
    if isinstance(found, str):
        assert len(items.bad) > 0  # every item failed
        return
    assert found.mini_batches == -(-count // size)
    assert found.failed_mini_batches == len({number for _, number in found.listed})
    assert all(int(name) // size == number for name, number in found.listed)
    assert found.failed == len(found.listed) >= len(items.bad)


def test_verdicts_written_by_hand() -> None:
    items = Items(20, bad=frozenset({3, 4, 16}), left_out=frozenset({8}))
    with step(items, 5) as one:
        cuts = [Cut("now", waits, 5) for waits in (4, 6, 8, 10)]
        assert one.verdict(cuts, retries=2) == Verdict(
            4, 3, 4, [("003", 0), ("004", 0), *((f"{item:03}", 1) for item in range(5, 10)), ("016", 3)]
        )
    with step(items, 5, mini_batch_error_threshold=Threshold(percent=74)) as one:
        assert one.verdict([Cut("crash", 9, 5)], retries=2) == "threshold"
