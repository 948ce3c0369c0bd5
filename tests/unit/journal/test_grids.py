"""The grid of a step in its journal, where its mini-batches are not of one size."""

from __future__ import annotations

import sqlite3
from array import array
from dataclasses import replace
from pathlib import Path

import pytest

from batchflow._core import Extent
from batchflow.errors import JournalError
from batchflow.journal.commits import JOURNAL_NAME, Journal
from batchflow.journal.state import State, Totals
from batchflow.mini_batches import CutGrid, UniformGrid
from batchflow.model import FailureEntry

GRID = CutGrid(array("q", [0, 3, 5, 10]))
STATE = State("r1", "score", 10, {}, mini_batch_size=1 << 20, mini_batch_unit="bytes")


def begun(folder: Path) -> Journal:
    journal = Journal.open_for_run(folder)
    journal.begin(STATE, GRID)
    return journal


def test_the_cuts_are_there_when_the_journal_is_opened_again(tmp_path: Path) -> None:
    with begun(tmp_path) as journal:
        assert journal.grid is GRID
        assert journal.state is not None
        assert (journal.state.cut_count, journal.state.mini_batch_count) == (3, 3)
    with Journal.open_for_run(tmp_path) as journal:
        assert isinstance(journal.grid, CutGrid)
        assert journal.grid.cuts == GRID.cuts
        journal.check()


def test_who_begins_anew_forgets_the_cuts(tmp_path: Path) -> None:
    with begun(tmp_path) as journal:
        journal.begin(replace(STATE, mini_batch_size=4, mini_batch_unit="items"))
        assert isinstance(journal.grid, UniformGrid)
        assert (journal.grid.size, journal.grid.item_count) == (4, 10)
    with Journal.open_for_run(tmp_path) as journal:
        assert isinstance(journal.grid, UniformGrid)
        assert journal.state is not None
        assert journal.state.mini_batch_count == 3


def test_failed_mini_batches_are_those_of_the_cuts(tmp_path: Path) -> None:
    with begun(tmp_path) as journal:
        extent = Extent(5, 5, 0, 9, 1, 4, 1, 1, 1)
        failures = [FailureEntry(2, 2, "exception", {}), FailureEntry(5, 5, "shortfall", {"missing_count": 1})]
        journal.commit([extent], failures, replace(STATE, committed_size=9, totals=Totals(), cut_count=3))
        assert journal.failed_mini_batches().count == 3


@pytest.mark.parametrize("cuts", [[0, 5, 3, 10], [0, 3, 3, 10], [0, 3, 5, 9]])
def test_cuts_that_make_no_sense_are_damage_whatever_their_checksum(tmp_path: Path, cuts: list[int]) -> None:
    with Journal.open_for_run(tmp_path) as journal:
        journal.begin(STATE, CutGrid(array("q", cuts)))
    with Journal.open_for_run(tmp_path) as journal, pytest.raises(JournalError, match="the mini-batches in it are not"):
        journal.check()


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM cuts",
        "UPDATE cuts SET cuts = substr(cuts, 1, 24)",
        "UPDATE cuts SET cuts = zeroblob(32)",
        "UPDATE cuts SET cuts = 'text of that size, 32 characters'",
    ],
)
def test_cuts_that_are_not_as_they_were_are_damage(tmp_path: Path, statement: str) -> None:
    begun(tmp_path).close()
    connection = sqlite3.connect(tmp_path / JOURNAL_NAME, isolation_level=None)
    connection.execute(statement)
    connection.close()
    with Journal.open_for_run(tmp_path) as journal, pytest.raises(JournalError, match="the mini-batches in it are not"):
        journal.check()
