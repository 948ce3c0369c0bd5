"""The scout: one schema for all files, pieces of those that the driver cannot split, and errors as data."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pytest
from unit.tables.reading import scouted

from batchflow.tables import scout_text
from batchflow.tables.options import TableOptions
from batchflow.tables.scout import scout

CSV = TableOptions("csv")
JSONL = TableOptions("jsonl")


def written(folder: Path, data: bytes | str, name: str = "t.csv") -> Path:
    path = folder / name
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


def types(found: dict) -> dict[str, str]:
    assert "error" not in found, found
    return {c["name"]: c["type"] + ("?" if c["nullable"] else "") for c in found["schema"]["columns"]}


def test_it_says_which_file_it_looks_at(tmp_path):
    paths = [str(written(tmp_path, "a\n1\n", f"{k}.csv")) for k in range(2)]
    said: list[str] = []
    scout({"options": CSV.as_json(), "paths": paths, "size": 0, "rows": 0}, said.append)
    assert [json.loads(line) for line in said] == [{"path": path} for path in paths]


def test_a_name_that_is_not_utf8(tmp_path):
    path = str(tmp_path) + "/\udcff.csv"
    with open(path, "w") as file:
        file.write("a\n1\n")
    job = json.loads(json.dumps({"options": CSV.as_json(), "paths": [path], "size": 0, "rows": 0}))
    assert types(scout(job, lambda line: None)) == {"a": "int64"}


def test_the_types_are_those_of_all_files(tmp_path):
    one = written(tmp_path, "i,f,m,t\n1,1,,1\n", "1.csv")
    two = written(tmp_path, "i,f,m,t\n2,1.5,3,x\n", "2.csv")
    for paths in ((one, two), (two, one)):
        assert types(scouted(CSV, *paths)) == {"i": "int64", "f": "double", "m": "int64?", "t": "string"}
    assert scouted(CSV, one)["schema"]["names"] == ["i", "f", "m", "t"]


def test_types_that_are_given_are_not_inferred(tmp_path):
    path = written(tmp_path, "i,f,t\n1,1,2024-01-31\n")
    options = TableOptions("csv", schema={"i": "string", "f": "int64?", "t": "date32[day]"})
    assert types(scouted(options, path)) == {"i": "string", "f": "int64?", "t": "date32[day]"}
    assert all(column["is_given"] for column in scouted(options, path)["schema"]["columns"])


@pytest.mark.parametrize(
    ("options", "error", "hint"),
    [
        ({"schema": {"prcie": "int64"}}, "`schema`: there is no column 'prcie'", "did you mean 'price'?"),
        ({"schema": {"x": "int64"}}, "`schema`: there is no column 'x'", "the columns are 'store', 'price'"),
        ({"columns": ("Price",)}, "`columns`: there is no column 'Price'", "did you mean 'price'?"),
        ({"schema": {"price": "int"}}, "`schema`: column 'price': 'int' is no type", 'for example "int64", '),
        ({"schema": {"price": "list<item: int64>"}}, "`schema`: column 'price': list<item: int64>: ", None),
    ],
)
def test_names_and_types_that_do_not_exist(tmp_path, options, error, hint):
    found = scouted(TableOptions("csv", **options), written(tmp_path, "store,price\na,1\n"))
    assert found["error"].startswith(error)
    assert (found["hint"] or "").startswith(hint or "")


@pytest.mark.fault("J10")
def test_headers_that_differ_are_refused_with_the_difference(tmp_path):
    one = written(tmp_path, "a,b\n1,2\n", "1.csv")
    two = written(tmp_path, "b,a\n1,2\n", "2.csv")
    empty = written(tmp_path, "", "0.csv")
    found = scouted(CSV, empty, one, two)
    assert found["error"] == (
        f"{two} has another header than {one}: it has the same names in another order ('b', 'a' instead of 'a', 'b')"
    )
    assert "same columns in the same order" in found["hint"]


def test_without_a_header_columns_are_numbered(tmp_path):
    options = TableOptions("csv", header=False)
    path = written(tmp_path, "1,x\n2,y\n")
    assert types(scouted(options, path)) == {"0": "int64", "1": "string"}


def test_only_the_sample_counts(tmp_path):
    path = written(tmp_path, "a\n" + "1\n" * 5 + "x\n")
    assert types(scouted(TableOptions("csv", sample_rows=5), path)) == {"a": "int64"}
    assert types(scouted(TableOptions("csv", sample_rows=6), path)) == {"a": "string"}


@pytest.mark.parametrize("cut", range(1, 40))
def test_a_sample_is_of_whole_records_whatever_is_read_at_once(tmp_path, monkeypatch, cut):
    monkeypatch.setattr(scout_text, "_SAMPLE_SIZE", cut)
    monkeypatch.setattr(scout_text, "_SAMPLE_SIZE_MAX", 2 * cut)
    path = written(tmp_path, 'a,b\n"1\n",truth\r\n"",true\n\n"x""y",true\n')
    whole = b'"1\n",truth\r\n"",true\n\n"x""y",true\n'
    sample = scout_text.sample_of(str(path), CSV)
    assert whole.startswith(sample)
    assert sample in (b"", whole[:12], whole[:21], whole[:20], whole) or sample.endswith(b"\n")
    assert scout_text.CsvParser(CSV, scout_text.Schema((), ("a", "b"))).sample(sample or b"\n", "ab").num_rows <= 3
    monkeypatch.setattr(scout_text, "_SAMPLE_SIZE_MAX", 1 << 20)
    assert scout_text.sample_of(str(path), CSV) == whole


def test_records_of_another_length_do_not_hide_types(tmp_path):
    path = written(tmp_path, "a,b\n1,2\nx\n3,4,5\n6,7\n")
    assert types(scouted(CSV, path)) == {"a": "int64", "b": "int64"}


def test_json_types(tmp_path):
    lines = [
        {"i": 1, "f": 1, "s": "x", "b": True, "l": [1, 2.5], "o": {"a": [], "b": "x"}, "n": None, "e": {}},
        {"i": 2, "f": 0.5, "s": None, "b": False, "l": [], "o": {"a": ["y"], "c": 1}, "e": None},
    ]
    path = written(tmp_path, "".join(json.dumps(line) + "\n" for line in lines), "t.jsonl")
    assert types(scouted(JSONL, path)) == {
        "i": "int64",
        "f": "double",
        "s": "string?",
        "b": "bool",
        "l": "list<item: double>",
        "o": "struct<a: list<item: string>, b: string, c: int64>",
        "n": "string?",
        "e": "struct<>?",
    }


def test_a_key_that_only_some_rows_or_files_have_is_nullable(tmp_path):
    one = written(tmp_path, '{"a": 1}\n{"a": 1, "b": 1}\n', "1.jsonl")
    two = written(tmp_path, '{"b": 1, "c": 1}\n', "2.jsonl")
    assert types(scouted(JSONL, one)) == {"a": "int64", "b": "int64?"}
    assert types(scouted(JSONL, one, two)) == {"a": "int64?", "b": "int64?", "c": "int64?"}


@pytest.mark.parametrize(
    ("lines", "error"),
    [
        (['{"x": 1}', '{"x": "a"}'], "column 'x' holds numbers and strings: no type of a column holds them all"),
        (['{"x": true}', '{"x": [1]}'], "column 'x' holds true or false and arrays"),
        (['{"x": {"a": {}}}', '{"x": {"a": 1}}'], "column 'x'.a holds numbers and objects"),
        (['{"x": [[1], ["a"]]}'], "column 'x'[][] holds numbers and strings"),
        (['{"x": 99999999999999999999}'], "column 'x' holds integers beyond 64 bits"),
        (['{"x": 9007199254740993}', '{"x": 0.5}'], "column 'x' holds fractions, and integers that no double is equal"),
        (['{"x": {"a,b": 1}}'], "column 'x': a key 'a,b' inside of an object"),
    ],
)
@pytest.mark.fault("J13")
def test_values_of_which_there_is_no_type_are_named(tmp_path, lines, error):
    paths = [written(tmp_path, line + "\n", f"{k}.jsonl") for k, line in enumerate(lines)]
    found = scouted(JSONL, *paths)
    assert found["error"].startswith(error)
    assert "`columns`" in found["hint"]
    whole = written(tmp_path, "\n".join(lines), "whole.jsonl")
    assert scouted(JSONL, whole)["error"] == found["error"]
    rest = written(tmp_path, "\n".join(line[:-1] + ', "y": 1}' for line in lines), "rest.jsonl")
    assert types(scouted(TableOptions("jsonl", columns=("y",)), rest)) == {"y": "int64"}


def test_types_that_are_not_read_from_json(tmp_path):
    path = written(tmp_path, '{"x": "2024-01-31"}\n', "t.jsonl")
    found = scouted(TableOptions("jsonl", schema={"x": "date32[day]"}), path)
    assert found["error"] == "`schema`: column 'x': date32[day] is not read from JSON"
    assert types(scouted(TableOptions("jsonl", schema={"x": "timestamp[us]"}), path)) == {"x": "timestamp[us]"}


def test_lines_that_are_no_objects_say_nothing(tmp_path):
    path = written(tmp_path, b'{"a": 1}\n[1]\nx\n{"a": \xff}\n{"a": 2}\n', "t.jsonl")
    assert types(scouted(JSONL, path)) == {"a": "int64"}


@pytest.mark.fault("J20")
def test_pieces_of_compressed_files_are_their_whole_text(tmp_path):
    one = written(tmp_path, gzip.compress(b"\xef\xbb\xbfa,b\n1,x\n2,y\n"), "1.csv.gz")
    two = written(tmp_path, pa.compress(b"a,b\n", "zstd", asbytes=True), "2.csv.zst")
    three = written(tmp_path, "a,b\n3,z\n", "3.csv")
    found = scouted(CSV, one, two, three, size=1)
    assert found["pieces"] == [[0, 7, 15, 2]]
    assert types(found) == {"a": "int64", "b": "string"}


@pytest.mark.fault("J8", "J20")
@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b'a\n1\n"x', "cannot split {path}: the quote at line 3 (byte 4) is never closed"),
        (b"a\n1\0\n", "cannot split {path}: there is a NUL byte at line 2 (byte 3)"),
    ],
)
def test_compressed_files_are_refused_as_others_are(tmp_path, data, error):
    path = written(tmp_path, gzip.compress(data), "t.csv.gz")
    assert scouted(CSV, path)["error"] == error.format(path=path)


def test_a_bare_quote_in_a_compressed_file_is_warned_of(tmp_path):
    path = written(tmp_path, gzip.compress(b'a\nx"y\n'), "t.csv.gz")
    (warning,) = scouted(CSV, path)["warnings"]
    assert warning.startswith(f"{path}: a quote in a field that does not begin with one, at line 2 (byte 3)")


@pytest.mark.parametrize("damage", [lambda data: data[:-3], lambda data: b"x" + data, lambda data: data + b"x"])
@pytest.mark.parametrize("suffix", ["gz", "zst"])
def test_damaged_compressed_files_are_refused(tmp_path, damage, suffix):
    text = b"a\n" + b"1\n" * 100
    data = gzip.compress(text) if suffix == "gz" else pa.compress(text, "zstd", asbytes=True)
    path = written(tmp_path, damage(data), f"t.csv.{suffix}")
    assert scouted(CSV, path)["error"].startswith(f"cannot read {path}: ")


@pytest.mark.fault("J17")
def test_a_file_that_unpacks_to_more_than_can_be_read_at_once_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(scout_text, "PIECE_SIZE_MAX", 1 << 20)
    monkeypatch.setattr(scout_text, "_COPY_SIZE", 1 << 16)
    path = written(tmp_path, gzip.compress(b"a\n" + b"1\n" * (50 << 20)), "t.csv.gz")
    found = scouted(CSV, path)
    assert found["error"].startswith(f"{path} unpacks to more than 1,048,576 bytes: it cannot be split")
    assert found["hint"] == "unpack it"


def test_a_file_that_is_not_there(tmp_path):
    for name, format in (("x.csv", "csv"), ("x.csv.gz", "csv"), ("x.parquet", "parquet"), ("x.arrow", "arrow")):
        error = scouted(TableOptions(format), tmp_path / name)["error"]
        assert error.startswith(f"cannot read {tmp_path / name}") and "No such file" in error


@pytest.mark.fault("J18")
def test_a_pyarrow_that_runs_code_from_files_is_not_used(tmp_path, monkeypatch):
    monkeypatch.setattr(pa, "__version__", "14.0.0")
    found = scouted(TableOptions("parquet"), tmp_path / "x.parquet")
    assert found["error"].startswith("pyarrow 14.0.0 can be made to run code")
