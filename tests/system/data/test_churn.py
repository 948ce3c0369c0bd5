"""A folder that changes while it is listed."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from batchflow.data import list_files
from batchflow.errors import DatasetError


@pytest.mark.fault("H16")
def test_what_stays_is_listed_once_while_other_files_come_and_go(tmp_path: Path) -> None:
    stay = sorted(f"{tmp_path}/{number % 7}/stay-{number:04}" for number in range(700))
    for folder in range(7):
        (tmp_path / str(folder)).mkdir()
    for path in stay:
        Path(path).touch()
    enough = threading.Event()

    def come_and_go() -> None:
        number = 0
        while not enough.is_set():
            path = tmp_path / str(number % 7) / f"passing-{number % 50:02}"
            path.touch()
            path.rename(path.with_name(f"renamed-{number % 50:02}"))
            path.with_name(f"renamed-{number % 50:02}").unlink()
            number += 1

    thread = threading.Thread(target=come_and_go)
    thread.start()
    try:
        for _ in range(50):
            listing = list_files([f"{tmp_path}/"])
            paths = listing.paths(0, len(listing))
            assert [path for path in paths if "/stay-" in path] == stay
            assert len(set(paths)) == len(paths)
    finally:
        enough.set()
        thread.join()


@pytest.mark.fault("H16")
def test_a_folder_that_vanishes_meanwhile_is_left_out_or_an_error_but_never_half_listed(tmp_path: Path) -> None:
    for folder in ("a", "z"):
        (tmp_path / folder).mkdir()
        for number in range(100):
            (tmp_path / folder / f"{number:03}").touch()
    enough = threading.Event()

    def hide_and_show() -> None:
        while not enough.is_set():
            os.rename(tmp_path / "z", tmp_path / ".z")
            os.rename(tmp_path / ".z", tmp_path / "z")

    thread = threading.Thread(target=hide_and_show)
    thread.start()
    try:
        for _ in range(100):
            try:
                listing = list_files([f"{tmp_path}/"])
            except DatasetError:
                continue
            folders = [path.rpartition("/")[0].rpartition("/")[2] for path in listing.paths(0, len(listing))]
            assert (folders.count("a"), folders.count("z") in (0, 100)) == (100, True)
    finally:
        enough.set()
        thread.join()
