"""Digests of outputs: every byte and name counts, times do not, and too much is left out."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from batchflow.runner.contents import content_of, contents


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three files of four bytes each and two links."""
    out = tmp_path / "out"
    (out / "a").mkdir(parents=True)
    (out / "b").mkdir()
    for name in ("a/1", "b/1", "c"):
        (out / name).write_text("abcd")
    (out / "to-file").symlink_to("c")
    (out / "to-folder").symlink_to("a")
    return out


CHANGES: dict[str, Callable[[Path], object]] = {
    "bytes": lambda out: (out / "a/1").write_text("abce"),
    "name": lambda out: (out / "c").rename(out / "d"),
    "another folder": lambda out: (out / "a/1").rename(out / "b/2"),
    "one more": lambda out: (out / "e").touch(),
    "one less": lambda out: (out / "c").unlink(),
    "a cut between two": lambda out: ((out / "a/1").write_text("ab"), (out / "b/1").write_text("cdabcd")),
    "link": lambda out: ((out / "to-file").unlink(), (out / "to-file").symlink_to("a/1")),
    "link to a folder": lambda out: ((out / "to-folder").unlink(), (out / "to-folder").symlink_to("b")),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_what_differs_has_another_digest(change: Callable[[Path], object], folder: Path) -> None:
    before = content_of(folder)
    assert before is not None
    change(folder)
    assert content_of(folder) not in (None, before)


def test_times_and_empty_folders_are_not_contents(folder: Path) -> None:
    before = content_of(folder)
    for path in (folder, folder / "c", folder / "a/1"):
        os.utime(path, ns=(1, 1))
    (folder / "empty").mkdir()
    assert content_of(folder) == before
    assert content_of(folder / "c") == content_of(folder / "a/1") != before


def test_what_cannot_be_read_has_none(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert content_of(folder / "nothing") is None
    os.mkfifo(folder / "pipe")
    assert content_of(folder) is content_of(folder / "pipe") is None
    assert contents({"out": folder, "none": folder / "nothing", "c": folder / "c"}).keys() == {"c"}
    (folder / "pipe").unlink()

    def refuse(path: str) -> None:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(os, "scandir", refuse)
    assert content_of(folder) is None
    assert contents({"out": folder}) == {}


@pytest.mark.parametrize(
    ("size_max", "count_max", "names"),
    [
        (100, 100, {"out", "c", "one"}),
        (100, 5, {"out"}),  # five names, two of them links
        (100, 6, {"out", "c"}),
        (100, 4, {"c", "one"}),
        (8, 100, {"c", "one"}),
        (4, 100, {"c"}),
        (3, 100, set()),
    ],
)
def test_outputs_are_read_as_long_as_that_is_cheap(
    size_max: int, count_max: int, names: set[str], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("batchflow.runner.contents._SIZE_MAX", size_max)
    monkeypatch.setattr("batchflow.runner.contents._COUNT_MAX", count_max)
    found = contents({"out": folder, "c": folder / "c", "one": folder / "a/1"})
    assert found.keys() == names
    assert all(digest == content_of({"out": folder}.get(name, folder / "c")) for name, digest in found.items())
