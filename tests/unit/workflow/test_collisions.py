"""Outputs that would destroy or feed each other are refused before anything runs; all others are let through."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from unit.workflow.workflow_files import load, refused

TWO = "steps.a={{run='x', outputs={{o='{}'}}}}\nsteps.b={{run='x', outputs={{p='{}'}}}}\n"
"""Two steps with an output each: their values begin in column 30 of lines 1 and 2."""

ROWS = """\
[steps.p]
inputs = {{ images = "{}" }}
outputs = {{ rows = "{}" }}
[steps.p.parallel]
entry_script = "score.py"
output_format = "text"
"""

READS = "steps.a={{run='x', inputs={{i='{}'}}{}}}\nsteps.b={{run='x', outputs={{o='{}'}}{}}}\n"
"""Step a reads and step b writes."""


def only(folder: Path, text: str) -> tuple[str, str, str | None, int, int | None]:
    """Code, message, hint and the two lines of the one fault."""
    (found,) = refused(folder, text).diagnostics
    assert found.position is not None
    return found.code, found.message, found.hint, found.position.line, found.other.line if found.other else None


@pytest.mark.parametrize(
    ("first", "second", "what", "taken"),
    [
        ("x.csv", "x.csv.partial", "is the temporary name of", "x.csv.partial"),
        ("x.csv", "x.csv.partial/", "is the temporary name of", "x.csv.partial"),
        ("d/", "d.partial/deep/y.csv", "lies under the temporary name of", "d.partial"),
        ("x.csv", "x.csv.partial.ordered", "is the temporary name of", "x.csv.partial.ordered"),
        ("d/x/", "d/.x.batchflow-previous/", "is the temporary name of", "d/.x.batchflow-previous"),
    ],
)
def test_an_output_may_not_have_a_temporary_name_of_another(
    tmp_path: Path, first: str, second: str, what: str, taken: str
) -> None:
    hint = f"choose another name: {taken} belongs to batchflow while `o` is made"
    message = f"output `p` of step `b` {what} output `o` of step `a`"
    assert only(tmp_path, TWO.format(first, second)) == ("BF042", message, hint, 2, 1)


def test_the_fault_stands_at_the_temporary_name_whichever_comes_first(tmp_path: Path) -> None:
    code, message, _, line, other = only(tmp_path, TWO.format("x.partial", "x"))
    assert (code, line, other) == ("BF042", 1, 2)
    assert message == "output `o` of step `a` is the temporary name of output `p` of step `b`"


def test_the_report_shows_both_places(tmp_path: Path) -> None:
    assert str(refused(tmp_path, "\n" * 9 + TWO.format("x.csv", "x.csv"))) == (
        "error[BF042]: output `p` of step `b` is the same path as output `o` of step `a`\n"
        "  --> workflow.toml:11:30\n"
        "   |\n"
        "11 | steps.b={run='x', outputs={p='x.csv'}}\n"
        "   |                              ^^^^^^^\n"
        "  ::: workflow.toml:10:30\n"
        "   |\n"
        "10 | steps.a={run='x', outputs={o='x.csv'}}\n"
        "   |                              ^^^^^^^"
    )


def test_numbers_of_lines_are_in_one_column(tmp_path: Path) -> None:
    report = str(refused(tmp_path, "\n" * 8 + TWO.format("x.csv", "x.csv")))
    assert "  --> workflow.toml:10:30\n   |\n10 | steps.b" in report
    assert "  ::: workflow.toml:9:30\n   |\n 9 | steps.a" in report


def test_a_place_that_was_set_from_outside_is_not_shown_in_the_file(tmp_path: Path) -> None:
    (found,) = refused(
        tmp_path, TWO.format("x.csv", "y.csv"), overrides=["steps.a.outputs.o=y.csv"], caller_folder=tmp_path
    ).diagnostics
    assert (found.code, found.other) == ("BF042", None)


def test_each_output_in_conflict_is_reported_once(tmp_path: Path) -> None:
    text = "".join(f"steps.s{number} = {{ run = 'x', outputs = {{ o = 'same/' }} }}\n" for number in range(30))
    found = refused(tmp_path, text).diagnostics
    assert [one.position.line for one in found if one.position] == list(range(2, 31))
    assert {one.message for one in found} == {
        f"output `o` of step `s{number}` is the same path as output `o` of step `s0`" for number in range(1, 30)
    }


def test_two_outputs_that_meet_through_a_link_are_one(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "out").symlink_to("real")
    text = TWO.format("real/x.csv", "out/x.csv")
    message = "output `p` of step `b` is the same path as output `o` of step `a`"
    hint = "a symbolic link leads out/x.csv to real/x.csv"
    assert only(tmp_path, text) == ("BF042", message, hint, 2, 1)
    code, message, hint, line, other = only(tmp_path, TWO.format("real/d/", "out/d/x.csv"))
    assert message == "output `p` of step `b` lies inside output `o` of step `a`"
    assert (code, hint, line, other) == ("BF042", "a symbolic link leads out/d/x.csv to real/d/x.csv", 2, 1)
    load(tmp_path, TWO.format("real/x.csv", "out/y.csv"))


def test_a_link_does_not_hide_the_workflow_file_or_our_records(tmp_path: Path) -> None:
    (tmp_path / "here").symlink_to(".")
    for name in ("here/workflow.toml", "here/.batchflow/x"):
        assert only(tmp_path, f"[steps.a]\nrun='x'\noutputs.o='{name}'\n")[0] == "BF043"


def test_the_temporary_name_of_an_output_may_not_be_the_workflow_file_or_an_input(tmp_path: Path) -> None:
    (tmp_path / "data.partial").mkdir()
    message = "making output `o` would remove input `i`"
    hint = "choose another name: data.partial belongs to batchflow while the output is made"
    text = "[steps.a]\nrun='x'\ninputs.i='data.partial/'\noutputs.o='data/'\n"
    assert only(tmp_path, text) == ("BF043", message, hint, 4, 3)
    text = READS.format("data.partial/", "", "data/", ", after=['a']")
    message = "making output `o` would remove input `i` of step `a`"
    assert only(tmp_path, text) == ("BF043", message, hint, 2, 1)


@pytest.mark.parametrize(
    ("pattern", "rows"),
    [
        ("data/", "data/rows.csv"),
        ("data/**/*.csv", "data/deep/rows.csv"),
        ("data/*", "data/rows.csv"),
        ("data/*.csv", "data/rows.csv"),
        ("*/*.csv", "data/rows.csv"),
        ("data/", "data/out/"),
        ("data/*/*.png", "data/out/"),
        ("link/*.csv", "data/rows.csv"),
        ("data/*.csv", "link/rows.csv"),
    ],
)
def test_a_step_may_not_read_what_it_writes(tmp_path: Path, pattern: str, rows: str) -> None:
    (tmp_path / "link").symlink_to("data")
    message = "output `rows` lies inside input `images`, which would read it again"
    hint = "write it elsewhere, or narrow the pattern"
    assert only(tmp_path, ROWS.format(pattern, rows)) == ("BF043", message, hint, 3, 2)


def test_the_dataset_is_the_other_place(tmp_path: Path) -> None:
    text = "[datasets.d]\nfiles = ['data/*.png', 'data/*.csv']\n" + ROWS.format("${datasets.d}", "data/rows.csv")
    assert only(tmp_path, text)[3:] == (5, 2)


@pytest.mark.parametrize(
    ("pattern", "rows", "name"),
    [
        ("data/*.partial", "data/rows.csv", "data/rows.csv.partial"),
        ("data/*.ordered", "data/rows.csv", "data/rows.csv.partial.ordered"),
        ("data/*.partial/*", "data/out/", "data/out.partial"),
    ],
)
def test_no_temporary_file_of_ours_becomes_an_item(tmp_path: Path, pattern: str, rows: str, name: str) -> None:
    message = f"output `rows` lies inside input `images` as {name} while it is made, which would read it again"
    assert only(tmp_path, ROWS.format(pattern, rows))[:2] == ("BF043", message)


def test_a_file_that_code_writes_keeps_its_name_in_a_temporary_folder(tmp_path: Path) -> None:
    text = "[steps.a]\nrun='x'\ninputs.i='data/*/*.csv'\noutputs.o='data/x.csv'\n"
    assert "as data/x.csv.partial/x.csv while it is made" in only(tmp_path, text)[1]
    load(tmp_path, ROWS.format("data/*/*.csv", "data/x.csv"))


@pytest.mark.parametrize(
    ("pattern", "rows"),
    [
        ("data/*.png", "data/rows.csv"),
        ("data/*.png", "data/out/"),
        ("data/*/*.png", "data/rows.csv"),
        ("data/", "data2/rows.csv"),
        ("data/", "rows.csv"),
        ("data/a.png", "data/rows.csv"),
        ("data/*", "data/.rows.csv"),
        ("data/[a].csv", "data/b.csv"),
    ],
)
def test_what_cannot_be_taken_for_input_may_lie_beside_it(tmp_path: Path, pattern: str, rows: str) -> None:
    load(tmp_path, ROWS.format(pattern, rows))


def test_a_plain_path_is_no_pattern(tmp_path: Path) -> None:
    (tmp_path / "data/[x]").mkdir(parents=True)
    parameter = "[params]\nwhere = { type = 'path', default = 'data/[x]' }\n"
    load(tmp_path, parameter + "[steps.a]\nrun='x'\ninputs.i='${params.where}/'\noutputs.o='data/x'\n")
    folder = tmp_path / "[y]"
    folder.mkdir()
    for source in ("data/", "data/*.csv"):
        assert only(folder, ROWS.format(source, "data/rows.csv"))[0] == "BF043"


@pytest.mark.parametrize("source", ["data/", "data", "data/*.csv"])
def test_what_another_step_writes_among_the_input_must_be_waited_for(tmp_path: Path, source: str) -> None:
    text = READS.format(source, "", "data/o.csv", "")
    message = "output `o` of step `b` lies inside input `i` of step `a`, which does not wait for it"
    hint = 'write it elsewhere, or narrow the pattern, or add after = ["b"] to step `a`'
    assert only(tmp_path, text) == ("BF044", message, hint, 2, 1)
    load(tmp_path, READS.format(source, ", after=['b']", "data/o.csv", ""))
    load(tmp_path, READS.format(source, ", after=['c']", "data/o.csv", "") + "steps.c={run='x', after=['b']}\n")


def test_a_later_step_may_not_write_among_the_input_of_an_earlier_one(tmp_path: Path) -> None:
    text = READS.format("data/*.csv", "", "data/o.csv", ", after=['a']")
    message = (
        "output `o` of step `b` lies inside input `i` of step `a`, which runs before it and would read it in the next"
        " run"
    )
    assert only(tmp_path, text) == ("BF044", message, "write it elsewhere, or narrow the pattern", 2, 1)


def test_the_output_of_a_step_is_used_by_a_pattern_below_it(tmp_path: Path) -> None:
    text = (
        "steps.b = { run = 'x', outputs = { o = 'made/' } }\n"
        "steps.a = { run = 'x', inputs = { i = '${steps.b.outputs.o}/*.png' }, outputs = { o = 'rest/' } }\n"
    )
    assert load(tmp_path, text).steps["a"].dependencies == ("b",)


def test_without_the_core_the_rest_is_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("batchflow.patterns", raising=False)
    monkeypatch.setitem(sys.modules, "batchflow.patterns", None)
    load(tmp_path, ROWS.format("data/*", "data/rows.csv"))
    assert only(tmp_path, ROWS.format("data/*", "data/../data"))[0] == "BF043"
