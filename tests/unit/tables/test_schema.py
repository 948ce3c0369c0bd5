"""Schemas as JSON, types as text, and how the columns of files differ."""

from __future__ import annotations

import json

import pyarrow as pa
import pytest

from batchflow.errors import DatasetError
from batchflow.tables.arrow_floor import require_safe_arrow
from batchflow.tables.schema import (
    Column,
    Schema,
    given_type,
    header_difference,
    listed,
    suggestion,
    type_differences,
)
from batchflow.tables.types import can_be_named, type_of


def test_a_schema_survives_json():
    schema = Schema((Column("x", "int64", False), Column("é\n", "decimal128(5, 2)", is_given=True)), ("a", "x", "é\n"))
    assert Schema.from_json(json.loads(json.dumps(schema.as_json()))) == schema


@pytest.mark.parametrize("text", ["int64", " int64 ", "int64?", "int64 ?"])
def test_a_question_mark_makes_a_type_nullable(text):
    assert given_type(text) == ("int64", "?" in text)


@pytest.mark.parametrize(
    "type",
    [
        *(pa.int8(), pa.uint64(), pa.float32(), pa.float64(), pa.bool_(), pa.string(), pa.large_string(), pa.binary()),
        *(
            pa.timestamp("us"),
            pa.timestamp("ns", "UTC"),
            pa.timestamp("s", "Europe/Berlin"),
            pa.timestamp("ms", "+01:00"),
        ),
        *(pa.date32(), pa.date64(), pa.time32("ms"), pa.time64("us"), pa.duration("s"), pa.null()),
        *(pa.decimal128(10, 2), pa.decimal256(50, 0), pa.decimal128(5, -2)),
        *(pa.list_(pa.int64()), pa.list_(pa.list_(pa.string())), pa.struct([]), pa.struct([("a", pa.int64())])),
        pa.list_(pa.struct([("a", pa.decimal128(10, 2)), ("b c", pa.list_(pa.timestamp("us", "UTC")))])),
    ],
    ids=str,
)
def test_the_text_of_a_type_is_that_type(type):
    assert type_of(str(type)) == type


@pytest.mark.parametrize(
    "text", ["", "int", "int64?", "decimal128", "decimal128(2)", "list<", "list<item: x>", "struct<a>"]
)
def test_what_is_no_type_is_refused(text):
    with pytest.raises(ValueError):
        type_of(text)


def test_names_that_can_stand_in_a_type():
    assert [name for name in ("a", "a b", "é", "", " a", "a,b", "a:b", "<", ">") if can_be_named(name)] == [
        "a",
        "a b",
        "é",
    ]


@pytest.mark.fault("J10")
@pytest.mark.parametrize(
    ("names", "difference"),
    [
        (["a", "b", "c"], ""),
        (["a", "b"], "it lacks 'c' ('a', 'b' instead of 'a', 'b', 'c')"),
        (["a", "b", "c", "d"], "it has 'd' besides ('a', 'b', 'c', 'd' instead of 'a', 'b', 'c')"),
        (["a", "B", "c"], "it lacks 'b' and it has 'B' besides ('a', 'B', 'c' instead of 'a', 'b', 'c')"),
        (["c", "b", "a"], "it has the same names in another order ('c', 'b', 'a' instead of 'a', 'b', 'c')"),
    ],
)
def test_headers_that_differ(names, difference):
    assert header_difference(["a", "b", "c"], names) == difference


@pytest.mark.fault("J16")
def test_schemas_that_differ():
    expected = {"a": "int64", "b": "string", "c": "double"}
    assert type_differences(expected, {"c": "double", "b": "string", "a": "int64"}) == ""
    assert type_differences(expected, {"a": "double", "b": "string", "d": "bool"}) == (
        "column 'a' is double instead of int64 and it lacks 'c' and it has 'd' besides"
    )


def test_only_the_first_of_many_names_are_listed():
    assert listed("ab") == "'a', 'b'"
    assert listed(map(str, range(100_000))).endswith("'19' and 99980 more")


def test_a_name_like_another_is_suggested():
    assert suggestion("prcie", ["price", "store"]) == "did you mean 'price'?"
    assert suggestion("xyz", ["price", "store"]) is None


@pytest.mark.fault("J18", "S27")
@pytest.mark.parametrize("version", ["14.0.0", "14", "13.0.0", "0.17.1"])
def test_a_pyarrow_that_runs_code_from_files_is_refused(monkeypatch, version):
    monkeypatch.setattr(pa, "__version__", version)
    with pytest.raises(DatasetError, match=rf"^pyarrow {version} can be made to run code .*CVE-2023-47248") as caught:
        require_safe_arrow()
    assert caught.value.hint == "pip install --upgrade pyarrow"


@pytest.mark.parametrize("version", ["14.0.1", "15.0.0", "26.0.1", "27.0.0.dev3"])
def test_others_are_not(monkeypatch, version):
    monkeypatch.setattr(pa, "__version__", version)
    require_safe_arrow()
