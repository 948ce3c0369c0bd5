"""Typed rows: the messages of an Arrow stream that hold the values; what differs in type is told by its column."""

from __future__ import annotations

import datetime
import io
import math
from collections import namedtuple
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchflow.errors import ContractError
from batchflow.tables.typed import difference, schema_metadata
from batchflow.worker.results import make_encoder

TYPED = make_encoder(output_format="parquet")
Point = namedtuple("Point", "x y")


def read(*results):
    """Results of several mini-batches, each behind the other, behind the columns of the first."""
    encoded = [TYPED.encode(result, 0) for result in results]
    named = [one.header for one in encoded if one.rows]
    assert named == named[:1] * len(named)
    with pa.ipc.open_stream(io.BytesIO(b"".join([*named[:1], *(one.rows for one in encoded)]))) as stream:
        return stream.read_all()


def types(table):
    return {field.name: str(field.type) for field in table.schema}


@pytest.mark.parametrize(
    ("result", "expected", "kinds"),
    [
        (["a", None, "ß"], {"result": ["a", None, "ß"]}, ["string"]),
        ([1, None, 3], {"result": [1, None, 3]}, ["int64"]),
        ([1.5, math.nan, None], {"result": [1.5, None, None]}, ["double"]),
        ([True, pd.NA], {"result": [True, None]}, ["bool"]),
        ([("a", 1), ("b", None)], {"0": ["a", "b"], "1": [1, None]}, ["string", "int64"]),
        ([Point(1, 2.5)], {"x": [1], "y": [2.5]}, ["int64", "double"]),
        ([{"f": "a", "n": 1}, {"n": 2, "f": "b"}], {"f": ["a", "b"], "n": [1, 2]}, ["string", "int64"]),
        ([{1: None}], {"1": [None]}, ["string"]),
        ([b"\0\xff"], {"result": [b"\0\xff"]}, ["binary"]),
        ([Path("a/b")], {"result": ["a/b"]}, ["string"]),
        ([np.float32(0.5)], {"result": [0.5]}, ["float"]),
        ([datetime.date(2020, 1, 2)], {"result": [datetime.date(2020, 1, 2)]}, ["date32[day]"]),
        ([[[1, 2], ["x"]]], {"0": [[1, 2]], "1": [["x"]]}, ["list<item: int64>", "list<item: string>"]),
        ([{"p": {"a": 1, "b": "x"}}], {"p": [{"a": 1, "b": "x"}]}, ["struct<a: int64, b: string>"]),
        (np.array([[1, 2], [3, 4]], "i4"), {"0": [1, 3], "1": [2, 4]}, ["int32", "int32"]),
        (np.array([0.5, math.nan], "f2"), {"result": [0.5, None]}, ["float"]),
        (np.array([("a", 1.5)], dtype=[("f", "U5"), ("p", "f8")]), {"f": ["a"], "p": [1.5]}, ["string", "double"]),
        (pd.Series([1, 2], name="n"), {"n": [1, 2]}, ["int64"]),
        (pd.Series([0.5, None]), {"result": [0.5, None]}, ["double"]),
        (pd.DataFrame({1: ["a", None]}), {"1": ["a", None]}, ["string"]),
        (pd.DataFrame({"n": pd.array([1, None], "Int64")}, index=[7, 7]), {"n": [1, None]}, ["int64"]),
        (pd.DataFrame({"c": pd.Categorical(["a", None, "a"])}), {"c": ["a", None, "a"]}, ["string"]),
        (pd.DataFrame({"x": pd.Series([None, None], dtype=object)}), {"x": [None, None]}, ["string"]),
        (pa.table({"n": pa.array([1, 2], pa.int16())}), {"n": [1, 2]}, ["int16"]),
        (
            pa.table({"t": pa.array(["a"], pa.large_string()), "z": pa.nulls(1)}),
            {"t": ["a"], "z": [None]},
            ["string"] * 2,
        ),
        (pa.RecordBatch.from_pydict({"b": pa.array([b"x"], pa.large_binary())}), {"b": [b"x"]}, ["binary"]),
    ],
)
def test_values_and_types(result, expected, kinds):
    table = read(result)
    assert table.to_pydict() == expected
    assert list(types(table).values()) == kinds


def test_results_lie_one_behind_the_other():
    table = read([1, 2], [], pd.Series([3], name="result"), pa.table({"result": [4, None]}), None)
    assert table.to_pydict() == {"result": [1, 2, 3, 4, None]}


def test_a_table_in_chunks_is_one_batch():
    whole = pa.concat_tables([pa.table({"n": [1], "t": ["a"]}), pa.table({"n": [2], "t": ["b"]})])
    assert read(whole, whole.slice(1)).to_pydict() == {"n": [1, 2, 2], "t": ["a", "b", "b"]}


def test_nothing_names_no_columns():
    for nothing in ([], None, np.array([]), pd.DataFrame({"a": []}), pa.table({"a": pa.array([], pa.int8())})):
        assert TYPED.encode(nothing, 3) == (0, b"", b"")


@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "t": st.one_of(st.text(), st.none()),
                "n": st.one_of(st.integers(-(2**63), 2**63 - 1), st.none()),
                "f": st.one_of(st.floats(allow_nan=False), st.none()),
                "b": st.one_of(st.booleans(), st.none()),
            }
        ),
        min_size=1,
    )
)
def test_what_a_reader_gets_is_what_was_returned(rows):
    assert read(rows).to_pylist() == rows


REFUSED = {
    "column 'n' of what run() returned has no type that Arrow knows: Could not convert 'x'": [{"n": 1}, {"n": "x"}],
    "column 'result' of what run() returned has no type that Arrow knows": [2**70],
    "column 'o' of what run() returned has no type that Arrow knows: Could not convert <object": [{"o": object()}],
    "column 'c' of what run() returned has no type that Arrow knows": pd.DataFrame({"c": ["a", 1]}, dtype=object),
    "column 'result' of what run() returned is no UTF-8": ["\udcff"],
    "two columns 'a'; typed output needs distinct names": pd.DataFrame([[1, 2]], columns=["a", "a"]),
    "two columns '1'": [{1: "x", "1": "y"}],
    "a DataFrame without columns": pd.DataFrame(index=[1]),
    "an array without columns": np.empty((2, 0)),
    "element 1 .* has no column 'b'": [{"b": 1}, {"c": 1}],
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_has_no_type_is_refused(message):
    import re

    pattern = message if ".*" in message else re.escape(message)
    with pytest.raises(ContractError, match=pattern):
        TYPED.encode(REFUSED[message], 2)


def columns(**kinds):
    return pa.schema([], metadata=schema_metadata(list(kinds.items()))).serialize().to_pybytes()


@pytest.mark.parametrize(
    ("expected", "got", "told"),
    [
        ({"a": "int64"}, {"a": "double"}, "column 'a' is of type double, expected int64"),
        ({"a": "int64", "b": "bool"}, {"a": "int64"}, "there is no column 'b'"),
        ({"a": "int64"}, {"a": "int64", "ß": "bool"}, "there is a column 'ß' more"),
        (
            {"a": "x", "b": "y"},
            {"b": "y", "a": "x"},
            "the columns have another order, expected ['a', 'b'], got ['b', 'a']",
        ),
        (
            {"a": "int64"},
            {"a": "string"},
            "column 'a' is of type string, expected int64 "
            "(one of nothing but missing values counts as string, unless it has a type)",
        ),
    ],
)
def test_a_difference_is_told_by_column(expected, got, told):
    assert difference(columns(**expected), columns(**got)) == told


def test_a_difference_between_real_results():
    first, second = (TYPED.encode(result, 1).header for result in ([{"a": 1, "n": 1.5}], [{"a": 1, "n": "x"}]))
    assert difference(first, second).startswith("column 'n' is of type string, expected double")


@pytest.mark.parametrize(
    "other", [b"a,b\n", b"", b"batchflow-columns {", b'batchflow-columns [["a"]]', b"batchflow-columns 3"]
)
def test_there_is_no_telling_of_what_is_no_schema_of_ours(other):
    assert difference(other, columns(a="int64")) == difference(columns(a="int64"), other) == ""
