"""Datasets without files are told before a run; what a step makes, and what a short look cannot tell, is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from batchflow.runner import unmatched as room
from batchflow.runner.unmatched import unmatched_datasets
from batchflow.workflow import load_workflow

STEPS = """
[steps.make]
run = "true"
outputs = { one = "made/one.csv", folder = "pictures/" }
"""


def warned(folder: Path, files: str) -> list[str]:
    path = folder / "workflow.toml"
    path.write_text(f"[datasets.d]\nfiles = {files}\n{STEPS}")
    found = unmatched_datasets(load_workflow(path, environ={}, caller_folder=folder))
    assert all((one.code, one.position and one.position.line) == ("BF071", 1) for one in found)
    return [one.message.replace(f"{folder}/", "") for one in found]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("in/a.png", "in/deep/er/b.txt", "in/.hidden.gif"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


@pytest.mark.parametrize(
    "files",
    [
        *('"in/*.png"', '"in/"', '"in/**/*.txt"', '"in/*/*/b.*"', '["none/*.png", "in/a.png"]'),
        *('"made/*.csv"', '"pictures/*.png"', '"pictures/small/"', '"**/one.csv"', '"**/*.bmp"'),
    ],
)
def test_what_is_there_or_may_be_made_gives_no_warning(files: str, folder: Path) -> None:
    assert warned(folder, files) == []


@pytest.mark.parametrize(
    ("files", "more"),
    [
        ('"in/*.txt"', ""),
        ('"in/*/b.txt"', ""),
        ('"in/**/*.gif"', ""),
        ('"made/*.txt"', ": there is no folder made"),
        ('["imn/*.png", "in/b.png"]', ": there is no folder imn, did you mean in?"),
    ],
)
def test_what_is_not_there_is_told_with_the_likeliest_cause(files: str, more: str, folder: Path) -> None:
    assert warned(folder, files) == [f"dataset `d` matches no file{more}"]


def test_what_a_short_look_cannot_tell_is_left_to_the_run(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert warned(folder, '"in/**/*.bmp"') == ["dataset `d` matches no file"]
    monkeypatch.setattr(room, "LOOKED_AT_MAX", 2)
    assert warned(folder, '"in/**/*.bmp"') == []
    monkeypatch.undo()
    (folder / "in/link").symlink_to(folder / "in/deep")
    assert warned(folder, '"in/**/*.bmp"') == []
