"""Odd numbers in CSV are never overlooked, and fields that are none are rarely taken for one."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from batchflow._core import has_odd_numbers


def odd(data: bytes, kinds: bytes = b"\1\2\0", delimiter: str = ",", quote: str | None = '"') -> bool:
    return has_odd_numbers(data, kinds, delimiter=ord(delimiter), quote=-1 if quote is None else ord(quote))


def is_odd(text: str, kind: int) -> bool:
    if kind == 0 or not text:
        return False
    digits = text.removeprefix("-")
    has_blanks = text[0] in " \t" or text[-1] in " \t"
    has_zeros = digits[:1] == "0" and (digits[1:2] in tuple("0123456789xX"))
    return has_blanks or has_zeros or (kind == 1 and text == "-0")


FIELDS = st.one_of(
    st.sampled_from(
        ["0", "-0", "00", "07", "-07", "0x1", "0.5", "-0.5", "1", "-1", " 1", "1 ", "\t1", "", "x", "1e5", "a b"]
    ),
    st.text(st.sampled_from('0123456789- .x"\n,'), max_size=70),
)


@given(st.lists(st.tuples(FIELDS, FIELDS, FIELDS), max_size=12), st.booleans(), st.sampled_from(["\n", "\r\n"]))
@example([("1", "0.5", "007"), ("1", "1.5", " x ")], False, "\n")
def test_an_odd_number_is_found_in_its_column(rows, quotes_all, line_break):
    buffer = io.StringIO(newline="")
    quoting = csv.QUOTE_ALL if quotes_all else csv.QUOTE_MINIMAL
    csv.writer(buffer, quoting=quoting, lineterminator=line_break).writerows(rows)
    data = buffer.getvalue().encode()
    expected = any(is_odd(field, kind) for row in rows for field, kind in zip(row, (1, 2, 0), strict=True))
    for end in (data, data.rstrip(b"\r\n") if rows else data):
        if expected:
            assert odd(end)
        elif not any('"' in field for row in rows for field in row):
            assert not odd(end)


@pytest.mark.parametrize("place", range(130))
def test_wherever_it_lies(place):
    filler = b"12," * (place // 3) + b"1" * (place % 3 + 1)
    columns = b"\1" * 60
    assert not odd(filler + b",1\n", columns)
    assert odd(filler + b",01\n", columns)
    assert odd(filler + b",1 ", columns)
    assert not odd(b'"' + filler + b', 01",7\n', b"\0\1")
    assert odd(b'"' + filler + b', 01",07\n', b"\0\1")


def test_what_is_unclear_may_be_one():
    assert odd(b'"1"2,3\n') and odd(b'1"2,3\n') and odd(b'"0"1,3\n')
    assert not odd(b'x,1.5,"a"b\n', b"\0\2\0")


def test_other_characters():
    assert odd(b"1;02\n", delimiter=";")
    assert not odd(b"1;0,2\n", delimiter=";")
    assert odd(b"'02',1\n", quote="'")
    assert odd(b'"02",1\n', b"\1\1") and odd(b"02,1\n", b"\1\1", quote=None)
    assert not odd(b"") and not odd(b"\n\n\r\n") and not odd(b"01\n", b"")


@pytest.mark.parametrize(("delimiter", "quote"), [(0, 34), (200, 34), (44, 0), (44, 200), (44, -2)])
def test_characters_that_are_none_are_refused(delimiter, quote):
    with pytest.raises(ValueError, match=f"^delimiter={delimiter} and quote={quote} must be ASCII characters$"):
        has_odd_numbers(b"1", b"\1", delimiter=delimiter, quote=quote)
