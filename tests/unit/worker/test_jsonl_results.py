"""The bytes of a jsonl output: one JSON value a line, in ASCII."""

from __future__ import annotations

import datetime
import enum
import json
import os
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchflow.errors import ContractError
from batchflow.worker.results import make_encoder

JSONL = make_encoder(output_format="jsonl")


def rows(result):
    encoded = JSONL.encode(result, len(result))
    assert encoded.header == b""
    assert encoded.returned_count == len(result)
    return encoded.rows


class Level(enum.IntEnum):
    HIGH = 3


@pytest.mark.parametrize(
    ("element", "line"),
    [
        ("a", b'"a"'),
        ("größe\u2028\n", b'"gr\\u00f6\\u00dfe\\u2028\\n"'),
        ({"a": [1, None, True, 1.5]}, b'{"a": [1, null, true, 1.5]}'),
        (("a", 1), b'["a", 1]'),
        (float("nan"), b"null"),
        ({"p": [float("nan"), 1]}, b'{"p": [null, 1]}'),
        (
            {"a": pd.NA, "b": pd.NaT, "c": np.datetime64("NaT"), "d": np.float32("nan")},
            b'{"a": null, "b": null, "c": null, "d": null}',
        ),
        (Decimal("NaN"), b"null"),
        (np.float64(0.1), b"0.1"),
        (np.float32(0.5), b"0.5"),
        (np.longdouble(0.5), b"0.5"),
        (np.int64(3), b"3"),
        (np.bool_(True), b"true"),
        (np.str_("x"), b'"x"'),
        (np.array([[1, 2], [3, 4]]), b"[[1, 2], [3, 4]]"),
        (np.array([np.nan, 1]), b"[null, 1.0]"),
        (np.array([(1, "a")], dtype=[("n", "i4"), ("f", "U3")]), b'[{"n": 1, "f": "a"}]'),
        ({np.int64(1): 2, Path("k"): 3, None: 4}, b'{"1": 2, "k": 3, "null": 4}'),
        (pd.Series([1.5, None]), b"[1.5, null]"),
        (pd.Timestamp("2020-01-02 03:04:05"), b'"2020-01-02T03:04:05"'),
        (np.datetime64("2020-01-02"), b'"2020-01-02"'),
        (datetime.date(2020, 1, 2), b'"2020-01-02"'),
        (datetime.time(3, 4), b'"03:04:00"'),
        (Path("a/b.png"), b'"a/b.png"'),
        (Level.HIGH, b"3"),
        (os.fsdecode(b"x\xe9.png"), b'"x\\udce9.png"'),
        ("😀\udc80", b'"\\ud83d\\ude00\\udc80"'),
        ("\\ud800", b'"\\\\ud800"'),
    ],
)
def test_an_element_is_one_line_of_json(element, line):
    assert rows([element]) == line + b"\n"
    assert rows(["x", element]) == b'"x"\n' + line + b"\n"


@pytest.mark.fault("C11", "C13")
@pytest.mark.parametrize(
    ("element", "message"),
    [
        (b"x", r"element 1 of what run\(\) returned is of type bytes, which json cannot hold"),
        ({"a": {"b": b"x"}}, "element 1 .*, at 'a', at 'b' is of type bytes"),
        (np.bytes_(b"x"), "is of type numpy.bytes_"),
        (float("inf"), "element 1 .* is inf, which json cannot hold"),
        ([-np.inf], "is -inf"),
        (np.float32("inf"), "is inf"),
        ({1, 2}, "is of type set"),
        (Decimal("1.5"), r"is of type decimal\.Decimal"),
        (1j, "is of type complex"),
        (np.complex64(1), r"is of type numpy\.complex64"),
        (object(), "is of type object"),
        ({(1, 2): 3}, "has a key of type tuple"),
        ({b"k": 3}, "has a key of type bytes"),
        ("\ud800", "lone surrogate"),
        ("\ud83d\ude00", "lone surrogate"),
    ],
)
def test_what_json_cannot_hold_is_refused_with_its_place(element, message):
    with pytest.raises(ContractError, match=message):
        JSONL.encode(["x", element], 2)


def test_what_contains_itself_is_refused():
    loop = []
    loop.append(loop)
    with pytest.raises(ContractError, match=r"element 0 .* contains itself, or is nested too deeply"):
        JSONL.encode([loop], 1)


def test_frames_are_objects_by_column():
    frame = pd.DataFrame({"f": ["a", None], "p": [0.5, None], 3: pd.to_datetime(["2020-01-02", None])})
    assert rows(frame) == (b'{"f": "a", "p": 0.5, "3": "2020-01-02T00:00:00"}\n{"f": null, "p": null, "3": null}\n')
    assert rows(np.array([[1, 2], [3, 4]])) == b"[1, 2]\n[3, 4]\n"
    assert rows(pd.Series([1.5, None], name="n")) == b"1.5\nnull\n"
    assert rows(np.array([(1, "a")], dtype=[("n", "i4"), ("f", "U3")])) == b'{"n": 1, "f": "a"}\n'


@pytest.mark.parametrize("columns", [["a", "a"], [1, "1"]])
def test_two_columns_of_one_name_are_refused(columns):
    with pytest.raises(ContractError, match=f"two columns '{columns[1]}'; json needs distinct keys"):
        JSONL.encode(pd.DataFrame([[1, 2]], columns=columns), 1)


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(alphabet='a"\\\n\r\0\u2028\x85ä😀\udc80\udcff', max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.fault("C10")
@given(st.lists(values, max_size=5))
def test_lines_read_back_are_the_elements(elements):
    text = rows(elements).decode("ascii")
    assert [json.loads(line) for line in text.splitlines()] == elements
