"""What patterns mean, before any folder is read."""

from __future__ import annotations

import fnmatch
import os
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from batchflow._core import GlobPattern
from batchflow.errors import DatasetError
from batchflow.patterns import FilePattern, matcher_below, matches, parse_pattern


@pytest.mark.parametrize(
    ("text", "root", "components", "is_file"),
    [
        ("/a/b.png", (b"a",), (b"b.png",), True),
        ("/b.png", (), (b"b.png",), True),
        ("/a/*.png", (b"a",), (b"*.png",), False),
        ("/a/", (b"a",), (b"**", b"*"), False),
        ("/", (), (b"**", b"*"), False),
        ("/a/**", (b"a",), (b"**", b"*"), False),
        ("/a/**/**/x?/", (b"a",), (b"**", b"x?", b"**", b"*"), False),
        ("/a//./b/../c/*", (b"a", b"c"), (b"*",), False),
        ("/../../x", (), (b"x",), True),
        ("/a/[!b]/c.png", (b"a",), (b"[!b]", b"c.png"), False),
        ("/a/\udcff/*", (b"a", b"\xff"), (b"*",), False),
        ("/a/é", (b"a",), (b"\xc3\xa9",), True),
    ],
)
def test_parts(text: str, root: tuple[bytes, ...], components: tuple[bytes, ...], is_file: bool) -> None:
    assert parse_pattern(text) == FilePattern(text, root, components, is_file)


def test_a_relative_pattern_starts_in_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert parse_pattern("x/*").root_path == os.fsencode(tmp_path) + b"/x/"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not a file pattern: ''"),
        ("/a\0b", r"not a file pattern: '/a\\x00b'"),
        ("/..", "not a file pattern: '/..'"),
        ("/a/*/../b", r"'..' behind a wildcard: '/a/\*/../b'"),
        ("/*" + "/a" * 63, "the pattern has 64 levels behind its first wildcard, at most 63 are possible"),
    ],
)
def test_what_is_no_pattern(text: str, message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        parse_pattern(text)


names = st.text(alphabet="ab.[]!-é\U0001f600\udcff\udcc3", min_size=1, max_size=8)
globs = st.text(alphabet="ab.*?[]!-é\U0001f600\udcff", min_size=1, max_size=8)


def expected_match(name: str, pattern: str) -> bool:
    if name.startswith(".") and not pattern.startswith("."):
        return False
    return fnmatch.fnmatchcase(name, pattern)


@given(name=names, pattern=globs)
@example(name="aab", pattern="*ab")
@example(name="]", pattern="[]]")
@example(name="a", pattern="[!]a]")
@example(name="[a", pattern="[a")
@example(name="é", pattern="?")
@example(name="\udcff", pattern="[\udcff]")
@example(name="\udcc3\udcc3", pattern="??")
@example(name="\U0001f600", pattern="[é-\U0001f601]")
@example(name="ab", pattern="**b")
@example(name="b", pattern="[a-]")
@example(name="-", pattern="[a-]")
@example(name=".a", pattern="[.]a")
def test_a_component_matches_as_fnmatch_does(name: str, pattern: str) -> None:
    if pattern == "**":
        return
    # What looks like surrogates may be read as a character once it is encoded: compare what Python would list.
    name, pattern = os.fsdecode(os.fsencode(name)), os.fsdecode(os.fsencode(pattern))
    glob = GlobPattern([os.fsencode(pattern)])
    accepted, below = glob.step(glob.start, os.fsencode(name))
    assert accepted == expected_match(name, pattern)
    assert below == 0


def test_many_stars_take_no_exponential_time() -> None:
    glob = GlobPattern([b"*a" * 100 + b"b"])
    assert glob.step(glob.start, b"a" * 250) == (False, 0)


def walk_by_hand(components: list[str], path: list[str]) -> bool:
    if not components:
        return not path
    head, *tail = components
    if head == "**":
        if walk_by_hand(tail, path):
            return True
        return bool(path) and not path[0].startswith(".") and walk_by_hand(components, path[1:])
    return bool(path) and expected_match(path[0], head) and walk_by_hand(tail, path[1:])


parts = st.lists(st.sampled_from(["**", "*", "a", "a*", ".h", "?b"]), max_size=5)


@given(
    components=parts,
    last=st.sampled_from(["*", "a", "*b", ".h"]),
    path=st.lists(st.sampled_from(["a", "ab", "bb", ".h"]), min_size=1, max_size=6),
)
def test_paths_match_component_by_component(components: list[str], last: str, path: list[str]) -> None:
    pattern = parse_pattern("/*/" + "/".join([*components, last]))
    folder, name = tuple(os.fsencode(part) for part in ["x", *path[:-1]]), os.fsencode(path[-1])
    assert matches(pattern, folder, name) == walk_by_hand([*components, last], path)


@pytest.mark.fault("H15")
@pytest.mark.parametrize(
    ("earlier", "root", "overlap"),
    [
        ("/a/*.png", "/a/*", True),
        ("/a/*.png", "/b/*", False),
        ("/a/b/*.png", "/a/*", True),
        ("/a/**/*.png", "/a/b/c/*", True),
        ("/a/*/*.png", "/a/b/c/*", False),
        ("/a/*/c/*", "/a/b/c/*", True),
        ("/a/**/*", "/a/.b/*", False),
    ],
)
def test_overlap(earlier: str, root: str, overlap: bool) -> None:
    assert (matcher_below(parse_pattern(earlier), parse_pattern(root).root) is not None) == overlap


def test_overlap_over_too_many_levels_is_refused() -> None:
    with pytest.raises(DatasetError, match="overlaps with a pattern that starts more than 63 levels above it"):
        matcher_below(parse_pattern("/a" * 80 + "/*"), ())


@pytest.mark.parametrize(
    ("components", "message"),
    [
        ([], "expected 1 to 63 components, got 0"),
        ([b"a"] * 64, "expected 1 to 63 components, got 64"),
        ([b"a", b"**"], "the last component names files, it cannot be"),
    ],
)
def test_components_that_are_no_pattern(components: list[bytes], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GlobPattern(components)


def test_a_mask_outside_of_the_pattern_is_refused() -> None:
    with pytest.raises(ValueError, match="mask=0x4 has a bit outside of 2 components"):
        GlobPattern([b"**", b"*"]).step(4, b"a")
