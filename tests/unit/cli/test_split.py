"""The verbs ``split`` and ``verify-split``: what they show, what they take, and what they end with."""

from __future__ import annotations

import json
from array import array
from dataclasses import replace
from pathlib import Path

import pytest

from batchflow.cli import split as verbs
from batchflow.cli.arguments import Arguments, parse
from batchflow.cli.main import main
from batchflow.cli.split_arguments import SplitArguments
from batchflow.errors import UsageError

AS_BY_DEFAULT = SplitArguments(Path("x.csv"), "csv", 1 << 20, 0, ",", '"', None, True, "utf-8", False)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("orders.csv").write_bytes(b'id,note\n1,"a\nb"\n2,c\n3,"d ""e"""\n')
    return tmp_path


def test_the_pieces_are_shown_as_a_table(folder, capsys):
    assert main(["split", "orders.csv", "--rows", "2"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "piece  first row  rows  first byte  bytes",
        "    0          0     2           8     12",
        "    1          2     1          20     12",
        "",
        "orders.csv: 3 rows in 2 pieces, 24 B, split by the parity of its quotes",
    ]


def test_of_many_pieces_the_first_and_the_last_are_shown(folder, capsys):
    Path("many.csv").write_bytes(b"a\n" * 31)
    assert main(["split", "many.csv", "--rows=1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:25]] == [*map(str, range(20)), "…", "27", "28", "29"]
    assert main(["split", "many.csv", "--rows=1", "--all"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()[1:31]] == [*map(str, range(30))]
    assert main(["split", "many.csv", "--rows=1", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["pieces"]) == 30


def test_programs_get_json(folder, capsys):
    assert main(["split", "orders.csv", "--size", "20", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "version": 1,
        "file": "orders.csv",
        "row_count": 3,
        "exact_by": "parity",
        "warnings": [],
        "pieces": [{"begin": 8, "end": 32, "rows": 3}],
    }


def test_a_warning_is_shown_and_control_characters_are_not(folder, capsys):
    Path("od\x1bd.csv").write_bytes(b'a\n5"\n')
    assert main(["split", "od\x1bd.csv"]) == 0
    assert capsys.readouterr().out.splitlines()[-2:] == [
        "od\\x1bd.csv: 1 row in 1 piece, 3 B, split by reading each byte where quotes do not tell",
        "warning: od\\x1bd.csv: a quote in a field that does not begin with one, at line 2 (byte 3): taken as a "
        "character, as Python's csv does",
    ]


@pytest.mark.parametrize("verb", ["split", "verify-split"])
def test_a_file_that_cannot_be_split_is_refused_with_its_line(folder, capsys, verb):
    Path("open.csv").write_bytes(b'a\n"b\n')
    assert main([verb, "open.csv"]) == 3
    said = capsys.readouterr()
    assert said.out == ""
    assert "cannot split open.csv: the quote at line 2 (byte 2) is never closed" in said.err
    assert "close it" in said.err
    assert main([verb, "open.csv", "--quote", "none"]) == 0


def test_pieces_that_are_right_are_proved(folder, capsys):
    assert main(["verify-split", "orders.csv", "--size", "1"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "orders.csv: 3 rows in 3 pieces, 24 B, split by the parity of its quotes",
        "the pieces hold the rows that Python's csv gives in one pass over the whole file",
    ]
    assert main(["verify-split", "orders.csv", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["ok"], said["difference"]) == (True, None)


def test_a_difference_ends_with_1_and_is_shown(folder, capsys, monkeypatch):
    real = verbs.split_file

    def wrong(*arguments, **question):
        return replace(
            real(*arguments, **question), begins=array("q", [8]), ends=array("q", [20]), counts=array("q", [2])
        )

    monkeypatch.setattr(verbs, "split_file", wrong)
    assert main(["verify-split", "orders.csv"]) == 1
    assert capsys.readouterr().out.splitlines()[1:] == [
        "row 2 is not the same, in piece 1",
        "  the whole file: ['3', 'd \"e\"']",
        "  the pieces:     no row",
    ]
    assert main(["verify-split", "orders.csv", "--json"]) == 1
    said = json.loads(capsys.readouterr().out)
    assert said["difference"] == {"row": 2, "piece": 1, "in_whole": ["3", 'd "e"'], "in_piece": None}


def test_lines_of_json_are_split_and_proved(folder, capsys):
    Path("rows.jsonl").write_bytes(b'{"a": 1}\n\n{"a": "\xff"}\n')
    assert main(["split", "rows.jsonl", "--rows", "1"]) == 0
    assert main(["verify-split", "rows.jsonl", "--rows", "1"]) == 0
    assert capsys.readouterr().out.endswith("that reading it line by line gives in one pass over the whole file\n")


@pytest.mark.parametrize(
    ("words", "changed"),
    [
        ([], {}),
        (["--size", "64KB"], {"size": 65536}),
        (["--size=100"], {"size": 100}),
        (["--rows", "7"], {"rows": 7, "size": 0}),
        (["--delimiter", "tab"], {"delimiter": "\t"}),
        (["--delimiter=;", "--quote='", "--escape=\\"], {"delimiter": ";", "quote": "'", "escape": "\\"}),
        (["--quote", "none", "--no-header"], {"quote": None, "header": False}),
        (["--encoding", "latin-1", "--format", "jsonl"], {"encoding": "latin-1", "format": "jsonl"}),
    ],
)
def test_how_a_file_is_read_is_said_by_options(words, changed):
    assert parse(["split", "x.csv", *words]) == Arguments("split", split=replace(AS_BY_DEFAULT, **changed))
    assert parse(["verify-split", *words, "--json", "x.csv"]).json


def test_the_name_of_a_file_says_its_format():
    assert parse(["split", "a.TSV"]).split == replace(AS_BY_DEFAULT, path=Path("a.TSV"), delimiter="\t")
    assert parse(["split", "a.ndjson"]).split == replace(AS_BY_DEFAULT, path=Path("a.ndjson"), format="jsonl")
    assert parse(["split", "--", "-a.txt"]).split == replace(AS_BY_DEFAULT, path=Path("-a.txt"))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "no file is named"),
        (["a.csv", "b.csv"], "unexpected argument 'b.csv'"),
        (["a.parquet"], r"nothing is known of files named \*\.parquet"),
        (["a.csv", "--size", "1", "--rows", "1"], "two ways to say one thing"),
        (["a.csv", "--rows", "0"], "expected a number of at least 1, got 0"),
        (["a.csv", "--size", "much"], "option --size: expected bytes or a size"),
        (["a.csv", "--delimiter", "::"], "option --delimiter: expected one ASCII character"),
        (["a.csv", "--quote", "é"], "option --quote: expected one ASCII character"),
        (["a.csv", "--cores", "1"], "unknown option --cores"),
    ],
)
def test_a_wrong_command_line_is_refused(words, said):
    with pytest.raises(UsageError, match=said):
        parse(["split", *words])
