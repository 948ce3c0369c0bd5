"""What ``run()`` may return, what each shape counts as, and what is refused with its type named."""

from __future__ import annotations

import collections
import io
import sys

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from batchflow.errors import ContractError, EntryScriptError, UsageError
from batchflow.worker.results import Encoded, make_encoder

FORMATS = ("text", "csv", "jsonl", None)


def generator():
    yield "a"
    yield "b"


class Iterating:
    def __iter__(self):
        return iter(["a", "b"])


ALLOWED = {
    "list": lambda: ["a", "b"],
    "tuple": lambda: ("a", "b"),
    "deque": lambda: collections.deque(["a", "b"]),
    "generator": generator,
    "iterable": Iterating,
    "dict values": lambda: {1: "a", 2: "b"}.values(),
    "dict keys": lambda: {"a": 1, "b": 2}.keys(),
    "array": lambda: np.array(["a", "b"]),
    "array of objects": lambda: np.array(["a", "b"], dtype=object),
    "series": lambda: pd.Series(["a", "b"], name="result"),
    "index": lambda: pd.Index(["a", "b"]),
    "arrow array": lambda: pa.array(["a", "b"]),
    "arrow chunked array": lambda: pa.chunked_array([["a"], ["b"]]),
}


@pytest.mark.fault("C5", "C6")
@pytest.mark.parametrize("name", ALLOWED)
def test_every_sequence_gives_the_same_rows(name):
    assert make_encoder(output_format="text").encode(ALLOWED[name](), 2) == (2, b"", b"a\nb\n")
    assert make_encoder(output_format="csv").encode(ALLOWED[name](), 2) == (2, b"result\n", b"a\nb\n")
    assert make_encoder(output_format="jsonl").encode(ALLOWED[name](), 2) == (2, b"", b'"a"\n"b"\n')
    assert make_encoder(output_format=None).encode(ALLOWED[name](), 2) == (2, b"", b"")


FRAME = pd.DataFrame({"file": ["a.png", "b c.png"], "n": [1, 2]})
FRAMES = {
    "pandas": lambda: FRAME,
    "arrow table": lambda: pa.table(FRAME),
    "arrow batch": lambda: pa.RecordBatch.from_pandas(FRAME),
    "any index": lambda: FRAME.set_index(pd.Index([7, 7])),
}


@pytest.mark.fault("C6")
@pytest.mark.parametrize("name", FRAMES)
def test_every_frame_gives_the_same_rows(name):
    frame = FRAMES[name]()
    assert make_encoder(output_format="text").encode(frame, 2) == (2, b"", b'a.png 1\n"b c.png" 2\n')
    assert make_encoder(output_format="csv").encode(frame, 2) == (2, b"file,n\n", b"a.png,1\nb c.png,2\n")
    lines = b'{"file": "a.png", "n": 1}\n{"file": "b c.png", "n": 2}\n'
    assert make_encoder(output_format="jsonl").encode(frame, 2) == (2, b"", lines)
    assert make_encoder(output_format=None).encode(frame, 5) == (2, b"", b"")


class Polars:
    """Stands in for polars: known by its module, handed over as Arrow."""

    class DataFrame:
        def __iter__(self):
            raise AssertionError("a frame must not be read by its columns")

        def to_arrow(self):
            return pa.table(FRAME)

    class Series:
        def to_arrow(self):
            return pa.array(["a", None])


def test_polars_comes_in_through_arrow(monkeypatch):
    monkeypatch.setitem(sys.modules, "polars", Polars)
    encoder = make_encoder(output_format="csv")
    assert encoder.encode(Polars.DataFrame(), 2) == (2, b"file,n\n", b"a.png,1\nb c.png,2\n")
    assert encoder.encode(Polars.Series(), 2) == (2, b"result\n", b'a\n""\n')


@pytest.mark.parametrize("output_format", FORMATS)
@pytest.mark.parametrize(
    "nothing", [None, [], (), np.array([]), pd.Series([], dtype=float), pd.DataFrame({"a": []}), iter(())]
)
def test_nothing_is_no_rows_and_no_header(output_format, nothing):
    assert make_encoder(output_format=output_format).encode(nothing, 3) == Encoded(0, b"", b"")


async def coroutine():
    pass


REFUSED = {
    "run() returned a str; expected a list, a tuple": lambda: "a.png: 7",
    "run() returned a bytes; ": lambda: b"x",
    "run() returned a bytearray; ": lambda: bytearray(b"x"),
    "run() returned a memoryview; ": lambda: memoryview(b"x"),
    "run() returned an int; ": lambda: 10,
    "run() returned a bool; ": lambda: True,
    "run() returned a float; ": lambda: 1.5,
    "run() returned a dict; ": lambda: {"a": 1},
    "run() returned a collections.Counter; ": lambda: collections.Counter("ab"),
    "run() returned a set; ": lambda: {1, 2},
    "run() returned a frozenset; ": lambda: frozenset([1]),
    "run() returned a function; ": lambda: len.__class__ and (lambda: None),
    "run() returned a type; ": lambda: dict,
    "run() returned an _io.StringIO; ": lambda: io.StringIO("a\nb\n"),
    "run() returned an object; ": object,
    "run() returned a numpy.float32; ": lambda: np.float32(1),
    "run() returned a numpy array of 0 dimensions; expected 1 or 2": lambda: np.array(1),
    "run() returned a numpy array of 3 dimensions; expected 1 or 2": lambda: np.zeros((1, 2, 3)),
}


@pytest.mark.fault("C2")
@pytest.mark.parametrize("output_format", FORMATS)
@pytest.mark.parametrize("message", REFUSED)
def test_everything_else_is_refused_and_named(output_format, message):
    with pytest.raises(ContractError) as caught:
        make_encoder(output_format=output_format).encode(REFUSED[message](), 2)
    assert str(caught.value).startswith(message)
    assert isinstance(caught.value, EntryScriptError)


def test_the_refusal_tells_the_cure():
    encoder = make_encoder(output_format="text")
    for result, hint in [
        ({"a": 1}, "return a list with one dict for each item"),
        ({1}, "a set has no order: return a list"),
        ("x", "return a list with one element for each item"),
    ]:
        with pytest.raises(ContractError) as caught:
            encoder.encode(result, 1)
        assert caught.value.hint == hint
    waiting = coroutine()
    with pytest.raises(ContractError, match="returned a coroutine") as caught:
        encoder.encode(waiting, 1)
    waiting.close()
    assert caught.value.hint == "run() must not be async"


@pytest.mark.fault("C5")
@pytest.mark.parametrize("output_format", FORMATS)
def test_an_error_in_the_users_generator_passes_through(output_format):
    def broken():
        yield "a"
        raise KeyError("half-way")

    with pytest.raises(KeyError, match="half-way"):
        make_encoder(output_format=output_format).encode(broken(), 2)


@pytest.mark.parametrize("output_format", FORMATS)
@pytest.mark.parametrize(
    ("result", "item_count", "message"),
    [
        (["x"] * 9, 10, "run() returned 9 elements for 10 items"),
        (["x"] * 11, 10, "run() returned 11 elements for 10 items"),
        (("x",), 2, "run() returned 1 element for 2 items"),
        (["x", "y"], 1, "run() returned 2 elements for 1 item"),
        (None, 10, "run() returned None for 10 items"),
        ([1, 2], 3, "run() returned 2 elements for 3 items"),
        (FRAME, 3, "run() returned 2 elements for 3 items"),
    ],
)
def test_exact_wants_one_element_for_each_item(output_format, result, item_count, message):
    with pytest.raises(ContractError) as caught:
        make_encoder(output_format=output_format, items="exact").encode(result, item_count)
    assert str(caught.value) == message
    for items in ("at_least", "any"):
        assert make_encoder(output_format=output_format, items=items).encode(result, item_count)[0] == (
            0 if result is None else len(result)
        )
    count = 0 if result is None else len(result)
    assert make_encoder(output_format=output_format, items="exact").encode(result, count).returned_count == count


@pytest.mark.parametrize("delimiter", ["", ";;", '"', "\n", "\r"])
def test_a_delimiter_is_one_character(delimiter):
    with pytest.raises(UsageError, match="delimiter: expected one character, not a quote or line break, got "):
        make_encoder(output_format="csv", delimiter=delimiter)


@pytest.mark.fault("C27")
def test_the_bytes_are_copied_when_run_returns():
    buffer = np.zeros(2, dtype=int)
    result = ["a"]
    encoded = make_encoder(output_format="text").encode(buffer, 2), make_encoder(output_format="text").encode(result, 1)
    buffer[:] = 9
    result[0] = "z"
    assert [one.rows for one in encoded] == [b"0\n0\n", b"a\n"]
