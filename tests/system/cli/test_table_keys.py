"""``batchflow run`` over several inputs, and over rows and files that are split by their keys."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from system.cli.tables import FILES, ROWS, failed, make_project, receipt, rows_of, state, succeeds
from system.cli.test_interrupted_runs import killed_at

TWO = """\
schema = 1
[datasets.a]
table = "data/*.csv"
[datasets.b]
table = "more/*.csv"
[steps.score]
inputs = { a = "${datasets.a}", b = "${datasets.b}" }
outputs = { out = "out/rows.txt" }
[steps.score.parallel]
entry_script = "score.py"
over = ["a", "b"]
mini_batch_size = "150 rows"
workers = 2
"""


def test_two_tables_are_split_each_on_its_own(tmp_path: Path) -> None:
    project = make_project(tmp_path / "p")
    (project / "more").mkdir()
    (project / "more/x.csv").write_text("id,other\n7,a\n8,b\n")
    (project / "workflow.toml").write_text(TWO)
    (project / "score.py").write_text(
        "def run(mini_batch, context):\n"
        "    return [f'{context.dataset.name} {context.mini_batch_index} {row}' for row in mini_batch['id']]\n"
    )
    succeeds(project)
    lines = (project / "out/rows.txt").read_text().splitlines()
    expect = [f"a {2 * file + k // 150} {1000 * file + k}" for file in range(FILES) for k in range(ROWS)]
    assert lines == [*expect, "b 6 7", "b 6 8"]
    inputs = receipt(project)["details"]["inputs"]
    assert [(name, one["items"]) for name, one in inputs.items()] == [("a", FILES * ROWS), ("b", 2)]


KEYED = """\
schema = 1
[datasets.files]
files = "data/"
partition_format = "{user}/{season}-{n}.txt"
[steps.score]
inputs = { files = "${datasets.files}" }
outputs = { out = "out/rows.txt" }
[steps.score.parallel]
entry_script = "score.py"
partition_keys = ["user", "season"]
items = "any"
workers = 2
"""


def test_files_with_equal_keys_come_together(tmp_path: Path) -> None:
    project = tmp_path / "p"
    for user in ("bob", "ann"):
        (project / "data" / user).mkdir(parents=True)
        for season in ("winter", "spring"):
            for number in range(3):
                (project / "data" / user / f"{season}-{number}.txt").touch()
    (project / "workflow.toml").write_text(KEYED)
    (project / "score.py").write_text(
        "import json\n"
        "def run(mini_batch, context):\n"
        "    return [json.dumps([dict(context.partition_key_value), [path[-5:] for path in mini_batch]])]\n"
    )
    succeeds(project)
    found = [json.loads(line) for line in (project / "out/rows.txt").read_text().splitlines()]
    assert found == [
        [{"user": user, "season": season}, ["0.txt", "1.txt", "2.txt"]]
        for user in ("ann", "bob")
        for season in ("spring", "winter")
    ]


ROWS_BY_KEY = """\
import json
def run(mini_batch, context):
    keys = dict(context.partition_key_value)
    assert set(mini_batch["name"]) == {keys["name"]}
    assert list(mini_batch.index) == list(range(len(mini_batch)))
    return [json.dumps([keys["name"], context.mini_batch_index, list(map(int, mini_batch["id"]))])]
"""


def keyed_project(folder: Path, kind: str = "csv", **keys: Any) -> Path:
    settings = 'partition_keys = ["name"]\nitems = "any"\n' + keys.pop("settings", "")
    project = make_project(folder, kind, settings=settings, **keys)
    text = (project / "workflow.toml").read_text().replace("out/rows.csv", "out/rows.txt")
    (project / "workflow.toml").write_text(text.replace('mini_batch_size = "1KB"\n', ""))
    (project / "score.py").write_text(ROWS_BY_KEY)
    return project


def rows_by_name() -> list[list[Any]]:
    """Name, number of the mini-batch, ids: by name, and in the order of the input."""
    rows = [row for file in range(FILES) for row in rows_of(file)]
    names = sorted({row["name"] for row in rows})
    return [[name, place, [row["id"] for row in rows if row["name"] == name]] for place, name in enumerate(names)]


@pytest.mark.parametrize("kind", ["csv", "jsonl.gz", "parquet"])
def test_all_rows_with_equal_keys_come_together(kind: str, tmp_path: Path) -> None:
    project = keyed_project(tmp_path / "p", kind)
    succeeds(project)
    lines = (project / "out/rows.txt").read_text().splitlines()
    assert [json.loads(line) for line in lines] == rows_by_name()
    found = receipt(project)
    assert (found["items_in"], found["mini_batches"], found["failed"]) == (FILES * ROWS, 5, 0)
    assert not list(state(project, "").glob("*.keys"))
    assert "nothing to do" in succeeds(project)


def test_a_key_that_fails_is_named_and_tried_again_as_a_whole(tmp_path: Path) -> None:
    project = keyed_project(tmp_path / "p", settings=f"error_threshold = {FILES * ROWS}\nrun_max_try = 2")
    script = (project / "score.py").read_text()
    broken = script.replace("    return", "    assert keys['name'] != 'd'\n    return")
    (project / "score.py").write_text(broken)
    killed_at("before_commit", project)
    said = succeeds(project)
    assert f"{FILES * ROWS // 5} items of step score failed" in said
    entries = failed(project)
    assert [entry["item"] for entry in entries] == [{"keys": {"name": "d"}, "row": k} for k in range(FILES * ROWS // 5)]
    assert {entry["attempts"] for entry in entries} == {2}  # of all of it, never of a part
    assert "name=d, row 0" in said
    (project / "score.py").write_text(script)
    succeeds(project, "retry")
    lines = (project / "out/rows.txt").read_text().splitlines()
    assert [json.loads(line) for line in lines] == rows_by_name()
