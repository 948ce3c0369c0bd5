"""A list of strings becomes lines, or is left to those who look closer."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchflow._core import text_rows


class Text(str):
    __slots__ = ()


@given(st.lists(st.text()))
def test_it_joins_what_has_no_line_breaks(elements: list[str]) -> None:
    """Against the obvious way to do it."""
    joined = "".join(f"{one}\n" for one in elements)
    is_plain = all("\n" not in one and "\r" not in one for one in elements)
    assert text_rows(elements) == (joined.encode() if is_plain else None)


@pytest.mark.parametrize("length", [*range(20), 63, 64, 65])
@pytest.mark.parametrize("stop", ["\n", "\r"])
def test_a_line_break_is_found_wherever_it_stands(length: int, stop: str) -> None:
    for place in range(length):
        for filler in "\t\x0b\x0c\x0e\x8a\x8dä":
            text = filler * place + stop + filler * (length - place - 1)
            assert text_rows(["a", text]) is None
            assert text_rows([text.replace(stop, filler)]) == (filler * length).encode() + b"\n"


@pytest.mark.parametrize("odd", [1, None, b"x", 1.5, Text("x"), "\ud800"])
def test_what_is_no_plain_string_is_left_to_others(odd: Any) -> None:
    assert text_rows(["a", odd]) is None


def test_nothing_is_no_lines() -> None:
    assert text_rows([]) == b""


def test_only_lists_are_taken() -> None:
    with pytest.raises(TypeError):
        text_rows(("a",))  # type: ignore[arg-type]
