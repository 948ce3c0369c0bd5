"""Bombs are refused before a parser sees them, after a bounded amount of work."""

from __future__ import annotations

from pathlib import Path

import pytest
import tomli
from hypothesis import given
from hypothesis import strategies as st
from unit.workflow.workflow_files import STEP, refused

from batchflow.workflow import limits

BOMBS = [
    ("long dotted key", ".".join("a" * 40_000) + " = 1\n", 1, 33, "a key of more than 16 parts"),
    ("long header", "[" + ".".join("a" * 40_000) + "]\n", 1, 34, "a key of more than 16 parts"),
    ("spaced key", "x = 1\n" + " . ".join(["a"] * 17) + " = 1\n", 2, 65, "a key of more than 16 parts"),
    ("quoted key", ".".join(['"a.b"'] * 17) + " = 1\n", 1, 97, "a key of more than 16 parts"),
    ("brackets", "x = " + "[" * 500 + "]" * 500 + "\n", 1, 37, "more than 32 brackets"),
    ("braces", "x = " + "{a=" * 500 + "1" + "}" * 500 + "\n", 1, 101, "more than 32 brackets"),
    ("long integer", "x = " + "9" * 5000 + "\n", 1, 5, "a number of more than 100 digits"),
    ("long fraction", "x = 1." + "9" * 5000 + "\n", 1, 7, "a number of more than 100 digits"),
]


@pytest.mark.fault("K9", "K10", "K11", "S1")
@pytest.mark.parametrize(("name", "text", "line", "column", "message"), BOMBS, ids=[bomb[0] for bomb in BOMBS])
def test_a_bomb_never_reaches_the_parser(
    name: str, text: str, line: int, column: int, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tomli, "loads", lambda text: pytest.fail("parsed"))
    error = refused(tmp_path, text + STEP)
    found = error.diagnostics[0]
    assert found.position is not None
    assert (found.code, found.position.line, found.position.column) == ("BF003", line, column)
    assert message in found.message
    assert len(str(error)) < 1000


@pytest.mark.fault("K10")
def test_the_scan_of_a_long_key_stops_at_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    steps = []
    skip = limits._skip
    monkeypatch.setattr(limits, "_skip", lambda *arguments: steps.append(1) or skip(*arguments))
    with pytest.raises(limits.LimitError, match="16 parts"):
        limits.scan(".".join("a" * 40_000))
    assert len(steps) == 33  # 17 parts and the 16 dots between them


def test_the_scan_takes_every_character_once(monkeypatch: pytest.MonkeyPatch) -> None:
    ends = []
    skip = limits._skip
    monkeypatch.setattr(limits, "_skip", lambda *arguments: ends.append(skip(*arguments)) or ends[-1])
    limits.scan('a = """' + '\\"' * 1000 + '"""\n' + "b = '''" + "''x" * 1000 + "'''\nc = \"" + "\\\\" * 1000 + '"\n')
    assert len(ends) < 30
    assert ends == sorted(set(ends))


def test_tables_nested_by_keys_are_refused_too(tmp_path: Path) -> None:
    key = ".".join("a" * 16)
    error = refused(tmp_path, f"{key} = {{ {key} = {{ {key} = 1 }} }}\n" + STEP)
    assert error.diagnostics[0].code == "BF003"
    assert "tables more than 32 deep" in error.diagnostics[0].message


@pytest.mark.fault("K8", "S1")
def test_a_file_of_a_gigabyte_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "workflow.toml"
    with path.open("wb") as file:
        file.truncate(1 << 30)
    monkeypatch.setattr(limits, "scan", lambda text: pytest.fail("scanned"))
    from batchflow.workflow import WorkflowFileError, load_workflow

    with pytest.raises(WorkflowFileError, match="the file is larger than 16 MiB"):
        load_workflow(path, environ={})


@pytest.mark.fault("K7")
@pytest.mark.parametrize(
    ("data", "line", "column", "message"),
    [
        (b"\xef\xbb\xbfname = 'x'\n", 1, 1, "the file begins as a byte order mark"),
        ("name = 'x'\n".encode("utf-16"), 1, 1, "the file begins as UTF-16"),
        ("name = 'x'\n".encode("utf-16-le"), 1, 2, "a NUL character"),
        (b"a = 1\nb = '\xc3\xa9\xff'\n", 2, 7, "invalid UTF-8: byte 0xff"),
        (b"a = 1\nb = '\x00'\n", 2, 6, "a NUL character"),
        (b"a = 1\nb = '\xed\xa0\x80'\n", 2, 6, "invalid UTF-8: byte 0xed"),
    ],
)
def test_what_is_not_utf8_text_is_one_error(data: bytes, line: int, column: int, message: str, tmp_path: Path) -> None:
    error = refused(tmp_path, data)
    assert len(error.diagnostics) == 1
    found = error.diagnostics[0]
    assert found.position is not None
    assert (found.code, found.position.line, found.position.column) == ("BF002", line, column)
    assert message in found.message


def test_a_device_or_a_folder_is_never_opened(tmp_path: Path) -> None:
    import os

    from batchflow.workflow import WorkflowFileError, load_workflow

    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(WorkflowFileError, match="is not a regular file"):
        load_workflow(tmp_path / "pipe", environ={})
    with pytest.raises(WorkflowFileError, match="no such file or directory"):
        load_workflow(tmp_path / "none.toml", environ={})


@pytest.mark.parametrize(
    "text",
    [
        "x = " + "[" * 32 + "]" * 32,
        ".".join("a" * 16) + " = 1",
        "x = " + "9" * 100,
        "x = '" + "[" * 99 + "'",
        'x = "' + 'a.\\"' * 99 + '"',
        'x = """' + "[[[\n" * 99 + '"""',
        "x = '''" + "a.b.\n''" * 99 + "'''",
        "# " + "[" * 99 + "." * 99,
        "x = 1979-05-27T07:32:00.999999-07:00",
        "x = [" + "1.5, " * 99 + "]",
        'x = """a""""\ny = """b"""""',
        "'a' . \"b\" . c = 1",
    ],
)
def test_what_only_looks_like_a_bomb_passes(text: str) -> None:
    limits.scan(text)


@given(st.text(alphabet="a.[]{}\"'\\#\n =1-\t,\u00e9", max_size=60))
def test_the_scan_of_any_text_ends_in_passing_or_a_limit(text: str) -> None:
    limits.scan(text)
