"""The oracle sees each kind of damage, one at a time, in files that are otherwise right."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from tests.crash.checker import Expectation, check_finished, check_unfinished, crc32c, main

ITEMS = ("/d/a", "/d/b", "/d/c", "/d/e", "/d/f")


@pytest.fixture
def finished(tmp_path):
    """Five items: two rows, one failure, and a mini-batch of two that returned one row."""
    (tmp_path / "out.csv").write_bytes(b"item,n\na,1\nb,2\ne,5\n")
    entries = [
        {"kind": "died", "item": "/d/c"},
        {"kind": "shortfall", "candidates": ["/d/e", "/d/f"], "missing_count": 1},
    ]
    (tmp_path / "failed.jsonl").write_text("".join(json.dumps(one) + "\n" for one in entries))
    content = (tmp_path / "out.csv").read_bytes()
    receipt = {"items_in": 5, "succeeded": 3, "failed": 2, "rows_out": 3, "output_size": len(content)}
    receipt["output_checksum"] = f"crc32c:{crc32c(content):08x}"
    (tmp_path / "receipt.json").write_text(json.dumps(receipt))
    return Expectation(
        items=ITEMS,
        rows={"/d/a": ("a,1",), "/d/b": ("b,2",), "/d/e": ("e,5",)},
        failed=frozenset({"/d/c"}),
        short=frozenset({"/d/f"}),
        header="item,n",
        output=tmp_path / "out.csv",
        reference=content,
        failed_list=tmp_path / "failed.jsonl",
        receipt=tmp_path / "receipt.json",
        folders={tmp_path: r"out\.csv|failed\.jsonl|receipt\.json"},
    )


def test_files_that_are_right_pass(finished):
    assert check_finished(finished) == []


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"item,n\na,1\nb,2\nb,2\ne,5\n", "I1 b: rows [2], entries in the failed list 0"),
        (b"item,n\na,1\ne,5\n", "I1 b: rows [0], entries in the failed list 0"),
        (b"item,n\na,1\nb,\ne,5\n", "I3 torn or alien row, 1 times: 'b,'"),
        (b"item,n\na,1\nb,2\ne,5", "I3 the last row is torn: 'e,5'"),
        (b"item,n\na,1\n\nb,2\ne,5\n", "I3 empty row, 1 times: ''"),
        (b"a,1\nb,2\ne,5\n", "I3 the header is 'a,1'"),
        (b"item,n\nitem,n\na,1\nb,2\ne,5\n", "I3 torn or alien row, 1 times: 'item,n'"),
        (b"item,n\nb,2\na,1\ne,5\n", "I2 bytes differ at 7: b'b,2\\na,1\\ne,5\\n', expected b'a,1\\nb,2\\ne,5\\n'"),
        (b"item,n\na,1\nb,2\n\0\0\0\n", "I3 torn or alien row, 1 times: '\\x00\\x00\\x00'"),
        (b"", "I3 the header is ''"),
    ],
)
def test_damage_to_the_output_is_seen(finished, content, complaint):
    finished.output.write_bytes(content)
    assert complaint in [one.split(";")[0] for one in check_finished(finished)]


def test_lines_in_another_order_are_right_when_no_order_was_asked_for(finished):
    finished.output.write_bytes(b"item,n\ne,5\nb,2\na,1\n")
    anyhow = replace(finished, order="completion", receipt=None)
    assert check_finished(anyhow) == []
    finished.output.write_bytes(b"item,n\ne,5\nb,2\n")
    assert any("I2 bytes differ" in one for one in check_finished(anyhow))


@pytest.mark.parametrize(
    ("entries", "complaint"),
    [
        ([{"item": "/d/c"}, {"item": "/d/c"}], "I1 c: rows [], entries in the failed list 2"),
        ([], "I1 c: rows [], entries in the failed list 0"),
        ([{"item": "/d/a"}, {"item": "/d/c"}], "I1 a: rows [1], entries in the failed list 1"),
        ([{"item": "/d/c"}], "I1 f is a candidate of 0 shortfalls"),
        (
            [{"item": "/d/c"}, {"candidates": ["/d/e", "/d/f"], "missing_count": 2}],
            "I1 a shortfall has missing_count=2",
        ),
        (
            [{"item": "/d/c"}, *[{"candidates": ["/d/f"], "missing_count": 1}] * 2],
            "I1 f is a candidate of 2 shortfalls",
        ),
    ],
)
def test_a_failed_list_that_does_not_agree_is_seen(finished, entries, complaint):
    finished.failed_list.write_text("".join(json.dumps(one) + "\n" for one in entries))
    assert any(one.startswith(complaint) for one in check_finished(finished))


def test_a_torn_or_missing_failed_list_is_seen(finished):
    finished.failed_list.write_text('{"item": "/d/c"}\n{"ite')
    with pytest.raises(ValueError, match="Unterminated string"):
        check_finished(finished)
    finished.failed_list.unlink()
    assert "failed.jsonl is missing" in check_finished(finished)


@pytest.mark.parametrize(
    ("name", "value"),
    [("items_in", 4), ("succeeded", 4), ("failed", 1), ("rows_out", 4), ("output_size", 1), ("output_checksum", "")],
)
def test_a_receipt_that_does_not_agree_is_seen(finished, name, value):
    receipt = json.loads(finished.receipt.read_text())
    finished.receipt.write_text(json.dumps(receipt | {name: value}))
    (violation,) = check_finished(finished)
    assert violation == f"receipt: {name}={value!r}, expected {receipt[name]!r}"


def test_a_leftover_is_seen(finished):
    (finished.output.parent / "out.csv.partial").touch()
    assert check_finished(finished) == [f"leftover {finished.output.parent.name}/out.csv.partial"]


def test_the_final_name_holds_all_or_what_was_there(finished):
    assert check_unfinished(finished) == []
    finished.output.write_bytes(b"item,n\na,1\n")
    (violation,) = check_unfinished(finished)
    assert violation == "I8 out.csv has 11 bytes: it is neither complete nor nothing"
    assert check_unfinished(replace(finished, previous=b"item,n\na,1\n")) == []
    finished.output.unlink()
    assert check_unfinished(finished) == []
    (violation,) = check_unfinished(replace(finished, previous=b"old"))
    assert violation == "I8 out.csv is missing: it is neither complete nor what was there before"


def test_an_expectation_comes_from_json_too(finished, tmp_path, capsys):
    (tmp_path.parent / "reference").write_bytes(finished.reference)
    values = {
        "items": ITEMS,
        "rows": {"/d/a": ["a,1"], "/d/b": ["b,2"], "/d/e": ["e,5"]},
        "failed": ["/d/c"],
        "short": ["/d/f"],
        "header": "item,n",
        "output": str(finished.output),
        "reference": str(tmp_path.parent / "reference"),
        "failed_list": str(finished.failed_list),
        "receipt": str(finished.receipt),
        "folders": {str(tmp_path): r"out\.csv|failed\.jsonl|receipt\.json"},
    }
    path = tmp_path.parent / "expectation.json"
    path.write_text(json.dumps(values))
    assert Expectation.load(path) == finished
    assert main([str(path)]) == 0
    finished.output.write_bytes(b"item,n\n")
    assert main([str(path)]) == 1
    assert "I1 a: rows [0], entries in the failed list 0" in capsys.readouterr().out


@pytest.mark.parametrize(("data", "value"), [(b"", 0), (b"123456789", 0xE3069283), (bytes(32), 0x8A9136AA)])
def test_the_checksum_is_castagnolis(data, value):
    assert crc32c(data) == value
