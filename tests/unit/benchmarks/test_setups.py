"""What the cases say they will measure fits what the targets and pages ask for; nothing is measured."""

from __future__ import annotations

import importlib

import pytest

from benchmarks import data, pages, tables, targets
from benchmarks.cases import gather
from benchmarks.entry import megabyte
from benchmarks.options import Options

CASES = ("startup", "gather", "frames", "latency", "commit", "listing", "splitting", "growth")


@pytest.fixture
def scenarios(monkeypatch, tmp_path):
    monkeypatch.setattr(data, "numbered_files", lambda folder, count: folder / f"files-{count}")
    monkeypatch.setattr(tables, "quoted_table", lambda folder, size: tables.Table(folder / "table.csv", size, 10))
    options = Options(CASES, None, False, 5, 20_000, 2, None, None, tmp_path, tmp_path, "n", 0.1, big=True)
    return [
        scenario for case in CASES for scenario in importlib.import_module(f"benchmarks.cases.{case}").setup(options)
    ]


def names(scenarios, case, title, metric):
    """The variants of every scenario of that case and title that has the metric."""
    return [
        {variant.name for variant in one.variants}
        for one in scenarios
        if one.case == case and title in ("", one.title) and metric in {known.key for known in one.metrics}
    ]


@pytest.mark.parametrize("target", [one for one in targets.TARGETS if one.case in CASES], ids=str)
def test_every_target_is_of_something_that_is_measured(scenarios, target):
    found = names(scenarios, target.case, target.where.get("title", ""), target.metric)
    assert any({target.ours, target.against or target.ours} <= variants for variants in found)


@pytest.mark.parametrize("row", pages.SINGLES, ids=lambda row: row[-1])
def test_every_row_of_the_readme_is_of_something_that_is_measured(scenarios, row):
    case, title, ours, metric, against, _ = row
    assert [{ours, against or ours} <= variants for variants in names(scenarios, case, title, metric)] == [True]


def test_a_page_has_a_place_for_every_case():
    text = pages.PAGES[1].read_text("utf-8")
    for case in (*CASES, "dispatch", "directory", "memory", "mnist"):
        assert f"<!-- measured {case} -->" in text


def test_gathered_rows_are_checked_by_size_and_content(tmp_path):
    output = tmp_path / "rows.txt"
    output.write_text(f"{megabyte.ROW}\n" * 2)
    assert gather.complaint(output, 2) == ""
    assert gather.complaint(output, 3) == "expected 3000000 bytes, got 2000000"
    output.write_text(f"{megabyte.ROW}\n{megabyte.ROW[:-1]}y\n")
    assert gather.complaint(output, 2) == "1 rows are not the expected ones"
