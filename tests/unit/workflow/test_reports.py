"""The report of everything that is wrong: complete, in order, readable, harmless."""

from __future__ import annotations

from pathlib import Path

import pytest
from unit.workflow.workflow_files import PARALLEL, STEP, load, refused

from batchflow.workflow import WorkflowFileError
from batchflow.workflow.diagnostics import Problems


def test_the_report_shows_the_line_a_caret_and_a_suggestion(tmp_path: Path) -> None:
    text = PARALLEL + "run_max_try = 2\nmini_batchsize = 5\n"
    text = "# one\n" * 5 + text
    assert str(refused(tmp_path, text)) == (
        "error[BF012]: unknown key `mini_batchsize` in step `p`\n"
        "  --> workflow.toml:12:1\n"
        "   |\n"
        "12 | mini_batchsize = 5\n"
        "   | ^^^^^^^^^^^^^^\n"
        "   = help: did you mean `mini_batch_size`?"
    )


@pytest.mark.fault("K6")
def test_all_errors_are_reported_at_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    text = (
        "namx = 'x'\n"
        "[params]\n"
        "limit = { default = 1, mim = 0 }\n"
        "[steps.b]\n"
        "run = 'echo ${params.limitx}'\n"
        "after = ['c']\n" + PARALLEL + "workers = '8'\n"
        "retries = 3\n"
    )
    found = [
        (one.position.line, one.position.column, one.code)
        for one in refused(tmp_path, text).diagnostics
        if one.position
    ]
    assert found == [
        (1, 1, "BF012"),
        (3, 24, "BF012"),
        (5, 13, "BF030"),
        (6, 10, "BF040"),
        (12, 11, "BF010"),
        (13, 1, "BF012"),
    ]


def test_a_fault_in_one_place_does_not_hide_the_missing_files_of_the_same_step(tmp_path: Path) -> None:
    text = PARALLEL.replace('"data/"', '"dato/"').replace("score.py", "nope.py") + "mini_batchsize = 5\n"
    assert [one.code for one in refused(tmp_path, text).diagnostics] == ["BF050", "BF051", "BF012"]


def test_a_wrong_value_of_a_parameter_is_shown_with_its_reference(tmp_path: Path) -> None:
    text = "[params]\nn = 0\n" + PARALLEL + 'workers = "${params.n}"\n'
    error = refused(tmp_path, text)
    assert error.diagnostics[0].message == "`workers`: expected at least 1, got 0, the value of ${params.n}"
    assert error.diagnostics[0].position is not None
    assert (error.diagnostics[0].position.line, error.diagnostics[0].position.column) == (8, 11)


@pytest.mark.fault("K15")
def test_control_and_bidirectional_characters_are_shown_escaped(tmp_path: Path) -> None:
    error = refused(tmp_path, '"a\\u001b]0;x\\u202e" = 1 # \u202e \x9b\n' + STEP)
    assert "\\x1b]0;x\\u202e" in error.diagnostics[0].message
    assert not {"\x1b", "\x9b", "\u202e"} & set(str(error))


@pytest.mark.fault("K13")
def test_the_secret_of_a_url_is_not_repeated(tmp_path: Path) -> None:
    error = refused(tmp_path, "[datasets.d]\nfiles = 'https://me:hunter2@x/y?sig=s3cr3t'\n" + STEP)
    assert "hunter2" not in str(error)
    assert "s3cr3t" not in str(error)
    error = refused(tmp_path, "default = ['https://me:hunter2@x']\n" + STEP)
    assert error.diagnostics[0].message == "no step or output 'https://***@x' to build by default"
    assert "hunter2" not in str(error)


def test_columns_count_characters_and_carets_stand_below_wide_ones(tmp_path: Path) -> None:
    error = refused(tmp_path, "steps.a = { help = '漢é', rnu = 'x', run = 'y' }\n")
    assert error.diagnostics[0].position is not None
    assert error.diagnostics[0].position.column == 26
    assert str(error).splitlines()[4] == "  | " + " " * 26 + "^^^"


def test_a_long_line_is_cut_around_the_fault(tmp_path: Path) -> None:
    error = refused(tmp_path, f"steps.a = {{ help = '{'x' * 5000}', rnu = 'x', run = 'y' }}\n")
    shown, carets = str(error).splitlines()[3:5]
    assert len(shown) < 200
    assert shown[carets.index("^") : carets.rindex("^") + 1] == "rnu"


def test_a_thousand_errors_are_counted_and_not_all_shown(tmp_path: Path) -> None:
    error = refused(tmp_path, "".join(f"k{index} = 1\n" for index in range(1000)) + STEP)
    assert len(error.diagnostics) == 1000
    assert str(error).endswith("and 900 more errors")


def test_newer_toml_syntax_does_not_move_the_position(tmp_path: Path) -> None:
    text = "[params]\nx = {\n  default = 1,\n  mim = 0,\n}\n" + STEP
    assert refused(tmp_path, text).diagnostics[0].position.line == 4  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("line", "marked"),
    [
        ('call = "tasks:gone"{}', '"tasks:gone"'),
        ("call = 'tasks:gone'{}", "'tasks:gone'"),
        ('parallel = {{ entry_script = "god.py" }}{}', '"god.py"'),
        ('parallel = {{ entry_script = "score.py", mini_batch_size = "5" }}{}', '"5"'),
        ("parallel.arguments = [{}\n'--n', 1]", "1"),
        ("parallel.arguments = ['--n', 1{}\n]", "1"),
        ("parallel.entry_script = 3{}", "3"),
    ],
)
@pytest.mark.parametrize("comment", ["", "  # what it does", '# "é" = 1'])
def test_a_comment_behind_a_value_does_not_take_its_place(line: str, comment: str, marked: str, tmp_path: Path) -> None:
    text = "[steps.a]\ninputs = { x = 'data/' }\noutputs = { y = 'y.csv' }\n" + line.format(comment) + "\n"
    found = {
        text.splitlines()[one.position.line - 1][one.position.column - 1 :][: one.position.length]
        for one in refused(tmp_path, text).diagnostics
        if one.position
    }
    assert marked in found


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (
            "[datasets.d]\nfiles = 'dta/*.txt'  # all\n" + STEP + "inputs = { x = '${datasets.d}' }\n",
            [" --> workflow.toml:2:9", "  |", "2 | files = 'dta/*.txt'  # all", "  |         ^^^^^^^^^^^"],
        ),
        (
            STEP + "inputs = { x = 'dta/*.txt' }\n",
            [" --> workflow.toml:3:12", "  |", "3 | inputs = { x = 'dta/*.txt' }", "  |            ^"],
        ),
    ],
)
def test_a_fault_that_is_found_later_is_shown_with_its_line_too(text: str, shown: list[str], tmp_path: Path) -> None:
    problems = Problems(tmp_path)
    problems.add("BF050", "0 files match", position=load(tmp_path, text).steps["a"].inputs["x"].position)
    with pytest.raises(WorkflowFileError) as caught:
        problems.raise_if_any()
    assert str(caught.value).splitlines() == ["error[BF050]: 0 files match", *shown]
