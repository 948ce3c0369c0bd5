"""The bytes of a csv output are those of ``DataFrame.to_csv(index=False)``, and read back they are the values."""

from __future__ import annotations

import csv
import io
import os
import sys
from collections import OrderedDict, namedtuple
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchflow.errors import ContractError
from batchflow.worker.results import make_encoder

CSV = make_encoder(output_format="csv")
Point = namedtuple("Point", "x y")


def written(result, encoder=CSV):
    """The whole file of one mini-batch."""
    encoded = encoder.encode(result, len(result))
    assert encoded.returned_count == len(result)
    return encoded.header + encoded.rows


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        (["a", "b c", 'q"', "x,y", ""], b'result\na\nb c\n"q"""\n"x,y"\n""\n'),
        ([1, 1.0, True, None, float("nan")], b'result\n1\n1.0\nTrue\n""\n""\n'),
        ([("a", 1), ("b", None)], b"0,1\na,1\nb,\n"),
        ([["a", 0.1], ["b", 1e-7]], b"0,1\na,0.1\nb,1e-07\n"),
        ([{"f": "a", "n": 1}, {"n": 2, "f": "b"}], b"f,n\na,1\nb,2\n"),
        ([OrderedDict(f="a")], b"f\na\n"),
        ([Point(1, 2), Point(3, 4)], b"x,y\n1,2\n3,4\n"),
        ([np.float32(0.1), np.int64(2), np.bool_(True)], b"result\n0.1\n2\nTrue\n"),
        ([np.array([1, 2.5]), np.array([3, 4.0])], b"0,1\n1.0,2.5\n3.0,4.0\n"),
        (np.array([0.1, np.nan], dtype="f4"), b'result\n0.1\n""\n'),
        (np.array([[1, 2], [3, 4]]), b"0,1\n1,2\n3,4\n"),
        (np.array([[0.1, 2], [3, 4]], dtype="f4"), b"0,1\n0.1,2.0\n3.0,4.0\n"),
        (np.array([("a", 1.5)], dtype=[("f", "U5"), ("p", "f8")]), b"f,p\na,1.5\n"),
        ([("a", [1, 2]), ("b", {"k": 1})], b"0,1\na,\"[1, 2]\"\nb,{'k': 1}\n"),
        ([("x", pd.NA, pd.NaT, np.datetime64("NaT"), Decimal("NaN"), Decimal("1.50"))], b"0,1,2,3,4,5\nx,,,,,1.50\n"),
        ([pd.Timestamp("2020-01-02"), b"x"], b"result\n2020-01-02 00:00:00\nb'x'\n"),
        (pd.Series([1, 2], name="n"), b"n\n1\n2\n"),
        (pd.Series([1.0, None]), b'result\n1.0\n""\n'),
        (
            pd.DataFrame({"a": [1.0, None], "b": [True, False], "c": ["x,", 'y"']}),
            b'a,b,c\n1.0,True,"x,"\n,False,"y"""\n',
        ),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), b"a,a\n1,2\n"),
        (pd.DataFrame([[1, 2]]), b"0,1\n1,2\n"),
        ([os.fsdecode(b"x\xe9,1.png")], b'result\n"x\xe9,1.png"\n'),
    ],
)
def test_rows_and_header(result, expected):
    assert written(result) == expected


@pytest.mark.fault("C10")
@pytest.mark.parametrize("make", [list, pd.DataFrame])
def test_every_line_break_is_quoted_and_rows_end_with_a_newline(make):
    assert written(make([("a\rb", "c\nd"), ("e\r\nf", "g")])) == b'0,1\n"a\rb","c\nd"\n"e\r\nf",g\n'


def test_a_missing_value_does_not_turn_its_neighbours_into_floats():
    both = CSV.encode([(1, "x"), (None, "y")], 2).rows
    assert both == CSV.encode([(1, "x")], 1).rows + CSV.encode([(None, "y")], 1).rows == b"1,x\n,y\n"


def test_arrow_integers_with_nulls_stay_integers():
    import pyarrow as pa

    table = pa.table({"n": pa.array([1, None]), "p": pa.array([0.1, None], pa.float32()), "b": pa.array([True, None])})
    assert written(table) == b"n,p,b\n1,0.1,True\n,,\n"


def test_the_delimiter_is_used_for_header_and_rows():
    tabs = make_encoder(output_format="csv", delimiter="\t")
    assert written([{"a": "x\ty", "b": "z,w"}], tabs) == b'a\tb\n"x\ty"\tz,w\n'
    assert written(pd.DataFrame({"a": ["x\ty"], "b": ["z,w"]}), tabs) == b'a\tb\n"x\ty"\tz,w\n'


def test_a_long_array_in_a_cell_is_whole():
    for result in ([("a", np.arange(2000))], pd.DataFrame({"f": ["a"], "v": [np.arange(2000)]})):
        cell = list(csv.reader(io.StringIO(written(result).decode())))[1][1]
        assert "..." not in cell
        assert cell.strip("[]").split() == [str(number) for number in range(2000)]


@pytest.mark.parametrize(
    ("result", "message"),
    [
        ([{"a": 1}, {"b": 1}], r"element 1 .* has no column 'a'; the columns of element 0 are \['a'\]"),
        ([{"a": 1}, {"a": 1}, {"a": 2, "b": 1}], r"element 2 .* has a column 'b' that element 0 has not"),
        ([{"a": 1, "b": 2}, {"a": 1}], r"element 1 .* has no column 'b'"),
        ([{}], "element 0 .* is an empty dict"),
        ([{"a": 1}, ("a",)], "element 1 .* is of type tuple, element 0 of type dict: expected a dict"),
        ([(1, 2), (1, 2), (1,)], r"element 2 of what run\(\) returned has 1 column, element 0 has 2"),
        ([(1,), (1, 2)], r"element 1 of what run\(\) returned has 2 columns, element 0 has 1"),
        ([()], "element 0 .* is empty: a row needs at least one column"),
        ([(1, 2), "ab"], "element 1 .* is of type str, element 0 of type tuple: expected a sequence"),
        (["a", ["b"]], "element 1 .* is of type list, element 0 of type str: expected a single value"),
        ([1, {"a": 1}], "element 1 .* is of type dict, element 0 of type int: expected a single value"),
        (np.zeros((2, 0)), "element 0 .* is empty"),
        (pd.DataFrame(index=[0, 1]), "run.. returned a DataFrame without columns"),
        (["\ud800"], "lone surrogate"),
        ([{"\ud800": 1}], "lone surrogate"),
    ],
)
def test_what_has_no_columns_in_common_is_refused(result, message):
    with pytest.raises(ContractError, match=message):
        CSV.encode(result, len(result))


HOSTILE = "ab ,;\"'\\\t\n\r\u2028\x85\x0bäß😀\udc80\udcff" + ("\0" if sys.version_info >= (3, 11) else "")
hostile = st.text(alphabet=st.sampled_from(HOSTILE), max_size=8)
cell = st.one_of(hostile, st.integers(), st.floats(), st.booleans(), st.none())


def quotes_carriage_returns_alike(data):
    """Before Python 3.13 pandas leaves a bare carriage return unquoted; here it is quoted everywhere."""
    return sys.version_info >= (3, 13) or "\r" not in str(data).replace("\\r", "\r")


@given(st.lists(st.tuples(cell, cell), min_size=1, max_size=6))
def test_lists_are_the_bytes_of_a_frame_of_the_same_values(data):
    frame = pd.DataFrame(data, dtype=object)
    if quotes_carriage_returns_alike(data):
        assert written(data) == frame.to_csv(index=False).encode("utf-8", "surrogateescape")
    assert written(data) == written(frame)


@given(
    st.one_of(
        st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1),
        st.lists(st.floats(), min_size=1),
        st.lists(st.booleans(), min_size=1),
        st.lists(st.text(alphabet="ab ,\"'\n;"), min_size=1),
    )
)
def test_scalars_of_one_type_are_the_bytes_of_a_typed_frame(data):
    frame = pd.DataFrame({"result": data})
    assert written(data) == written(frame) == frame.to_csv(index=False).encode()


@given(st.lists(st.floats(width=32), min_size=1))
def test_single_precision_is_written_short(data):
    array = np.array(data, dtype=np.float32)
    assert written(array) == pd.DataFrame({"result": array}).to_csv(index=False).encode()


@pytest.mark.fault("C10")
@given(st.lists(st.tuples(hostile, hostile), min_size=1, max_size=6))
@pytest.mark.parametrize(
    "make", [list, lambda rows: pd.DataFrame(rows, dtype=object), lambda rows: [dict(enumerate(row)) for row in rows]]
)
def test_what_a_reader_gets_is_what_was_returned(make, rows):
    text = written(make(rows)).decode("utf-8", "surrogateescape")
    assert list(csv.reader(io.StringIO(text, newline=""))) == [["0", "1"], *map(list, rows)]
