"""What the journal refuses, what it survives, and what it must never believe; anything in any order: the machine."""

from __future__ import annotations

import shutil
import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from batchflow._core import Extent
from batchflow.errors import InternalError, JournalError
from batchflow.journal.commits import Journal
from batchflow.journal.state import State, Totals
from batchflow.journal.sums import Sums
from batchflow.model import FailureEntry

SIGNATURE: dict[str, Any] = {"settings": {"n": 1}, "params": {}, "inputs": {}, "code": {}, "upstream": {}}
STATE = State("r1", "score", 10, SIGNATURE, mini_batch_size=2)


def extent(first: int, count: int, offset: int, size: int, missing: int = 0) -> Extent:
    return Extent(first, count, offset, size, 0xABC, count - missing, missing, 1, 1)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / ".batchflow" / "flow"


@pytest.fixture
def journal(folder: Path) -> Any:
    with Journal.open_for_run(folder) as journal:
        journal.begin(STATE)
        yield journal


def test_in_a_new_journal_nothing_was_begun(folder: Path) -> None:
    assert Journal.open_for_reading(folder) is None
    with Journal.open_for_run(folder) as journal:
        assert (journal.state, journal.path) == (None, folder / "journal.db")
        for question in (journal.gaps, journal.check, journal.is_in_order, lambda: journal.commit([], [], STATE)):
            with pytest.raises(InternalError, match=r"nothing was begun in the journal, path=.*/journal\.db"):
                question()
    with Journal.open_for_reading(folder) as reader:  # type: ignore[union-attr]
        assert reader.state is None


def test_what_was_begun_comes_back_as_it_was(folder: Path) -> None:
    state = replace(
        STATE,
        durability="process",
        boot_id="b",
        file_id=77,
        is_suspect=True,
        columns="a,\xe9\n",
        header_size=4,
        committed_size=4,
        work_s=1.25,
        totals=Totals(surplus=3, attempts=4, worker_deaths=1),
    )
    with Journal.open_for_run(folder) as journal:
        journal.begin(state)
    with Journal.open_for_run(folder) as journal:
        assert journal.state == state
        assert journal.gaps() == [(0, 10)]


@pytest.mark.parametrize("durability", ["full", "process"])
def test_the_disk_is_waited_for_unless_only_the_process_may_die(folder: Path, durability: Any) -> None:
    with Journal.open_for_run(folder, durability=durability) as journal:
        level = journal._database.read("PRAGMA synchronous")
        assert level == [({"full": 2, "process": 1}[durability],)]
        assert journal._database.read("PRAGMA journal_mode") == [("wal",)]


@pytest.mark.parametrize(
    ("extents", "committed_size", "message"),
    [
        ([extent(0, 2, 1, 5)], 6, "an extent does not follow the last one, offset=1, expected=0"),
        ([extent(0, 2, 0, 5), extent(2, 2, 4, 5)], 9, "an extent does not follow the last one, offset=4, expected=5"),
        ([extent(0, 2, 0, 5), extent(2, 2, 6, 5)], 11, "an extent does not follow the last one, offset=6, expected=5"),
        ([extent(0, 2, 0, 5)], 6, "extents end at 5, the committed bytes at 6"),
        ([extent(0, 2, 0, 5)], 4, "extents end at 5, the committed bytes at 4"),
        ([], 1, "extents end at 0, the committed bytes at 1"),
    ],
)
def test_extents_that_do_not_tile_what_was_appended_are_refused(
    journal: Journal, extents: list[Extent], committed_size: int, message: str
) -> None:
    with pytest.raises(InternalError) as caught:
        journal.commit(extents, [], replace(STATE, committed_size=committed_size))
    assert caught.value.message == message
    assert (journal.state, journal.gaps(), list(journal.extents())) == (STATE, [(0, 10)], [])


def test_extents_without_rows_may_say_any_offset(journal: Journal) -> None:
    journal.commit([extent(0, 2, 0, 5), extent(4, 2, 77, 0)], [], replace(STATE, committed_size=5))
    assert journal.gaps() == [(2, 4), (6, 10)]
    assert list(journal.extents()) == [extent(0, 2, 0, 5)]
    journal.check()


@pytest.mark.parametrize(
    ("extents", "failures"),
    [
        ([extent(2, 2, 5, 1)], [FailureEntry(6, 1, "died", {"n": 1}), FailureEntry(6, 2, "died", {"n": 2})]),
        ([extent(2, 2, 5, 1), extent(0, 2, 6, 1)], []),
    ],
)
def test_a_commit_is_made_whole_or_not_at_all(
    journal: Journal, folder: Path, extents: list[Extent], failures: list[FailureEntry]
) -> None:
    journal.commit([extent(0, 2, 0, 5)], [], replace(STATE, committed_size=5))
    before = journal.state
    assert before is not None
    with pytest.raises(JournalError, match=r"UNIQUE constraint failed: (failures|extents)\.first_item"):
        journal.commit(extents, failures, replace(before, committed_size=5 + len(extents)))
    assert (journal.state, journal.gaps(), list(journal.failures())) == (before, [(2, 10)], [])
    with Journal.open_for_run(folder) as other:
        assert (other.state, other.gaps()) == (before, [(2, 10)])


@pytest.mark.parametrize(
    ("statements", "what"),
    [
        (["INSERT INTO extents VALUES (1, 1, 0, 0, 0, 1, 0, 1, 0, 1)"], "the extents do not add up"),
        (["DELETE FROM extents WHERE first_item = 4"], "the extents do not add up"),
        (["UPDATE extents SET size = size + 1 WHERE first_item = 0"], "the extents do not add up"),
        (
            [
                "UPDATE extents SET size = size + 1 WHERE first_item = 0",
                "UPDATE extents SET size = size - 1 WHERE first_item = 4",
            ],
            None,  # what adds up all the same is seen when the bytes are checked
        ),
        (
            [
                "UPDATE extents SET item_count = item_count + 3 WHERE first_item = 0",
                "UPDATE extents SET item_count = item_count - 3 WHERE first_item = 4",
            ],
            "an item is in it twice or is none of the input",
        ),
        (
            ["INSERT INTO failures VALUES (5, 1, 'died', '')"],
            "an item is in it twice or is none of the input",
        ),
        (
            ["INSERT INTO failures VALUES (9, 2, 'died', '')"],
            "an item is in it twice or is none of the input",
        ),
        (
            ["INSERT INTO failures VALUES (-1, 1, 'died', '')"],
            "an item is in it twice or is none of the input",
        ),
        (["INSERT INTO failures VALUES (4, 4, 'shortfall', '')"], None),
    ],
)
def test_tables_that_contradict_the_state_are_damage(
    journal: Journal, folder: Path, statements: list[str], what: str | None
) -> None:
    journal.commit([extent(0, 2, 0, 5), extent(4, 4, 5, 5)], [], replace(STATE, committed_size=10))
    journal.close()
    connection = sqlite3.connect(folder / "journal.db", isolation_level=None)
    for statement in statements:
        connection.execute(statement)
    connection.close()
    with Journal.open_for_run(folder) as damaged:
        if what is None:
            damaged.check()
            return
        with pytest.raises(JournalError) as caught:
            damaged.check()
    assert caught.value.message == f"the journal of the step is damaged, path={folder}/journal.db: {what}"
    assert caught.value.hint == (
        "nothing was changed; `batchflow run --restart` drops what is in it and runs the step from the beginning"
    )


def test_sums_are_those_of_the_extents_and_can_be_taken_back() -> None:
    # offsets: what is left of them modulo 1,000,003
    one, other = Extent(0, 2, 1_000_005, 5, 11, 2, 0, 1, 1), Extent(4, 3, 7, 2, 12, 1, 2, 3, 1)
    both = Sums().plus([one, other])
    assert both == Sums(
        first_items=4, items=5, offsets=9, size=7, checksums=23, returned=3, missing=2, attempts=4, mini_batches=2
    )
    assert both.plus([one], sign=-1) == Sums().plus([other])


def test_every_second_item_done_is_as_good_as_any_other_state(folder: Path) -> None:
    """The worst that a journal has to tell."""
    count = 20_000
    with Journal.open_for_run(folder, durability="process") as journal:
        journal.begin(replace(STATE, item_count=2 * count))
        extents = [Extent(2 * index, 1, 3 * index, 3, index, 1, 0, 1, 1) for index in range(count)]
        state = journal.state
        assert state is not None
        journal.commit(extents, [], replace(state, committed_size=3 * count))
        journal.check()
        gaps = journal.gaps()
        assert (len(gaps), gaps[0], gaps[-1]) == (count, (1, 2), (2 * count - 1, 2 * count))
        assert journal.is_in_order()


def test_a_damaged_log_loses_whole_commits_from_its_end_and_nothing_else(folder: Path, tmp_path: Path) -> None:
    """A driver was killed, its last commits lie in the log, and bits of that flip: SQLite ends it where it is wrong."""
    states: list[object] = []
    with Journal.open_for_run(folder) as journal:
        journal.begin(STATE)
        for number in range(5):
            state = journal.state
            assert state is not None
            states.append((state, journal.gaps()))
            journal.commit([extent(2 * number, 2, 3 * number, 3)], [], replace(state, committed_size=3 * number + 3))
        states.append((journal.state, journal.gaps()))
        killed = tmp_path / "killed" / ".batchflow" / "flow"
        shutil.copytree(folder, killed)
    log = killed / "journal.db-wal"
    good, good_file = log.read_bytes(), (killed / "journal.db").read_bytes()
    seen = set()
    for index in range(0, len(good), 331):
        (killed / "journal.db").write_bytes(good_file)
        (killed / "journal.db-shm").unlink(missing_ok=True)
        bad = bytearray(good)
        bad[index] ^= 0x10
        log.write_bytes(bad)
        with Journal.open_for_run(killed) as journal:
            found = (journal.state, journal.gaps() if journal.state else None)
            if journal.state is not None:
                journal.check()
            seen.add(-1 if found == (None, None) else states.index(found))
    assert seen == {-1, 0, 1, 2, 3, 4}


@pytest.mark.parametrize(
    "statement",
    ["UPDATE extents SET offset = 'far'", "UPDATE extents SET returned = -1", "UPDATE extents SET missing = 0.5"],
)
def test_extents_are_not_believed_even_if_nobody_checked(journal: Journal, folder: Path, statement: str) -> None:
    journal.commit([extent(0, 2, 0, 5)], [], replace(STATE, committed_size=5))
    journal.close()
    connection = sqlite3.connect(folder / "journal.db", isolation_level=None)
    connection.execute(statement)
    connection.close()
    what = r"is damaged, .*: an extent has a value that is no count"
    with Journal.open_for_run(folder) as damaged, pytest.raises(JournalError, match=what):
        list(damaged.extents())


def test_a_step_may_be_made_from_nothing(folder: Path) -> None:
    with Journal.open_for_run(folder) as journal:
        journal.begin(replace(STATE, signature={}))
    with Journal.open_for_run(folder) as journal:
        assert journal.state == replace(STATE, signature={})
        journal.check_pages()
