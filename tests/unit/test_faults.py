"""The catalogue of faults is whole, its marks name entries of it, and the table in the documentation is up to date."""

from __future__ import annotations

from pathlib import Path

import pytest
from faults.mutant_list import MUTANTS, Mutant
from faults.table import BEGIN, DOCUMENTS, END, ROOT, Catalogue, Mark, all_marks, by_entry, marks_in, table, written

COUNTS = {
    **{"A": 19, "B": 11, "C": 30, "D": 10, "E": 13, "F": 21, "G": 9, "H": 22},
    **{"V": 6, "J": 20, "K": 17, "L": 16, "M": 15, "N": 9, "O": 10},
}


def test_the_catalogue_has_every_entry_once_and_in_order() -> None:
    catalogue = Catalogue.read()
    assert list(catalogue.groups) == list(COUNTS)
    assert list(catalogue.entries) == [f"{group}{k}" for group, count in COUNTS.items() for k in range(1, count + 1)]


def test_the_catalogue_of_attacks_has_every_entry_once_and_in_order() -> None:
    _, security = map(Catalogue.read, DOCUMENTS)
    assert list(security.entries) == [f"S{k}" for k in range(1, 49)]


def test_every_entry_has_a_test_or_a_reason() -> None:
    catalogues, tests = [Catalogue.read(path) for path in DOCUMENTS], by_entry(all_marks())
    known = {entry for catalogue in catalogues for entry in catalogue.entries}
    assert set(tests) <= known, "marks of entries that do not exist"
    for one in catalogues:
        tested = {entry for entry in one.entries if entry in tests or entry in one.elsewhere}
        assert set(one.reasons) == set(one.entries) - tested, "neither a test nor a reason, or both"


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.stem)
def test_the_table_in_the_documentation_is_up_to_date(path: Path) -> None:
    document = DOCUMENTS[path].read_text("utf-8")
    part = table(Catalogue.read(path), by_entry(all_marks()))
    assert document == written(document, part), "make faults"


def test_marks_are_found_wherever_they_stand() -> None:
    text = """
pytestmark = pytest.mark.fault("A1")

@pytest.mark.fault("A2", "A3")
@pytest.mark.parametrize("x", [1, pytest.param(2, marks=[pytest.mark.slow, pytest.mark.fault("B1")])])
def test_one(x): ...

def test_two(): ...

def helper(): ...
"""
    assert list(marks_in("tests/test_x.py", text)) == [
        Mark("A1", "tests/test_x.py::test_one"),
        Mark("A2", "tests/test_x.py::test_one"),
        Mark("A3", "tests/test_x.py::test_one"),
        Mark("B1", "tests/test_x.py::test_one"),
        Mark("A1", "tests/test_x.py::test_two"),
    ]


def test_a_mark_that_is_computed_is_refused() -> None:
    text = "@pytest.mark.fault(*ENTRIES)\ndef test_one(): ..."
    with pytest.raises(ValueError, match=r"x\.py:1: the entries of a fault are written out"):
        list(marks_in("x.py", text))


def test_a_row_names_the_tests_or_the_reason() -> None:
    catalogue = Catalogue(
        {"A": "Deaths"}, {"A1": "a", "A2": "b|c", "A3": "d"}, {"A3": "make crash"}, {"A2": "no such thing | yet"}
    )
    assert table(catalogue, {"A1": ["tests/x.py::test_a", "tests/y.py::test_b"]}).splitlines() == [
        BEGIN,
        "",
        "2 of 3 entries are automated.",
        "",
        "### A. Deaths",
        "",
        "| | what happens | test, or why there is none |",
        "|---|---|---|",
        "| A1 | a | `x.py::test_a`<br>`y.py::test_b` |",
        "| A2 | b\\|c | no such thing \\| yet |",
        "| A3 | d | `make crash` |",
        "",
        END,
    ]


def test_a_document_without_a_place_for_the_table_is_refused() -> None:
    with pytest.raises(ValueError, match="no single part between"):
        written("nothing", f"{BEGIN}\n{END}")
    new = f"{BEGIN}\nnew\n{END}"
    assert written(f"before\n{BEGIN}\nold\n{END}\nafter", new) == f"before\n{new}\nafter"


def test_every_mutant_still_applies_and_has_a_test_that_takes_its_fault_on() -> None:
    tests = by_entry(all_marks())
    for mutant in MUTANTS:
        mutant.applied((ROOT / mutant.file).read_text("utf-8"))
        assert mutant.test.partition("[")[0] in tests[mutant.entry], mutant.entry


def test_a_mutant_that_does_not_apply_is_noticed() -> None:
    mutant = Mutant("A1", "what", "x.py", "old", "new", "tests/x.py::test_x")
    assert mutant.applied("an old hat") == "an new hat"
    for text in ("a hat", "old old hats"):
        with pytest.raises(ValueError, match=r"A1: the text stands \d times in x\.py"):
            mutant.applied(text)
