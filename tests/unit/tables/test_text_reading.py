"""Pieces of CSV and JSON Lines files: the rows that were written, or an error with file, line, column and value."""

from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from unit.tables.reading import TEXT, pieces_of, scouted, whole

from batchflow.errors import TableError
from batchflow.tables.culprits import first_failing
from batchflow.tables.options import TableOptions
from batchflow.tables.reading import PieceReader
from batchflow.tables.schema import Column, Schema

CSV = TableOptions("csv")
JSONL = TableOptions("jsonl")
CHANGED = "the file may have changed since it was looked at: run again when it no longer changes"


def written(folder: Path, data: bytes | str, name: str = "t.csv") -> Path:
    path = folder / name
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


def read(path: Path, schema: dict[str, str], options: TableOptions = CSV, *, begin: int, rows: int) -> pd.DataFrame:
    """One piece from ``begin`` to the end, with a schema as if inferred."""
    columns = [Column(name, type.rstrip("?"), type.endswith("?")) for name, type in schema.items()]
    reader = PieceReader(options, Schema(tuple(columns), tuple(schema)), "pandas")
    return reader.read(str(path), begin, path.stat().st_size, rows, 0, rows)


FRAMES = st.fixed_dictionaries(
    {
        "i": st.integers(-(2**63), 2**63 - 1),
        "n": st.one_of(st.none(), st.integers(-99, 99)),
        "f": st.one_of(st.none(), st.floats(allow_nan=False)),
        "b": st.booleans(),
        "s": st.text(st.characters(codec="utf-8", exclude_characters="\0\r"), max_size=6),
        "t": st.sampled_from(["2024-01-01", "007", " x ", 'a"b', "a,b", "a\nb", "é", "1.0"]),
    }
)


@pytest.mark.fault("J1", "J4")
@settings(max_examples=60)
@given(rows=st.lists(FRAMES, min_size=1, max_size=12), size=st.integers(1, 200), seed=st.integers(0, 9))
def test_what_pandas_writes_is_read_back_in_any_pieces(tmp_path_factory, rows, size, seed):
    path = tmp_path_factory.mktemp("t") / "t.csv"
    frame = pd.DataFrame(rows)
    frame["n"] = frame["n"].astype("Int64")
    frame["f"] = frame["f"].astype("float64")
    text = frame.to_csv(index=False, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\n")
    path.write_bytes(text.encode())
    options = TableOptions(
        "csv", schema={"n": "int64?", "f": "double", "s": "string", "t": "string"}, null_values=("",)
    )
    found = whole(options, path, size=size, seed=seed)
    expected = frame.assign(s=frame["s"].astype("str"), t=frame["t"].astype("str"))
    pd.testing.assert_frame_equal(found, expected)


@settings(max_examples=60)
@given(rows=st.lists(FRAMES, min_size=1, max_size=12), size=st.integers(1, 200), seed=st.integers(0, 9))
def test_what_json_writes_is_read_back_in_any_pieces(tmp_path_factory, rows, size, seed):
    path = tmp_path_factory.mktemp("t") / "t.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    options = TableOptions("jsonl", schema={"n": "int64?", "f": "double"})
    found = whole(options, path, size=size, seed=seed)
    frame = pd.DataFrame(rows)
    expected = frame.assign(n=frame["n"].astype("Int64"), f=frame["f"].astype("float64"))
    expected = expected.assign(s=frame["s"].astype("str"), t=frame["t"].astype("str"))
    pd.testing.assert_frame_equal(found, expected)


def test_types_in_pandas(tmp_path):
    path = written(
        tmp_path,
        "i,n,f,b,m,s\n1,,1.5,true,,x\n-2,3,,False,True,\n",
    )
    frame = whole(CSV, path)
    assert [str(type) for type in frame.dtypes] == ["int64", "Int64", "float64", "bool", "boolean", TEXT]
    assert frame["i"].tolist() == [1, -2]
    assert frame["n"].tolist() == [pd.NA, 3]
    assert frame["f"][0] == 1.5 and np.isnan(frame["f"][1])
    assert frame["b"].tolist() == [True, False]
    assert frame["m"].tolist() == [pd.NA, True]
    assert frame["s"][0] == "x" and pd.isna(frame["s"][1])
    assert list(frame.columns) == ["i", "n", "f", "b", "m", "s"]


def test_text_is_of_the_type_that_pandas_reads(tmp_path):
    path = written(tmp_path, "s,t\nx,y\n,z\n")
    assert whole(CSV, path).dtypes.equals(pd.read_csv(path).dtypes)


@pytest.mark.parametrize("kind", ["pandas", "arrow"])
def test_a_frame_can_be_changed_in_place(tmp_path, kind):
    path = written(tmp_path, "i,f,b,s\n1,1.5,true,x\n2,2.5,false,y\n")
    schema, (piece,) = pieces_of(CSV, path)
    frame = PieceReader(CSV, schema, kind).read(*piece, 0, 2)
    if kind == "arrow":
        assert frame.to_pydict() == {"i": [1, 2], "f": [1.5, 2.5], "b": [True, False], "s": ["x", "y"]}
        return
    frame.loc[0, "i"] = 9
    frame.loc[0, "f"] = 9.5
    frame.loc[0, "b"] = False
    frame.loc[0, "s"] = "z"
    frame["i"].to_numpy(copy=True)[0] = 1
    assert frame.loc[0].tolist() == [9, 9.5, False, "z"]


@pytest.mark.fault("J5")
@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("1,2\n3\n4,5\n", "t.csv:2 (byte 4): expected 2 fields, got 1"),
        ("1,2\n3,4\n5,6,7\n", "t.csv:3 (byte 8): expected 2 fields, got 3"),
        ("1,2\n3,x\n", "t.csv:2 (byte 4): column 'b': expected int64, got 'x'"),
        ('1,2\n\n\r\n3,"x\ny"\n', "t.csv:4 (byte 7): column 'b': expected int64, got 'x\\ny'"),
        ("1,2\n3,\n", "t.csv:2 (byte 4): column 'b': a value is missing, and int64 has none that says so"),
        ("1,2\n3,04\n", "t.csv:2 (byte 4): column 'b': expected int64, got '04'"),
        ("1,2\r3, 4\r", "t.csv:2 (byte 4): column 'b': expected int64, got ' 4'"),
        ("1,2\n3," + "9" * 200 + "\n", f"t.csv:2 (byte 4): column 'b': expected int64, got '{'9' * 100}…'"),
        ("1,2\n3,\x004\n", "t.csv:2 (byte 6): a NUL byte"),
    ],
)
def test_a_record_that_does_not_fit_is_named(tmp_path, data, message):
    path = written(tmp_path, data)
    rows = len([row for row in csv.reader(data.replace("\x00", "").splitlines()) if row])
    if '"' in data:
        rows = 2
    with pytest.raises(TableError) as caught:
        read(path, {"a": "int64", "b": "int64"}, begin=0, rows=rows)
    assert caught.value.message == f"{tmp_path}/{message}"


def test_the_cure_is_named(tmp_path):
    path = written(tmp_path, "1,x\n,y\n")
    with pytest.raises(TableError) as caught:
        read(path, {"a b": "int64", "c": "string"}, begin=0, rows=2)
    assert caught.value.hint == 'declare it: schema = { "a b" = "int64?" }'
    with pytest.raises(TableError) as caught:
        read(path, {"a": "int64?", "c": "bool"}, begin=0, rows=2)
    assert caught.value.hint == 'correct the file, or declare another type: schema = { c = "string" }'


@pytest.mark.fault("J11")
def test_bytes_that_are_not_utf8_are_named(tmp_path):
    path = written(tmp_path, b"1,x\n2,caf\xe9\n")
    with pytest.raises(TableError) as caught:
        read(path, {"a": "int64", "b": "string"}, begin=0, rows=2)
    assert caught.value.message == f"{path}:2 (byte 4): column 'b': not valid utf-8: 'caf\\\\xe9'"
    assert caught.value.hint.endswith('encoding = "latin-1", or another')
    latin = TableOptions("csv", encoding="latin-1")
    assert read(path, {"a": "int64", "b": "string"}, latin, begin=0, rows=2)["b"].tolist() == ["x", "café"]


def test_the_first_of_several_is_named_wherever_the_piece_begins(tmp_path):
    path = written(tmp_path, "h\n" + "1\n" * 1000 + "x\n" + "2\n" * 500 + "y\n")
    with pytest.raises(TableError, match=r"t\.csv:1002 \(byte 2002\): column 'h': expected int64, got 'x'"):
        read(path, {"h": "int64"}, begin=1002, rows=1002)


@pytest.mark.fault("J19")
def test_a_file_that_has_changed_is_noticed(tmp_path):
    path = written(tmp_path, "1,2\n3,4\n")
    reader = PieceReader(CSV, Schema((Column("a", "int64", False), Column("b", "int64", False)), ("a", "b")), "pandas")
    for args, message in (
        ((0, 12, 3, 0, 3), f"{path}: 12 bytes were there before, now 8 are"),
        ((0, 8, 3, 0, 3), f"{path}:1 (byte 0): rows up to byte 8: 3 were found before, now 2 are read"),
        ((0, 8, 3, 2, 1), f"{path}:1 (byte 0): expected 3 records in the piece, found 2"),
    ):
        with pytest.raises(TableError) as caught:
            reader.read(str(path), *args)
        assert (caught.value.message, caught.value.hint) == (message, CHANGED)
    path.write_bytes(b"1,2\n3,4\n5,6\n")  # what was added belongs to no piece
    assert reader.read(str(path), 0, 8, 2, 0, 2)["a"].tolist() == [1, 3]
    path.unlink()
    with pytest.raises(TableError, match=r"t\.csv: No such file or directory$"):
        reader.read(str(path), 0, 8, 2, 0, 2)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b'{"a": 1.5}', "column 'a': expected int64, got '1.5'"),
        (b'{"a": "x"}', "column 'a': expected int64, got '\"x\"'"),
        (b'{"a": null}', "column 'a': a value is missing, and int64 has none that says so"),
        (b"{}", "column 'a': a value is missing, and int64 has none that says so"),
        (b'{"a": 1, "c": 2}', "keys that no row of the sample has: 'c'"),
        (b'{"a": 1, "f": 9007199254740993}', "column 'f': expected double, got '9007199254740993'"),
        (b"[1]", "expected an object, got an array"),
        (b"null", "expected an object, got null"),
        (b"{'a': 1}", "not valid JSON: Expecting property name enclosed in double quotes: line 1 column 2 (char 1)"),
        (b'{"a": 1}{"a": 2}', "not valid JSON: Extra data: line 1 column 9 (char 8)"),
        (b'{"a": 99999999999999999999}', "column 'a': expected int64, got '99999999999999999999'"),
        (
            b'{"a": 1, "s": "\xff"}',
            "not valid JSON: 'utf-8' codec can't decode byte 0xff in position 15: invalid start byte",
        ),
        (
            b'\xef\xbb\xbf{"a": 1}',
            "not valid JSON: Unexpected UTF-8 BOM (decode using utf-8-sig): line 1 column 1 (char 0)",
        ),
    ],
)
def test_a_line_that_does_not_fit_is_named(tmp_path, line, message):
    data = b'{"a": 1}\n\n' + line + b'\n {"a": 3, "f": 1}\n'
    path = written(tmp_path, data, "t.jsonl")
    schema = {"a": "int64", "f": "double", "s": "string"}
    with pytest.raises(TableError) as caught:
        read(path, schema, JSONL, begin=0, rows=3)
    assert caught.value.message == f"{path}:3 (byte 10): {message}"
    path.write_bytes(data[10:])
    with pytest.raises(TableError) as caught:
        read(path, schema, JSONL, begin=0, rows=2)
    assert caught.value.message == f"{path}:1 (byte 0): {message}"


def test_keys_that_are_not_declared_are_left_out(tmp_path):
    path = written(
        tmp_path, b'{"a": 1, "o": {"x": 1}}\n{"b": "x", "a": 2, "o": {"x": 2, "y": 3}, "c": [1]}\n', "t.jsonl"
    )
    options = TableOptions("jsonl", columns=("o", "a"), sample_rows=1)
    assert whole(options, path, rows=1).to_dict("list") == {"o": [{"x": 1}, {"x": 2}], "a": [1, 2]}
    schema, pieces = pieces_of(TableOptions("jsonl", sample_rows=1), path, rows=1)
    with pytest.raises(TableError, match=r"t\.jsonl:2 .*keys that no row of the sample has: 'b', 'c'$"):
        PieceReader(JSONL, schema, "pandas").read(*pieces[1], 0, 1)


def test_objects_that_do_not_lie_one_to_a_line_are_refused(tmp_path):
    # As many objects as lines, and an object over two of them: pyarrow alone takes it.
    path = written(tmp_path, b'{"a":\n1}{"a": 2}\n', "t.jsonl")
    with pytest.raises(TableError, match=r"t\.jsonl:1 \(byte 0\): not valid JSON"):
        read(path, {"a": "int64"}, JSONL, begin=0, rows=2)


def test_a_hundred_thousand_short_lines_are_read(tmp_path):
    path = written(tmp_path, b'{"a":1}\n' * 150_000, "t.jsonl")
    assert read(path, {"a": "int64"}, JSONL, begin=0, rows=150_000)["a"].sum() == 150_000


def test_lines_with_blanks_around_are_read(tmp_path):
    path = written(tmp_path, b' {"a": 1} \r\n\n\t{"a": 2}\n   \n{"a": 3}', "t.jsonl")
    assert whole(JSONL, path, size=1)["a"].tolist() == [1, 2, 3]


@pytest.mark.fault("J20")
@pytest.mark.parametrize("suffix", [".gz", ".zst"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_compressed_files_are_one_piece_each(tmp_path, suffix, mark):
    text = mark + b'a,b\n1,"x\ny"\n2,z\n'
    halves = [text[:9], text[9:]]
    if suffix == ".gz":
        data = b"".join(map(gzip.compress, halves))
    else:
        data = b"".join(pa.compress(half, "zstd", asbytes=True) for half in halves)
    path = written(tmp_path, data, f"t.csv{suffix}")
    _, pieces = pieces_of(CSV, path, size=1)
    assert [piece[3] for piece in pieces] == [2]
    for seed in range(4):
        assert whole(CSV, path, size=1, seed=seed).to_dict("list") == {"a": [1, 2], "b": ["x\ny", "z"]}


def test_errors_in_compressed_files_have_the_lines_of_the_text(tmp_path):
    path = written(tmp_path, gzip.compress(b"a\n1\n2\nx\n"), "t.csv.gz")
    with pytest.raises(TableError, match=r"t\.csv\.gz:4 \(byte 6\): column 'a': expected int64, got 'x'"):
        reader = PieceReader(CSV, Schema((Column("a", "int64", False),), ("a",)), "pandas")
        reader.read(str(path), 2, 8, 3, 0, 3)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data: data[:-6], "damaged or cut off"),
        (lambda data: data[:-5] + b"\0" + data[-4:], "CRC check failed|damaged"),
        (lambda data: data + gzip.compress(b"9\n"), "8 bytes of text were in it before, now there are more"),
        (lambda data: gzip.compress(b"a\n1\n"), "8 bytes of text were in it before, now 4 are"),
    ],
)
def test_a_damaged_or_other_compressed_file_is_refused(tmp_path, damage, message):
    path = written(tmp_path, damage(gzip.compress(b"a\n1\n2\n3\n")), "t.csv.gz")
    reader = PieceReader(CSV, Schema((Column("a", "int64", False),), ("a",)), "pandas")
    with pytest.raises(TableError, match=message):
        reader.read(str(path), 2, 8, 3, 0, 3)


def test_the_first_failing():
    for count in range(1, 20):
        for bad in ({count - 1}, {0}, {count // 2}, {0, count - 1}, {count // 3, count // 2}):

            def fails(begin, end, bad=bad):
                return any(begin <= one < end for one in bad)

            assert first_failing(fails, count) == min(bad)
        assert first_failing(lambda begin, end: False, count) is None


@pytest.mark.fault("J13")
def test_numbers_that_no_double_is_equal_to_stay_as_they_are(tmp_path):
    path = written(tmp_path, "a,b,c,d,e\n9007199254740993,007,1e400,2024-01-31,NA\n1,010,1,x,1\n")
    assert whole(CSV, path).to_dict("list") == {
        "a": [9007199254740993, 1],
        "b": ["007", "010"],
        "c": ["1e400", "1"],
        "d": ["2024-01-31", "x"],
        "e": [None, 1],
    }


def test_one_schema_whichever_file_a_piece_is_of(tmp_path):
    first = written(tmp_path, "x,y\n1,a\n2,b\n", "1.csv")
    second = written(tmp_path, "x,y\n1.5,c\n,\n", "2.csv")
    third = written(tmp_path, "x,y\n", "3.csv")
    frame = whole(CSV, first, second, third, rows=1)
    assert [str(type) for type in frame.dtypes] == ["float64", TEXT]
    assert frame["x"].tolist()[:3] == [1.0, 2.0, 1.5]


@pytest.mark.fault("J12")
def test_a_hundred_thousand_columns(tmp_path):
    names = ",".join(f"c{k}" for k in range(100_000))
    path = written(tmp_path, f"{names}\n{','.join(['1'] * 100_000)}\n{','.join(['x'] * 100_000)}\n")
    columns = ("c0", "c99999")
    found = whole(TableOptions("csv", columns=columns), path, rows=1)
    assert found.to_dict("list") == {"c0": ["1", "x"], "c99999": ["1", "x"]}


@pytest.mark.fault("J7")
def test_a_field_of_ten_megabytes(tmp_path):
    field = "x" * (10 << 20)
    path = written(tmp_path, f'a,b\n1,"{field}"\n2,y\n')
    assert [len(text) for text in whole(CSV, path, rows=1)["b"]] == [10 << 20, 1]


@pytest.mark.fault("J9")
def test_files_without_rows_say_nothing(tmp_path):
    paths = [written(tmp_path, data, f"{k}.csv") for k, data in enumerate(["", "\n\n", "a,b\n", "a,b\n1,x\n"])]
    assert whole(CSV, *paths).to_dict("list") == {"a": [1], "b": ["x"]}
    empty = scouted(CSV, *paths[:2])
    assert empty == {"schema": {"columns": [], "names": []}, "pieces": [], "warnings": []}
