"""What a workflow file says of the items of a parallel step, through to what ``run()`` gets."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import batchflow
from batchflow.errors import BatchflowError

SCRIPT = """\
from pathlib import Path

def run(mini_batch, context):
    return [{**context.partition_key_value, "files": " ".join(Path(path).stem for path in mini_batch)}]
"""
WORKFLOW = """\
[datasets.songs]
files = "music/**/*.wav"
partition_format = "{user}/{season}/{genre}.wav"
[steps.listen]
inputs = { songs = "${datasets.songs}", rock = "music/**/rock.wav" }
outputs = { rows = "rows.csv" }
[steps.listen.parallel]
entry_script = "listen.py"
items = "any"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for song in ("ann/summer/rock", "ann/summer/jazz", "ann/winter/rock", "bob/summer/rock", "bob/winter/pop"):
        path = tmp_path / "music" / f"{song}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tmp_path / "listen.py").write_text(SCRIPT)
    return tmp_path


def rows(folder: Path, keys: str) -> str:
    (folder / "workflow.toml").write_text(WORKFLOW + keys)
    return batchflow.run(folder / "workflow.toml").steps["listen"].outputs["rows"].read_text()


def test_files_with_the_same_keys_come_together(folder: Path) -> None:
    assert rows(folder, "over = 'songs'\npartition_keys = ['season', 'user']\n") == (
        "season,user,files\nsummer,ann,jazz rock\nsummer,bob,rock\nwinter,ann,rock\nwinter,bob,pop\n"
    )
    assert rows(folder, "over = 'songs'\npartition_keys = ['genre']\n") == (
        "genre,files\njazz,jazz\npop,pop\nrock,rock rock rock\n"
    )


def test_every_input_is_split_on_its_own(folder: Path) -> None:
    expected = "files\njazz rock\nrock rock\npop\nrock rock\nrock\n"
    assert rows(folder, "over = ['songs', 'rock']\nmini_batch_size = 2\n") == expected


def test_a_path_without_the_keys_is_named(folder: Path) -> None:
    (folder / "music/stray.wav").touch()
    (folder / "workflow.toml").write_text(
        WORKFLOW.replace("{user}", "music/{user}") + "over = 'songs'\npartition_keys = ['user']\n"
    )
    with pytest.raises(BatchflowError, match=re.escape(f"{folder}/music/stray.wav does not end as partition_format")):
        batchflow.run(folder / "workflow.toml")
