"""What has been seen of a column, and the one type that follows: conservative, so that nothing is lost.

- ``int64`` for integers as they are written in full: no leading zeros, no plus, no blanks;
- ``double`` for decimal numbers and ``inf``, if all integers among them survive it (those up to 2**53 do);
- ``bool`` for ``true``, ``false``, ``True``, ``False``;
- ``string`` for everything else, dates too.

Evidence of several files is joined with ``|``: in any order, with the same result.
"""

from __future__ import annotations

import enum
from decimal import Decimal

import pyarrow as pa
import pyarrow.compute as pc

INTEGER = r"^(?:0|-?[1-9][0-9]{0,18})$"
NUMBER = r"^-?(?:(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?|inf)$"
TRUE, FALSE = ("true", "True"), ("false", "False")
_LONG = r"^-?[1-9][0-9]{15}|[eE]"
"""Numbers that a double may not hold."""
_INT64_DIGITS = 19
WIDE = 2**53
"""Integers beyond may not survive a double."""


class Seen(enum.Flag):
    """Kinds of values of a column."""

    NOTHING = 0
    MISSING = enum.auto()
    BOOL = enum.auto()
    INTEGER = enum.auto()
    LONG_INTEGER = enum.auto()
    """An integer that no double is equal to."""
    DOUBLE = enum.auto()
    TEXT = enum.auto()


def type_of_seen(seen: Seen) -> tuple[str, bool]:
    """The type of a column of text and whether it is nullable; ``string`` if no value has been seen."""
    return _name(seen & ~Seen.MISSING), bool(seen & Seen.MISSING)


def _name(seen: Seen) -> str:
    if seen in (Seen.INTEGER, Seen.INTEGER | Seen.LONG_INTEGER):
        return "int64"
    if seen in (Seen.DOUBLE, Seen.DOUBLE | Seen.INTEGER):
        return "double"
    return "bool" if seen == Seen.BOOL else "string"


def seen_in(texts: pa.ChunkedArray) -> Seen:
    """Of a column of text as it stands in the file, binary, with nulls where values are missing."""
    seen = Seen.MISSING if texts.null_count else Seen.NOTHING
    values = pc.unique(texts.drop_null())
    if not len(values):
        return seen
    if pc.all(pc.is_in(values, pa.array(map(str.encode, TRUE + FALSE), values.type))).as_py():
        return seen | Seen.BOOL
    if not all_match(values, NUMBER):
        return seen | Seen.TEXT
    is_integer = pc.match_substring_regex(values, INTEGER)
    integers, others = values.filter(is_integer), values.filter(pc.invert(is_integer))
    return seen | _seen_in_integers(integers) | _seen_in_numbers(others)


def _seen_in_integers(values: pa.Array) -> Seen:
    if not len(values):
        return Seen.NOTHING
    try:
        numbers = pc.cast(values.cast(pa.string()), pa.int64())
    except pa.ArrowInvalid:  # of 19 digits, and too many
        return Seen.TEXT
    survives = survive(numbers)
    return Seen.INTEGER if survives else Seen.INTEGER | Seen.LONG_INTEGER


def survive(integers: pa.Array) -> bool:
    """Whether each of these ``int64`` is equal to a double."""
    least, most = pc.min_max(integers).values()
    if max(-least.as_py(), most.as_py()) <= WIDE:
        return True
    return all(int(float(number)) == number for number in integers.to_pylist())


def _seen_in_numbers(values: pa.Array) -> Seen:
    """Of numbers that are no integers in full: with a point or an exponent, infinite, ``-0``, or of many digits."""
    if not len(values):
        return Seen.NOTHING
    return Seen.DOUBLE if all(map(is_faithful, values.to_pylist())) else Seen.TEXT


def is_faithful(text: bytes) -> bool:
    """Whether a text that looks like a number, but no ``int64``, is held by a double well enough.

    A fraction or a power of ten is rounded, which is what doubles are for.  An integer part beyond 2**53 is not, and
    an integer with too many digits is no measure but a name.
    """
    number = float(text)
    if text.endswith(b"inf") or text == b"-0":
        return True
    if number in (float("inf"), float("-inf")) or text.lstrip(b"-").isdigit():
        return False
    return abs(number) < WIDE or b"e" in text.lower() or Decimal(text.decode()) == Decimal(number)


def beyond(values: pa.ChunkedArray) -> bool:
    """Whether there may be doubles that stand for a number in full that they are not equal to, or for no number."""
    least, most = (one.as_py() for one in pc.min_max(values).values())
    total = pc.sum(values).as_py()  # not equal to itself if there is a NaN
    return least is not None and (max(-least, most) >= WIDE or total != total)


def first_misfit(texts: pa.ChunkedArray, type: str) -> int | None:
    """The first of these texts from which ``type``, ``int64`` or ``double``, would not have been inferred.

    All of them have been read as this type: they are no nonsense, and in range.
    """
    is_misfit = pc.invert(pc.match_substring_regex(texts, INTEGER if type == "int64" else NUMBER))
    if type == "double":
        is_long = pc.fill_null(pc.match_substring_regex(texts, _LONG), False)
        unheld = [text for text in pc.unique(texts.filter(is_long)).to_pylist() if not _is_held(text)]
        is_misfit = pc.or_(is_misfit, pc.is_in(texts, pa.array(unheld, texts.type)))
    row = pc.index(is_misfit, True).as_py()
    return None if row < 0 else int(row)


def _is_held(text: bytes) -> bool:
    digits = text.lstrip(b"-")
    if digits.isdigit():
        return len(digits) <= _INT64_DIGITS and int(float(text)) == int(text)
    return is_faithful(text)


def all_match(values: pa.Array | pa.ChunkedArray, pattern: str) -> bool:
    """Whether each value, or none, matches; missing ones do not count."""
    return pc.all(pc.match_substring_regex(values, pattern)).as_py() is not False
