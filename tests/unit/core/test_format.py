"""Columns → rows of a csv file: numbers as Python writes them, texts as its csv module does."""

from __future__ import annotations

import csv
import io
import math
import random
import struct
from array import array

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchflow import _core
from batchflow._core import Column, format_rows
from batchflow.worker.frame_columns import single_scale


def lines(column, count):
    """Each row of one column, as text."""
    return format_rows([column], count, ord(",")).decode().split("\n")[:-1]


def doubles(values):
    return lines(Column(_core.DOUBLE, array("d", values)), len(values))


def floats(values):
    return lines(Column(_core.FLOAT, array("f", values), scale=single_scale()), len(values))


NUMBERS = [
    (0.0, "0.0"),
    (-0.0, "-0.0"),
    (1.0, "1.0"),
    (0.1, "0.1"),
    (1e-7, "1e-07"),
    (0.0001, "0.0001"),
    (0.00001, "1e-05"),
    (123456.789, "123456.789"),
    (1e15, "1000000000000000.0"),
    (9999999999999998.0, "9999999999999998.0"),
    (1e16, "1e+16"),
    (1.5e300, "1.5e+300"),
    (5e-324, "5e-324"),
    (2.2250738585072014e-308, "2.2250738585072014e-308"),
    (-1.7976931348623157e308, "-1.7976931348623157e+308"),
    (9007199254740993.0, "9007199254740992.0"),
    (1e23, "1e+23"),
    (math.inf, "inf"),
    (-math.inf, "-inf"),
    (math.nan, '""'),
]


def test_numbers_as_they_are_known():
    assert doubles([value for value, _ in NUMBERS]) == [text for _, text in NUMBERS]


@given(st.lists(st.floats(allow_nan=False), min_size=1))
def test_doubles_as_python_writes_them(values):
    assert doubles(values) == list(map(repr, values))


def test_doubles_of_random_bits_and_those_around_powers():
    chance = random.Random(1)
    values = [struct.unpack("d", chance.randbytes(8))[0] for _ in range(20_000)]
    values += [math.ldexp(1.0, k) for k in range(-1074, 1024)] + [float(f"1e{k}") for k in range(-323, 309)]
    values += [math.nextafter(value, side) for value in values for side in (-math.inf, math.inf)]
    values += [chance.randrange(10**6) / 10 ** chance.randrange(7) for _ in range(20_000)]
    values += [float(chance.randrange(1 << 53)) for _ in range(20_000)]
    values = [value for value in values if not math.isnan(value)]
    assert doubles(values) == list(map(repr, values))


def test_single_precision_as_numpy_writes_it():
    chance = random.Random(2)
    bits = [chance.getrandbits(32) for _ in range(20_000)] + [k << 23 | j for k in range(255) for j in (0, 1, 0x7FFFFF)]
    bits += [struct.unpack("I", struct.pack("f", chance.randrange(10**6) / 1000))[0] for _ in range(5_000)]
    values = np.array(bits, "u4").view("f4")
    values = values[~np.isnan(values)]
    assert floats(values.tolist()) == values.astype(str).tolist()


@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1))
def test_integers(values):
    assert lines(Column(_core.SIGNED, array("q", values)), len(values)) == list(map(str, values))


def test_integers_of_every_length():
    values = [10**k + d for k in range(20) for d in (-1, 0, 1) if 10**k + d < 2**64] + [2**64 - 1, 0]
    assert lines(Column(_core.UNSIGNED, array("Q", values)), len(values)) == list(map(str, values))
    signed = [-value for value in values if value <= 2**63] + [-(2**63)]
    assert lines(Column(_core.SIGNED, array("q", signed)), len(signed)) == list(map(str, signed))


def test_bits_say_what_is_missing_from_any_place_on():
    valid, values = bytes([0b10110100, 0b01]), array("q", range(10))
    for first in range(10):
        found = lines(Column(_core.SIGNED, values, valid=valid, first=first), 10 - first)
        assert found == [str(k) if valid[k // 8] >> k % 8 & 1 else '""' for k in range(first, 10)]


def test_truth():
    assert lines(Column(_core.BOOL, b"\1\0\1"), 3) == ["True", "False", "True"]


odd_text = st.text(alphabet="ab ,;\"'\n\rß😀\0", max_size=40)


@given(st.lists(st.tuples(odd_text, st.one_of(odd_text, st.none())), min_size=1))
def test_texts_are_quoted_as_the_csv_module_quotes(rows):
    second = [one.encode() for _, one in ((0, row[1] or "") for row in rows)]
    offsets = np.cumsum([0, *map(len, second)])
    valid = np.packbits([row[1] is not None for row in rows], bitorder="little").tobytes()
    for kind, width in ((_core.TEXT32, "i4"), (_core.TEXT64, "i8")):
        text = Column(kind, offsets.astype(width), b"".join(second), valid)
        found = format_rows([Column(_core.OBJECTS, [row[0] for row in rows]), text], len(rows), ord(","))
        # Quoted or not, a reader gets what was written; and what needs no quotes has none.
        read = list(csv.reader(io.StringIO(found.decode(), newline="")))
        assert read == [[one, other or ""] for one, other in rows]
        for one, _ in rows:
            needs = any(char in one for char in ',"\n\r')
            assert (format_rows([Column(_core.OBJECTS, [one, "x"])], 2, ord(",")).startswith(b'"')) == (
                needs or one == ""
            )


@pytest.mark.parametrize("size", range(40))
@pytest.mark.parametrize("odd", [",", '"', "\n", "\r"])
def test_every_place_of_a_text_is_looked_at(size, odd):
    for place in range(size):
        text = "x" * place + odd + "x" * (size - place - 1)
        assert lines_of(text) == '"' + text.replace('"', '""') + '"\n'
    assert lines_of("y" * size + "z") == "y" * size + "z\n"


def lines_of(text):
    return format_rows([Column(_core.OBJECTS, [text])], 1, ord(",")).decode()


def test_objects_of_other_types_need_a_closer_look():
    for value in (b"x", 1j, (1,), np.float32(1), "\udc80"):
        assert format_rows([Column(_core.OBJECTS, ["a", value])], 2, ord(",")) is None
    assert format_rows([Column(_core.OBJECTS, [1, 1.5, True, None, math.nan, "a"])], 6, ord(",")) == (
        b'1\n1.5\nTrue\n""\n""\na\n'
    )


def test_long_rows_find_room():
    long = 'a,"' * 100_000
    found = format_rows([Column(_core.OBJECTS, [long, "b", long]), Column(_core.SIGNED, array("q", [1, 2, 3]))], 3, 44)
    quoted = '"' + long.replace('"', '""') + '"'
    assert found.decode() == f"{quoted},1\nb,2\n{quoted},3\n"


def test_no_columns_and_no_rows():
    assert format_rows([], 0, 44) == format_rows([Column(_core.SIGNED, b"")], 0, 44) == b""


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (Column(_core.SIGNED, b"1234567"), "a column has 7 bytes, expected 8"),
        (Column(_core.TEXT32, b"1234", b""), "a column has 4 bytes, expected 8"),
        (Column(_core.BOOL, b"1", valid=b""), "a column has 0 bytes, expected 1"),
        (Column(_core.OBJECTS, []), "a column has 0 objects, expected 1"),
    ],
)
def test_columns_that_are_too_short_are_refused(column, message):
    with pytest.raises(ValueError, match=message):
        format_rows([column], 1, ord(","))
    with pytest.raises(ValueError, match="expected a delimiter of ASCII, got 200"):
        format_rows([], 0, 200)
