"""Types from samples: conservative, whatever the order; a value fits later if it would have fitted in the sample."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchflow.tables.evidence import Seen, first_misfit, seen_in, type_of_seen


def seen(*texts: str | None) -> Seen:
    return seen_in(pa.chunked_array([pa.array([None if t is None else t.encode() for t in texts], pa.binary())]))


def inferred(*texts: str | None) -> tuple[str, bool]:
    return type_of_seen(seen(*texts))


@pytest.mark.fault("J13")
@pytest.mark.parametrize(
    ("texts", "type"),
    [
        (["0", "-1", "9223372036854775807", "-9223372036854775808"], "int64"),
        (["9223372036854775808"], "string"),
        (["99999999999999999999999"], "string"),
        (["100000000000000000000"], "string"),
        (["1", "007"], "string"),
        (["+1"], "string"),
        ([" 1"], "string"),
        (["1 "], "string"),
        (["1,000"], "string"),
        (["0x10"], "string"),
        (["1_000"], "string"),
        (["1", "1.5"], "double"),
        (["1.", ".5", "-0.0", "1e5", "1E-300", "inf", "-inf"], "double"),
        (["-0"], "double"),
        (["1e400"], "string"),
        (["1.5", "9007199254740993"], "string"),
        (["1.5", "9007199254740992"], "double"),
        (["1.5", "9007199254740994"], "double"),
        (["9007199254740993.5"], "string"),
        (["9007199254740994.0"], "double"),
        (["0.1000000000000000055511151231257827"], "double"),
        (["01.5"], "string"),
        (["Infinity"], "string"),
        (["nan"], "string"),
        (["1.5.2"], "string"),
        (["-"], "string"),
        (["."], "string"),
        (["e5"], "string"),
        (["1", "1\n"], "string"),
        (["true", "false", "True", "False"], "bool"),
        (["TRUE"], "string"),
        (["true", "1"], "string"),
        (["2024-01-31"], "string"),
        (["12:30"], "string"),
        ([""], "string"),
        (["١"], "string"),
    ],
)
def test_only_what_loses_nothing_is_no_text(texts, type):
    assert inferred(*texts) == (type, False)


def test_a_missing_value_makes_a_column_nullable():
    assert inferred("1", None) == ("int64", True)
    assert inferred(None, "true") == ("bool", True)
    assert inferred("x", None) == ("string", True)


def test_a_column_without_a_value_is_text():
    assert inferred() == ("string", False)
    assert inferred(None, None) == ("string", True)


def test_bytes_that_are_no_text_are_text_to_be_refused_later():
    assert seen_in(pa.chunked_array([pa.array([b"\xff", b"1"], pa.binary())])) == Seen.TEXT


@pytest.mark.parametrize(
    ("one", "other", "type"),
    [
        (["1"], ["1.5"], "double"),
        (["9007199254740993"], ["1.5"], "string"),
        (["1"], ["x"], "string"),
        (["1"], ["true"], "string"),
        ([None], ["1"], "int64"),
        ([], ["true"], "bool"),
    ],
)
def test_files_are_joined(one, other, type):
    assert type_of_seen(seen(*one) | seen(*other))[0] == type
    assert type_of_seen(seen(*other) | seen(*one))[0] == type


NUMBERS = st.one_of(
    st.integers(-(2**70), 2**70).map(str),
    st.floats(allow_nan=False).map(repr),
    st.from_regex(r"\A[-+ ]?0{0,2}[0-9]{0,20}(\.[0-9]{0,3})?([eE][-+]?[0-9]{1,3})?\Z"),
    st.sampled_from(["true", "False", "x", "", "0x1F", "inf", "-inf", "nan"]),
)


@given(st.lists(st.one_of(st.none(), NUMBERS), max_size=8), st.integers(0, 8))
def test_joined_evidence_is_that_of_all_values(texts, cut):
    assert type_of_seen(seen(*texts[:cut]) | seen(*texts[cut:])) == inferred(*texts)


@given(st.lists(NUMBERS, min_size=1, max_size=8))
def test_a_value_fits_a_number_column_exactly_if_it_does_not_change_its_type(texts):
    for type, sample in (("int64", "1"), ("double", "1.5")):
        expected = [k for k, text in enumerate(texts) if inferred(sample, text)[0] != type]
        readable = [text for text in texts if _is_number(text, type)]
        found = first_misfit(pa.chunked_array([pa.array([t.encode() for t in readable], pa.binary())]), type)
        first = next((k for k, text in enumerate(readable) if texts.index(text) in expected), None)
        assert found == first


def _is_number(text: str, type: str) -> bool:
    """As pyarrow reads text, which is lenient."""
    try:
        pa.array([text.strip(" \t")]).cast(pa.type_for_alias(type))
    except pa.ArrowInvalid:
        return False
    return True


def test_missing_values_fit():
    assert first_misfit(pa.chunked_array([pa.array([None, b"1", None], pa.binary())]), "int64") is None
    assert first_misfit(pa.chunked_array([pa.array([None, b"1", b"007"], pa.binary())]), "int64") == 2
    assert first_misfit(pa.chunked_array([pa.array([None], pa.binary())]), "double") is None


def test_floats_that_python_writes_are_doubles():
    for number in (0.1, 1e16, 1e22, 123456789012345680.0, 5e-324, 1.7976931348623157e308, -0.0, 2.0**53, 2.0**60):
        assert inferred(repr(number)) == ("double", False), number
