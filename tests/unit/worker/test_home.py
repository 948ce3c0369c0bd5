"""Going back to the working directory, and noticing that somebody left it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from batchflow.worker import home
from batchflow.worker.home import Home


@pytest.fixture
def watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Home]:
    monkeypatch.chdir(tmp_path)
    for name in ("chdir", "fchdir"):
        monkeypatch.setattr(os, name, getattr(os, name))
    home.watch()
    it = Home()
    yield it
    os.close(it.folder)
    it.changes.clear()


def test_nobody_has_left_at_first(watched: Home) -> None:
    assert not watched.changes


@pytest.mark.fault("C18")
@pytest.mark.parametrize("by", ["name", "descriptor", "keyword"])
def test_who_leaves_is_noticed_and_comes_back(watched: Home, tmp_path: Path, by: str) -> None:
    if by == "descriptor":
        root = os.open("/", os.O_PATH)
        os.fchdir(root)
        os.close(root)
    elif by == "keyword":
        os.chdir(path="/")
    else:
        os.chdir("/")
    assert watched.changes
    assert Path.cwd() == Path("/")
    watched.go_back()
    assert not watched.changes
    assert Path.cwd() == tmp_path


def test_a_change_that_fails_may_have_been_one(watched: Home) -> None:
    with pytest.raises(FileNotFoundError):
        os.chdir("nowhere")
    assert watched.changes


def test_the_functions_still_look_as_they_did(watched: Home) -> None:
    assert (os.chdir.__name__, os.fchdir.__name__) == ("chdir", "fchdir")
    assert os.chdir.__doc__ is not None
    assert os.chdir.__doc__.startswith("Change the current working directory")


def test_there_is_no_way_back_without_the_descriptor(watched: Home) -> None:
    number = watched.folder
    os.close(number)
    with pytest.raises(OSError, match="Bad file descriptor"):
        watched.go_back()
    watched.folder = os.open(".", os.O_PATH)
