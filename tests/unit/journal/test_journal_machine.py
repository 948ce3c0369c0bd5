"""The journal against a model in plain Python: anything in any order, and after each step a look at what is on disk."""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
from array import array
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from batchflow._core import Extent
from batchflow.journal.commits import Journal
from batchflow.journal.state import State, Totals
from batchflow.mini_batches import CutGrid
from batchflow.model import FailureEntry

FAST_FOLDER = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
SIZES = st.just([]) | st.lists(st.integers(1, 6), min_size=1, max_size=8)
SIGNATURE: dict[str, Any] = {"settings": {"n": 1}, "params": {}, "inputs": {}, "code": {}, "upstream": {}}


@dataclass
class Model:
    """What the journal must say: a dict for each item, and nothing clever."""

    item_count: int
    number_of: list[int]
    """The mini-batch of the grid that each item is in."""
    done: dict[int, str] = field(default_factory=dict)
    """Item → ``extent`` or ``failure``; what is missing here is still to do."""
    extents: dict[int, Extent] = field(default_factory=dict)
    commits: dict[int, int] = field(default_factory=dict)
    """First item of an extent → number of its commit."""
    failures: dict[int, FailureEntry] = field(default_factory=dict)
    header_size: int = 0
    committed_size: int = 0
    commit_number: int = 0
    phase: str = "running"
    work_s: float = 0.0

    def gaps(self) -> list[tuple[int, int]]:
        open_items = [item for item in range(self.item_count) if item not in self.done]
        found: list[tuple[int, int]] = []
        for item in open_items:
            if found and found[-1][1] == item:
                found[-1] = (found[-1][0], item + 1)
            else:
                found.append((item, item + 1))
        return found

    def totals(self) -> Totals:
        extents = self.extents.values()
        missing = sum(one.missing for one in extents)
        return Totals(
            succeeded=sum(what == "extent" for what in self.done.values()) - missing,
            failed=sum(what == "failure" for what in self.done.values()) + missing,
            failed_mini_batches=len(self.failed_mini_batches()),
            rows=sum(one.returned for one in extents),
        )

    def failed_mini_batches(self) -> set[int]:
        """Of the grid; of those that share a shortfall, as many as items are missing."""
        failed = {self.number_of[item] for item, what in self.done.items() if what == "failure"}
        for one in self.extents.values():
            touched = sorted({self.number_of[item] for item in range(one.first_item, one.first_item + one.item_count)})
            failed.update(touched[: one.missing])
        return failed

    def with_rows(self) -> list[Extent]:
        return [self.extents[first] for first in sorted(self.extents) if self.extents[first].size]

    def forget(self, first_item: int) -> None:
        one = self.extents.pop(first_item)
        del self.commits[first_item]
        for item in range(one.first_item, one.first_item + one.item_count):
            del self.done[item]

    def is_in_order(self) -> bool:
        position = self.header_size
        for one in self.with_rows():
            if one.offset != position:
                return False
            position += one.size
        return position == self.committed_size


class JournalMachine(RuleBasedStateMachine):
    """Every rule is one call of the journal's, or a death of its process; every invariant one of its answers."""

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp(prefix="journal-machine-", dir=FAST_FOLDER))
        self.numbers = itertools.count()
        self.folder = self.root / ".batchflow" / "0"
        self.journal = Journal.open_for_run(
            self.folder, durability="process"
        )  # no syncs: what a death leaves is the same
        self.model = Model(0, [])

    def teardown(self) -> None:
        self.journal.close()
        shutil.rmtree(self.root)

    @property
    def state(self) -> State:
        state = self.journal.state
        assert state is not None
        return state

    # What the journal is told

    @initialize(item_count=st.integers(1, 30), sizes=SIZES)
    def begin_first(self, item_count: int, sizes: list[int]) -> None:
        assert self.journal.state is None
        self.begin(item_count, sizes)

    @rule(item_count=st.integers(1, 30), sizes=SIZES)
    def begin(self, item_count: int, sizes: list[int]) -> None:
        """``sizes``: of the mini-batches, if they are not of one; those beyond the last item are left out."""
        number_of = [number for number, size in enumerate(sizes) for _ in range(size)][:item_count]
        grid = None
        if sizes:
            number_of += [len(sizes)] * (item_count - len(number_of))
            firsts = [item for item in range(item_count) if item == 0 or number_of[item] != number_of[item - 1]]
            grid = CutGrid(array("q", [*firsts, item_count]))
        self.journal.begin(State("r1", "score", item_count, SIGNATURE, mini_batch_size=3), grid)
        self.model = Model(item_count, number_of or [item // 3 for item in range(item_count)])

    @precondition(lambda self: self.model.gaps())
    @rule(data=st.data())
    def commit(self, data: st.DataObject) -> None:
        """One to four mini-batches from anywhere in the gaps: rows, no rows, a shortfall, or a failure."""
        model = self.model
        header_size = model.header_size or data.draw(st.sampled_from([0, 7]), label="header_size")
        offset = model.committed_size + header_size - model.header_size
        model.header_size = header_size
        model.commit_number += 1
        extents, failures = [], []
        for _ in range(data.draw(st.integers(1, 4), label="mini-batches")):
            if not model.gaps():
                break
            first, count = self._draw_items(data)
            kind = data.draw(st.sampled_from(["rows", "rows", "nothing", "shortfall", "exception"]), label="kind")
            if kind == "exception":
                failures.append(FailureEntry(first, count, kind, {"message": f"bad \udce9 {first}", "attempts": 3}))
                model.failures[first] = failures[-1]
                model.done |= dict.fromkeys(range(first, first + count), "failure")
                continue
            missing = data.draw(st.integers(1, count), label="missing") if kind == "shortfall" else 0
            surplus = data.draw(st.integers(0, 2), label="surplus") if kind == "rows" else 0
            size = 0 if kind == "nothing" else data.draw(st.integers(1, 2**33), label="size")
            checksum, attempt = data.draw(st.integers(0, 2**32 - 1)), data.draw(st.integers(1, 3))
            returned = count - missing + surplus
            extents.append(Extent(first, count, offset, size, checksum, returned, missing, attempt, 1))
            offset += size
            model.extents[first], model.commits[first] = extents[-1], model.commit_number
            model.done |= dict.fromkeys(range(first, first + count), "extent")
            if missing:
                failures.append(FailureEntry(first, count, "shortfall", {"missing_count": missing}))
                model.failures[first] = failures[-1]
        model.committed_size = offset
        model.work_s += 0.5
        self.journal.commit(
            extents,
            failures,
            replace(
                self.state,
                committed_size=offset,
                checksum=model.commit_number,
                header_size=header_size,
                work_s=model.work_s,
            ),
        )

    def _draw_items(self, data: st.DataObject) -> tuple[int, int]:
        start, stop = data.draw(st.sampled_from(self.model.gaps()), label="gap")
        first = data.draw(st.integers(start, stop - 1), label="first")
        return first, data.draw(st.integers(1, min(6, stop - first)), label="count")

    @rule(phase=st.sampled_from(["running", "finished"]))
    def update(self, phase: Any) -> None:
        self.model.phase = phase
        self.journal.update(replace(self.state, phase=phase, boot_id="another"))

    @rule()
    def set_ordered(self) -> None:
        model = self.model
        position = model.header_size
        for first in sorted(model.extents):
            model.extents[first] = model.extents[first]._replace(offset=position)
            position += model.extents[first].size
        model.committed_size, model.phase = position, "ordered"
        self.journal.set_ordered(replace(self.state, phase="ordered", committed_size=position))

    @rule()
    def reopen(self) -> None:
        model = self.model
        for first in [first for first, one in model.extents.items() if one.missing]:
            model.forget(first)
        model.failures.clear()
        for item in [item for item, what in model.done.items() if what == "failure"]:
            del model.done[item]
        model.phase = "running"
        self.journal.reopen(replace(self.state, phase="running"))

    @rule(data=st.data())
    def cut(self, data: st.DataObject) -> None:
        """Power was lost: nothing is kept, or everything up to the end of some extent."""
        model = self.model
        ends = [model.header_size, *(one.offset + one.size for one in model.with_rows())]
        size = data.draw(st.sampled_from(sorted({0, *ends})), label="size")
        for one in [one for one in model.with_rows() if one.offset + one.size > size]:
            model.forget(one.first_item)
            model.failures.pop(one.first_item, None)
        model.committed_size = size
        model.header_size = min(model.header_size, size)
        self.journal.cut(replace(self.state, committed_size=size, header_size=model.header_size))

    # What may happen between any two calls

    @rule()
    def close_and_open(self) -> None:
        self.journal.close()
        self.journal = Journal.open_for_run(self.folder, durability="process")

    @rule()
    def die_and_open(self) -> None:
        """The process ends as it is: what its files hold now is all that the next one has."""
        left = self.root / ".batchflow" / str(next(self.numbers) + 1)
        shutil.copytree(self.folder, left)
        self.journal.close()
        self.folder = left
        self.journal = Journal.open_for_run(left, durability="process")

    @rule()
    def read_beside_it(self) -> None:
        reader = Journal.open_for_reading(self.folder)
        assert reader is not None
        with reader:
            assert reader.state == self.state
            assert reader.gaps() == self.model.gaps()

    # What it must answer

    @invariant()
    def it_adds_up(self) -> None:
        self.journal.check()
        state, model = self.state, self.model
        assert (state.item_count, state.phase, state.work_s) == (model.item_count, model.phase, model.work_s)
        assert (state.committed_size, state.header_size) == (model.committed_size, model.header_size)
        assert state.commit_number == model.commit_number
        assert state.totals == model.totals()
        assert self.journal.failed_item_count() == model.totals().failed

    @invariant()
    def what_is_to_do(self) -> None:
        assert self.journal.gaps() == self.model.gaps()

    @invariant()
    def where_the_rows_lie(self) -> None:
        expected = self.model.with_rows()
        assert list(self.journal.extents()) == expected
        assert list(self.journal.extents(by="offset")) == sorted(expected, key=lambda one: one.offset)
        last = self.model.commit_number
        since = [one for one in expected if self.model.commits[one.first_item] >= last]
        assert list(self.journal.extents(since_commit=last)) == since
        assert self.journal.is_in_order() == self.model.is_in_order()

    @invariant()
    def what_failed(self) -> None:
        assert list(self.journal.failures()) == [self.model.failures[first] for first in sorted(self.model.failures)]


TestJournal = JournalMachine.TestCase
TestJournal.settings = settings(
    max_examples=40, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck)
)
