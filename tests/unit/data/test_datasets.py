"""Listing real folders: what is found, in which order, and what is refused."""

from __future__ import annotations

import errno
import os
import socket
import stat
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from unit.data.reference import HOSTILE_NAMES, reference_listing, touch

from batchflow import _core
from batchflow.data import datasets, list_files
from batchflow.errors import BatchflowError, DatasetError, ResourceError
from batchflow.patterns import has_wildcard


def listed(root: Path, *patterns: str) -> list[str]:
    """Paths relative to ``root``."""
    listing = list_files([f"{root}/{pattern}" for pattern in patterns])
    prefix = f"{root}/"
    paths = listing.paths(0, len(listing))
    assert all(path.startswith(prefix) for path in paths)
    return [path.removeprefix(prefix) for path in paths]


# --- what matches, and in which order


def test_a_folder_is_every_file_below_in_byte_order_of_the_paths(tmp_path: Path) -> None:
    touch(tmp_path, "b/c.txt", "b.txt", "b/a/z", "a", "b-", "b0", "é", "Z", "b/a.txt")
    assert listed(tmp_path, "") == ["Z", "a", "b-", "b.txt", "b/a.txt", "b/a/z", "b/c.txt", "b0", "é"]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.png", ["1.png", "2.png"]),
        ("?.png", ["1.png", "2.png"]),
        ("[!1].png", ["2.png"]),
        ("**/*.png", ["1.png", "2.png", "x/3.png", "x/y/4.png"]),
        ("**/y/*", ["x/y/4.png", "x/y/5.jpg"]),
        ("*/*.png", ["x/3.png"]),
        ("x/**", ["x/3.png", "x/y/4.png", "x/y/5.jpg"]),
        ("*/y/", ["x/y/4.png", "x/y/5.jpg"]),
        ("x/y/../3.png", ["x/3.png"]),
        ("**/.h/*", ["x/.h/6.png"]),
        (".*", [".top.png"]),
        ("**/.*", [".top.png"]),
        (".*/", [".hidden/7.png"]),
    ],
)
def test_patterns(tmp_path: Path, pattern: str, expected: list[str]) -> None:
    touch(tmp_path, "1.png", "2.png", "x/3.png", "x/y/4.png", "x/y/5.jpg", "x/.h/6.png", ".top.png", ".hidden/7.png")
    assert listed(tmp_path, pattern) == expected


@pytest.mark.fault("H15")
def test_patterns_keep_their_order_and_a_path_comes_once_at_its_first_place(tmp_path: Path) -> None:
    touch(tmp_path, "a.png", "b.png", "c.jpg", "d/e.png")
    assert listed(tmp_path, "c.jpg", "b.*", "*.png", "**/*", "c.jpg", "d/e.png") == [
        "c.jpg",
        "b.png",
        "a.png",
        "d/e.png",
    ]
    assert listed(tmp_path, "**/*.png", "d/", "*") == ["a.png", "b.png", "d/e.png", "c.jpg"]


folder_names = st.sampled_from(["a", "b", "ab", "a-", "a.d", ".h", "é"])
file_names = st.sampled_from(["a", "b", "ab", "a.png", "b.png", ".h", "é.png", "\udcff.png", "a\nb", "a0"])
trees = st.lists(st.tuples(st.lists(folder_names, max_size=4), file_names), max_size=25)
pattern_parts = st.lists(st.sampled_from(["**", "*", "a", "a*", ".h", "?", "[ab]*"]), max_size=4)
last_parts = st.sampled_from(["*", "*.png", "a", "?", "[!a]*", ".h", "*b*", "??png"])
pattern_texts = st.builds(lambda parts, last: "/".join([*parts, last]), pattern_parts, last_parts)


@settings(max_examples=150, deadline=None)
@given(tree=trees, patterns=st.lists(pattern_texts, min_size=1, max_size=4))
def test_the_listing_is_that_of_a_slow_reference(tree: list[tuple[list[str], str]], patterns: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for folders, name in tree:
            path = root.joinpath(*folders, name)
            if not any(part.is_file() for part in path.parents) and not path.is_dir():
                touch(root, "/".join([*folders, name]))
        # A file named without wildcards must be there.
        patterns = [pattern for pattern in patterns if has_wildcard(os.fsencode(pattern)) or (root / pattern).is_file()]
        listing = list_files([f"{root}/{pattern}" for pattern in patterns], allow_empty=True)
        expected = reference_listing(root, patterns)
        assert listing.paths(0, len(listing)) == expected
        for item in range(len(listing)):
            status = os.stat(listing.path(item))
            assert (listing.size(item), listing.mtime_ns(item)) == (status.st_size, status.st_mtime_ns)


@pytest.mark.fault("H4", "H5", "H7")
def test_hostile_names_come_each_exactly_once(tmp_path: Path) -> None:
    assert len(set(HOSTILE_NAMES)) == len(HOSTILE_NAMES) >= 64
    touch(tmp_path, *HOSTILE_NAMES)
    touch(tmp_path, *(b"\xff folder\n/" + name for name in HOSTILE_NAMES))
    expected = sorted([*HOSTILE_NAMES, *(b"\xff folder\n/" + name for name in HOSTILE_NAMES)])
    listing = list_files([f"{tmp_path}/"])
    paths = listing.paths(0, len(listing))
    assert paths == [os.fsdecode(os.fsencode(tmp_path) + b"/" + name) for name in expected]
    assert [listing.size(item) for item in range(len(listing))] == [len(os.path.basename(name)) for name in expected]
    assert all(os.path.getsize(path) for path in paths)


def test_names_with_wildcards_are_named_by_classes(tmp_path: Path) -> None:
    touch(tmp_path, "a*b", "a?b", "axb", "a[b")
    assert listed(tmp_path, "a[*]b") == ["a*b"]
    assert listed(tmp_path, "a[?]b") == ["a?b"]
    assert listed(tmp_path, "a[[]b") == ["a[b"]
    assert listed(tmp_path, "a[b") == ["a[b"]


def test_a_large_folder_keeps_byte_order_and_sizes(tmp_path: Path) -> None:
    names = [f"common prefix {number * 7919 % 3001:x}" for number in range(3001)]
    touch(tmp_path, *names)
    listing = list_files([f"{tmp_path}/*"])
    assert listing.paths(0, 3001) == [f"{tmp_path}/{name}" for name in sorted(names)]
    assert [listing.size(item) for item in range(3001)] == [len(name) for name in sorted(names)]


def test_names_that_begin_alike_are_in_order(tmp_path: Path) -> None:
    names = ["b", *("a" * length for length in range(1, 120)), *("a" * length + "/f" for length in range(120, 140))]
    touch(tmp_path, *names)
    assert listed(tmp_path, "") == sorted(names)


@pytest.mark.fault("H17")
def test_hidden_names_are_passed_over_and_counted(tmp_path: Path) -> None:
    touch(tmp_path, "a.png", ".DS_Store", ".cache/x.png", "b/.DS_Store", ".h.png")
    assert list_files([f"{tmp_path}/"]).skipped_hidden == 4
    assert list_files([f"{tmp_path}/*.png"]).skipped_hidden == 1
    assert listed(tmp_path, "**/*.png") == ["a.png"]


@pytest.mark.fault("H2", "H3")
def test_empty_and_sparse_files_are_items(tmp_path: Path) -> None:
    touch(tmp_path, "small")
    (tmp_path / "empty").touch()
    with open(tmp_path / "sparse", "wb") as file:
        file.truncate(5 << 30)
    listing = list_files([f"{tmp_path}/*"])
    assert [listing.size(item) for item in range(3)] == [0, 5, 5 << 30]


# --- what is no regular file


@pytest.mark.fault("H9", "S6")
def test_fifos_and_sockets_are_passed_over_counted_and_named(tmp_path: Path) -> None:
    touch(tmp_path, "a")
    os.mkfifo(tmp_path / "fifo")
    os.symlink("fifo", tmp_path / "link to fifo")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(f"/proc/self/cwd/{os.path.relpath(tmp_path / 's')}")
        listing = list_files([f"{tmp_path}/*"])
    assert listing.paths(0, len(listing)) == [f"{tmp_path}/a"]
    assert listing.skipped_special == 3
    assert sorted(listing.skipped_special_paths) == [f"{tmp_path}/{name}" for name in ("fifo", "link to fifo", "s")]


def test_only_specials_are_no_match(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(DatasetError, match="0 files match") as caught:
        list_files([f"{tmp_path}/*"])
    assert caught.value.hint == "1 FIFOs, sockets or devices were passed over; only regular files are items"


# --- links


def test_links_inside_the_root_are_followed(tmp_path: Path) -> None:
    touch(tmp_path, "real/a", "real/b")
    os.symlink("real", tmp_path / "folder")
    os.symlink(tmp_path / "real" / "a", tmp_path / "file")
    listing = list_files([f"{tmp_path}/"])
    assert [path.removeprefix(f"{tmp_path}/") for path in listing.paths(0, len(listing))] == [
        "file", "folder/a", "folder/b", "real/a", "real/b"
    ]  # fmt: skip
    assert listing.size(0) == 1


@pytest.mark.fault("H8")
def test_a_dangling_link_stays_an_item(tmp_path: Path) -> None:
    touch(tmp_path, "a")
    os.symlink("nothing", tmp_path / "dangling")
    os.symlink("a/b", tmp_path / "through a file")
    listing = list_files([f"{tmp_path}/"])
    assert [listing.size(item) for item in range(3)] == [1, -1, -1]


@pytest.mark.fault("H8", "S4")
def test_links_out_of_the_root_are_refused_and_named(tmp_path: Path) -> None:
    touch(tmp_path, "in/a", "out/b", "in2/c")
    os.symlink("/etc/passwd", tmp_path / "in" / "passwd")
    os.symlink("../out", tmp_path / "in" / "folder")
    os.symlink("../in2/c", tmp_path / "in" / "a name that begins alike")
    with pytest.raises(DatasetError, match="3 links lead out of") as caught:
        list_files([f"{tmp_path}/in/"])
    for name in ("passwd", "folder", "a name that begins alike"):
        assert f"{tmp_path}/in/{name}" in str(caught.value)
    assert "add a pattern for the folder they lead to" in (caught.value.hint or "")


def test_links_that_the_pattern_does_not_take_are_no_concern(tmp_path: Path) -> None:
    touch(tmp_path, "in/a.png", "out/b")
    os.symlink("../out", tmp_path / "in" / "folder")
    os.symlink("../out/b", tmp_path / "in" / "b.txt")
    os.symlink(".", tmp_path / "in" / "loop")
    assert listed(tmp_path, "in/*.png") == ["in/a.png"]


def test_a_file_named_without_wildcards_may_be_a_link_to_anywhere(tmp_path: Path) -> None:
    touch(tmp_path, "in/a", "out/bb")
    os.symlink("../out/bb", tmp_path / "in" / "link")
    listing = list_files([f"{tmp_path}/in/link"])
    assert (listing.path(0), listing.size(0)) == (f"{tmp_path}/in/link", 2)


@pytest.mark.fault("H8", "S4")
@pytest.mark.parametrize(
    ("target", "message"),
    [(".", "a link leads back to a folder above it"), ("loop", "a link that leads back to itself")],
)
def test_loops_are_errors(tmp_path: Path, target: str, message: str) -> None:
    touch(tmp_path, "x/a")
    os.symlink(target, tmp_path / "x" / "loop")
    with pytest.raises(DatasetError, match=f"{message}: {tmp_path}/x/loop") as caught:
        list_files([f"{tmp_path}/"])
    assert caught.value.hint == "remove the link, or name the folders to take one by one"


@pytest.mark.fault("H8")
def test_two_links_into_each_other_are_a_loop(tmp_path: Path) -> None:
    touch(tmp_path, "a/1", "b/2")
    os.symlink("../b", tmp_path / "a" / "to b")
    os.symlink("../a", tmp_path / "b" / "to a")
    with pytest.raises(DatasetError, match="a link leads back to a folder above it"):
        list_files([f"{tmp_path}/"])


# --- what is an error


@pytest.mark.fault("H1")
def test_nothing_matches(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", "b.jpg", "c.txt", "d")
    with pytest.raises(DatasetError, match=f"0 files match {tmp_path}/\\*.png") as caught:
        list_files([f"{tmp_path}/*.png"])
    assert caught.value.hint == f"{tmp_path}/ holds 2 .jpg, 1 .txt, 1 without extension"
    assert len(list_files([f"{tmp_path}/*.png"], allow_empty=True)) == 0


@pytest.mark.parametrize(
    ("made", "pattern", "hint"),
    [
        ("here/a", "here/there/*.png", "{root}/here is the nearest folder that exists"),
        ("here/x/a", "here/*", "{root}/here/ holds 1 folders and no files; ** looks into all of them"),
        ("here/.a", "here/*", "1 hidden names were passed over; only a component that starts with a dot matches them"),
        ("here/a", "there", "{root}/ holds"),
    ],
)
def test_hints(tmp_path: Path, made: str, pattern: str, hint: str) -> None:
    touch(tmp_path, made)
    if pattern == "there":
        touch(tmp_path, "x.y")
    with pytest.raises(DatasetError, match="0 files match") as caught:
        list_files([f"{tmp_path}/{pattern}"])
    assert (caught.value.hint or "").startswith(hint.format(root=tmp_path))


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("dta/*.txt", "0 files match {root}/dta/*.txt: there is no folder {root}/dta, did you mean data?"),
        ("dta/deep/x.txt", "0 files match {root}/dta/deep/x.txt: there is no folder {root}/dta, did you mean data?"),
        ("data/2024/**", "0 files match {root}/data/2024/**: there is no folder {root}/data/2024"),
        ("data/*.png", "0 files match {root}/data/*.png"),
    ],
)
def test_a_missing_folder_is_named_with_the_one_that_may_be_meant(tmp_path: Path, pattern: str, message: str) -> None:
    touch(tmp_path, "data/a.txt", "zzz/b")
    with pytest.raises(DatasetError) as caught:
        list_files([f"{tmp_path}/{pattern}"])
    assert caught.value.message == message.format(root=tmp_path)


@pytest.mark.fault("H1")
def test_an_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="0 files match") as caught:
        list_files([f"{tmp_path}/"])
    assert caught.value.hint == f"{tmp_path}/ is empty"


def test_a_missing_folder_is_an_error_beside_patterns_that_match(tmp_path: Path) -> None:
    touch(tmp_path, "a")
    with pytest.raises(DatasetError, match=f"0 files match {tmp_path}/gone/"):
        list_files([f"{tmp_path}/*", f"{tmp_path}/gone/"])
    assert len(list_files([f"{tmp_path}/*", f"{tmp_path}/gone/"], allow_empty=True)) == 1


def test_a_missing_file_is_an_error_even_when_the_dataset_may_be_empty(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=f"0 files match {tmp_path}/a.png"):
        list_files([f"{tmp_path}/a.png"], allow_empty=True)


def test_a_folder_named_as_a_file(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=f"not a regular file: {tmp_path}") as caught:
        list_files([str(tmp_path)])
    assert caught.value.hint == "end it with / to take every file below the folder"


def test_one_string_is_no_list_of_patterns() -> None:
    with pytest.raises(TypeError, match="expected a sequence of patterns, got one string: '/a/'"):
        list_files("/a/")


@pytest.mark.fault("H10", "H18")
@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (errno.EACCES, DatasetError),
        (errno.ESTALE, DatasetError),
        (errno.EIO, ResourceError),
        (errno.EMFILE, ResourceError),
        (errno.ENOSPC, ResourceError),
    ],
)
def test_what_cannot_be_read_is_named_with_its_reason(
    tmp_path: Path, code: int, kind: type[BatchflowError], monkeypatch: pytest.MonkeyPatch
) -> None:
    class FailingBuilder(_core.ListingBuilder):
        def walk(self, *_: object) -> int | None:
            raise OSError(code, "cannot read the folder", f"{tmp_path}/in\nside/")

    monkeypatch.setattr(datasets._core, "ListingBuilder", FailingBuilder)
    expected = f"cannot read the folder: {os.strerror(code)}: {tmp_path}/in\\\\nside/"
    with pytest.raises(kind, match=expected):
        list_files([f"{tmp_path}/*"])


@pytest.mark.fault("H5")
def test_names_that_no_terminal_shows_are_escaped_in_messages(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"x\\n\\xff\\x1b") as caught:
        list_files([f"{tmp_path}/x\n\udcff\x1b/*"])
    str(caught.value).encode("utf-8")


def test_nothing_is_left_open(tmp_path: Path) -> None:
    touch(tmp_path, "a/b/c/d", "x")
    os.symlink("..", tmp_path / "a" / "b" / "up")
    before = os.listdir("/proc/self/fd")
    with pytest.raises(DatasetError):
        list_files([f"{tmp_path}/"])
    listing = list_files([f"{tmp_path}/*"])
    assert len(os.listdir("/proc/self/fd")) == len(before) + len(listing.fds())
    del listing
    assert os.listdir("/proc/self/fd") == before


def test_the_listing_needs_no_stat(tmp_path: Path) -> None:
    touch(tmp_path, "a")
    listing = list_files([f"{tmp_path}/a", f"{tmp_path}/*"], stat=False)
    assert not listing.has_stat
    assert listing.paths(0, 1) == [f"{tmp_path}/a"]
    with pytest.raises(ValueError, match=r"listed without size and time \(stat=False\)"):
        listing.size(0)


def test_the_mode_of_a_listing_is_private(tmp_path: Path) -> None:
    touch(tmp_path, "a")
    listing = list_files([f"{tmp_path}/a"])
    for fd in listing.fds():
        assert stat.S_ISREG(os.fstat(fd).st_mode)
        assert not os.get_inheritable(fd)
