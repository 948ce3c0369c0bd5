"""The bytes of a text output: ``str(element)`` a line, frames as pandas writes them with spaces."""

from __future__ import annotations

import csv
import io
import os

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchflow.errors import ContractError
from batchflow.worker.results import make_encoder

TEXT = make_encoder(output_format="text")
KEEP = make_encoder(output_format="text", newline="keep")


def rows(result, encoder=TEXT):
    encoded = encoder.encode(result, len(result))
    assert encoded.header == b""
    assert encoded.returned_count == len(result)
    return encoded.rows


@pytest.mark.parametrize(
    ("element", "line"),
    [
        ("0.png: 7", b"0.png: 7"),
        ("", b""),
        (["f.png", "7"], b"['f.png', '7']"),
        (("a", 1), b"('a', 1)"),
        ({"a": 1}, b"{'a': 1}"),
        (1, b"1"),
        (1.0, b"1.0"),
        (float("nan"), b"nan"),
        (True, b"True"),
        (None, b"None"),
        (b"x", b"b'x'"),
        (np.float32(0.1), b"0.1"),
        (np.int64(3), b"3"),
        (np.array([1, 2.5]), b"[1.  2.5]"),
        ("größe \u2028 \x00 \t \x0b \x85", "größe \u2028 \x00 \t \x0b \x85".encode()),
        (os.fsdecode(b"x\xe9.png"), b"x\xe9.png"),
    ],
)
def test_an_element_is_one_line_of_its_text(element, line):
    assert rows([element]) == line + b"\n"
    assert rows(["x", element, "y"]) == b"x\n" + line + b"\ny\n"


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (np.array([1, 2]), b"1\n2\n"),
        (np.array([0.1, 1e16, 1e-5, np.nan]), b"0.1\n1e+16\n1e-05\nnan\n"),
        (np.array([0.1, 2], dtype=np.float32), b"0.1\n2.0\n"),
        (np.array([0.1], dtype=np.float16), b"0.1\n"),
        (np.array([True, False]), b"True\nFalse\n"),
        (np.array(["a", "bc"]), b"a\nbc\n"),
        (np.array(["2020-01-02"], dtype="datetime64[D]"), b"2020-01-02\n"),
        (np.array([[1, 2.5], [3, 4]]), b"[1.  2.5]\n[3. 4.]\n"),
        (np.array([[1, 2], [3, 40]]), b"[1 2]\n[ 3 40]\n"),
        (pd.Series([0.1, 2], dtype="float32"), b"0.1\n2.0\n"),
        (pd.Series([1, None], dtype="Int64"), b"1\n<NA>\n"),
        (pd.Series(pd.to_datetime(["2020-01-02"])), b"2020-01-02 00:00:00\n"),
        (pd.Series(["a", "b"], dtype="category"), b"a\nb\n"),
    ],
)
def test_arrays_are_written_as_numpy_and_pandas_write_their_elements(array, expected):
    assert rows(array) == expected


@pytest.mark.parametrize("result", [np.arange(2000).reshape(1, -1), [np.arange(2000)], [(np.arange(2000), 1)]])
def test_long_arrays_are_neither_broken_nor_abbreviated(result):
    line = rows(result)
    assert line.count(b"\n") == 1
    assert b"..." not in line
    assert b" 1234" in line


@pytest.mark.parametrize("text", ["a\nb", "a\rb", "a\r\nb", "\n", "a\n"])
@pytest.mark.parametrize("wrap", [lambda x: ["x", x], lambda x: ("x", x), lambda x: ["x", x, 1]])
def test_a_line_break_in_an_element_is_refused_unless_kept(text, wrap):
    with pytest.raises(ContractError, match=r"element 1 of what run\(\) returned contains a line break") as caught:
        TEXT.encode(wrap(text), 2)
    assert repr(text) in str(caught.value)
    assert 'newline = "keep"' in caught.value.hint
    assert KEEP.encode(wrap(text), 2).rows.startswith(b"x\n" + text.encode() + b"\n")


def test_two_elements_cannot_trade_a_newline_for_a_missing_one():
    with pytest.raises(ContractError, match=r"element 0 of what run\(\) returned contains a line break"):
        TEXT.encode(["a\nb", "c\r"], 2)


@pytest.mark.fault("C11")
@pytest.mark.parametrize("text", ["\ud800", "x\udfffy", "\udc0a", "\ud83d\ude00"])
def test_a_lone_surrogate_that_is_no_file_name_is_refused(text):
    with pytest.raises(
        ContractError, match=r"has the lone surrogate '\\ud[0-9a-f]{3}' in it, which is not a character"
    ):
        TEXT.encode(["x", text], 2)


hostile = st.text(alphabet=st.sampled_from("ab \"'\\,;\t\0\u2028\x85\x0b\x1cäß😀\udc80\udcff"), max_size=8)


@pytest.mark.fault("C10")
@given(st.lists(hostile, max_size=12))
def test_lines_read_back_are_the_elements(elements):
    lines = rows(elements).decode("utf-8", "surrogateescape").split("\n")
    assert lines == [*elements, ""]


@pytest.mark.fault("C10")
@given(st.lists(st.text(alphabet="a\n\r\u2028"), max_size=6))
def test_every_element_is_exactly_one_line_or_refused(elements):
    if any("\n" in one or "\r" in one for one in elements):
        with pytest.raises(ContractError, match="contains a line break"):
            TEXT.encode(elements, 1)
    else:
        assert list(io.StringIO(rows(elements).decode())) == [one + "\n" for one in elements]


cell = st.one_of(
    st.text(alphabet=" ab\"',;\t\u2028ä", max_size=5), st.integers(), st.floats(), st.booleans(), st.none()
)


@given(st.lists(st.tuples(cell, cell, cell), min_size=1, max_size=6))
def test_frames_are_the_bytes_of_to_csv(data):
    frame = pd.DataFrame(data)
    assert rows(frame) == frame.to_csv(sep=" ", header=False, index=False).encode()


def test_a_frame_is_quoted_as_pandas_quotes():
    frame = pd.DataFrame({"a": ["x y", 'q"z', "", None], "b": [1.0, None, 2, 3]})
    assert rows(frame) == b'"x y" 1.0\n"q""z" \n 2.0\n 3.0\n'
    semicolons = make_encoder(output_format="text", delimiter=";")
    assert rows(frame, semicolons) == b'x y;1.0\n"q""z";\n;2.0\n;3.0\n'


@pytest.mark.parametrize("text", ["a\nb", "a\rb"])
def test_a_line_break_in_a_frame_is_refused_unless_kept(text):
    frame = pd.DataFrame({"a": ["x", text], "b": [1, 2]})
    with pytest.raises(ContractError, match=r"a row of the DataFrame .* contains a line break"):
        TEXT.encode(frame, 2)
    kept = KEEP.encode(frame, 2).rows.decode()
    assert list(csv.reader(io.StringIO(kept, newline=""), delimiter=" ")) == [["x", "1"], [text, "2"]]
