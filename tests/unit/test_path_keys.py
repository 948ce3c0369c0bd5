"""Keys in paths."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchflow.errors import DatasetError
from batchflow.path_keys import parse_path_keys


@pytest.mark.parametrize(
    ("text", "path", "expected"),
    [
        ("{user}/{season}/{genre}.wav", "/data/ann/winter/rock.wav", ("ann", "winter", "rock")),
        ("/{user}/{season}/{genre}.wav", "/data/ann/winter/rock.wav", ("ann", "winter", "rock")),
        ("{user}/{genre}.wav", "ann/rock.wav", ("ann", "rock")),
        ("{genre}.wav", "/data/rock.n.roll.wav", ("rock.n.roll",)),
        ("{genre}.wav", "rock.wav", ("rock",)),
        ("{genre}.wav", "/data/rock.wave", None),
        ("{genre}.wav", "/data/.wav", None),
        ("{user}/{genre}.wav", "rock.wav", None),
        ("year={year}/month={month}/part-{part}.csv", "/x/year=2026/month=01/part-7.csv", ("2026", "01", "7")),
        ("year={year}/{x}", "/x/yeer=2026/a", None),
        ("{a}-{b}.wav", "x-y-z.wav", ("x", "y-z")),
        ("{a}-{b}-{c}", "1-2-3-4", ("1", "2", "3-4")),
        ("{a}--{b}", "---x", ("-", "x")),
        ("{a}--{b}", "--x", None),
        ("songs/{genre}.wav", "/data/songs/rock.wav", ("rock",)),
        ("songs/{genre}.wav", "/data/mysongs/rock.wav", None),
        ("{genre}/a.b", "/x/rock/a+b", None),
    ],
)
def test_the_keys_of_a_path(text: str, path: str, expected: tuple[str, ...] | None) -> None:
    assert parse_path_keys(text).values(path) == expected


def test_the_names_are_those_of_the_format() -> None:
    assert parse_path_keys("{user}/{season}/{genre}.wav").names == ("user", "season", "genre")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not a component of a path: ''"),
        ("a//{b}", "not a component of a path: ''"),
        ("../{b}", "not a component of a path: '..'"),
        ("a/b.wav", "there is no key in it"),
        ("{a}{b}", "nothing between them"),
        ("{a}/{a}", "the key `a` stands there twice"),
        ("{a", "a brace without its other half"),
        ("a}/{b}", "a brace without its other half"),
        ("{{a}}", "a brace without its other half"),
        ("{a}/*.wav", "a wildcard"),
        ("{}", "`{}` is not the name of a key"),
        ("{a b}", "`{a b}` is not the name of a key"),
        ("{1a}", "`{1a}` is not the name of a key"),
        ("{é}", "`{é}` is not the name of a key"),
        ("{day:yyyy}", "`{day:yyyy}`: a key takes its part of the path as it is"),
    ],
)
def test_a_format_that_is_none(text: str, message: str) -> None:
    with pytest.raises(DatasetError, match=re.escape(message)):
        parse_path_keys(text)


PARTS = st.text("ab-.", max_size=6)
FORMATS = st.lists(st.sampled_from(["a", "-", ".", "b-", "/"]), min_size=1, max_size=4)


@given(FORMATS, PARTS)
def test_the_leftmost_places_find_what_a_regular_expression_finds(texts: list[str], path: str) -> None:
    text = "".join(f"{{k{index}}}{one}" for index, one in enumerate(texts)) + "{end}"
    pattern = "(?:.*/)?" + "".join(f"([^/]+?){re.escape(one)}" for one in texts) + "([^/]+)"
    found = re.fullmatch(pattern, path, re.DOTALL)
    assert parse_path_keys(text).values(path) == (None if found is None else found.groups())


def test_a_hostile_name_is_looked_at_once() -> None:
    """Trying every place for every text would take longer than anybody waits."""
    keys = parse_path_keys("-".join(f"{{k{index}}}" for index in range(30)) + ".wav")
    assert keys.values("-" * 4000 + ".txt") is None
