"""Tables by their keys through the real command: every row once, whatever happens to the rows that were sorted."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import pytest
from system.cli.tables import call, receipt, state, succeeds
from system.cli.test_interrupted_runs import killed_at

KEYS = 40
ROWS = 3000

SCRIPT = """\
def run(mini_batch, context):
    (key,) = context.partition_key_value.values()
    return [[key, *mini_batch["n"]]]
"""
WORKFLOW = """\
[datasets.d]
table = "in/*.csv"
[steps.score]
inputs = { rows = "${datasets.d}" }
outputs = { out = "out.jsonl" }
[steps.score.parallel]
entry_script = "score.py"
items = "any"
workers = 2
"""


def key_of(number: int) -> str:
    """Rows come in no order; every eleventh has no key."""
    return "" if number % 11 == 0 else str(number * 7 % KEYS)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    for file in range(3):
        with (tmp_path / f"in/{file}.csv").open("w", newline="") as out:
            rows = csv.writer(out)
            rows.writerow(["k", "n", "note"])
            rows.writerows([key_of(number), number, 'a\n"b"'] for number in range(file, ROWS, 3))
    (tmp_path / "score.py").write_text(SCRIPT)
    write_workflow(tmp_path, "partition_keys = ['k']\n")
    return tmp_path


def write_workflow(project: Path, keys: str) -> None:
    (project / "workflow.toml").write_text(WORKFLOW + keys)


def expected() -> str:
    """A line for each key: by number, the missing one last; its rows by file, then by number."""
    in_order = [number for file in range(3) for number in range(file, ROWS, 3)]
    lines = []
    for key in [*map(str, range(KEYS)), ""]:
        numbers = [number for number in in_order if key_of(number) == key]
        lines.append(f"[{', '.join([key or 'null', *map(str, numbers)])}]\n")
    return "".join(lines).replace(", ", ",")


def output(project: Path) -> str:
    return (project / "out.jsonl").read_text().replace(", ", ",")


def leftovers(project: Path) -> list[str]:
    return [path.name for path in state(project, "").glob("*.keys")]


def test_every_row_comes_with_the_others_of_its_key(project: Path) -> None:
    succeeds(project)
    assert output(project) == expected()
    found = receipt(project)
    assert (found["items_in"], found["succeeded"], found["mini_batches"]) == (ROWS, ROWS, KEYS + 1)
    assert leftovers(project) == []


def test_killed_runs_go_on_with_the_rows_that_are_sorted(project: Path) -> None:
    for place in ("after_pwrite", "before_commit", "resume_verified", "after_commit"):
        killed_at(place, project)
        assert leftovers(project) == ["rows-rows.keys"]
    said = succeeds(project)
    assert "goes on: " in said
    assert "sorting rows" not in said
    assert output(project) == expected()
    assert leftovers(project) == []


@pytest.mark.parametrize("what", ["all", "rows", "result.json", "the end"])
def test_rows_that_are_gone_are_sorted_anew(what: str, project: Path) -> None:
    killed_at("after_commit", project)
    folder = state(project, "rows-rows.keys")
    if what == "all":
        shutil.rmtree(folder)
    elif what == "the end":
        rows = (folder / "rows").read_bytes()
        (folder / "rows").write_bytes(rows[: len(rows) // 2])
    else:
        (folder / what).unlink()
    assert "goes on: " in succeeds(project)
    assert output(project) == expected()
    assert leftovers(project) == []


@pytest.mark.parametrize("keys", ["partition_keys = ['note']\n", "mini_batch_size = '7 rows'\n", "over = ['rows']\n"])
def test_other_mini_batches_leave_nothing_of_the_sorted_rows(keys: str, project: Path) -> None:
    killed_at("after_commit", project)
    write_workflow(project, keys)
    (project / "score.py").write_text("def run(mini_batch):\n    return list(mini_batch['n'])\n")
    succeeds(project)
    assert sorted(map(int, output(project).split())) == list(range(ROWS))
    assert leftovers(project) == []


def test_two_tables_are_sorted_each_on_its_own(project: Path) -> None:
    write_workflow(project, "partition_keys = ['k']\nover = ['rows', 'more']\n")
    text = (project / "workflow.toml").read_text()
    text = text.replace('rows = "${datasets.d}"', 'rows = "${datasets.d}", more = "${datasets.d}"')
    (project / "workflow.toml").write_text(text)
    succeeds(project)
    assert output(project) == expected() * 2
    assert leftovers(project) == []


def test_a_value_that_cannot_be_read_ends_the_step_before_it_begins(project: Path) -> None:
    with (project / "in/1.csv").open("a") as out:
        out.write("5,many,x\n")
    (project / "workflow.toml").write_text(WORKFLOW.replace("[steps.score]", "sample_rows = 5\n[steps.score]", 1))
    with (project / "workflow.toml").open("a") as out:
        out.write("partition_keys = ['k']\n")
    ended = call(project)
    assert ended.returncode == 3, ended.stderr
    assert "in/1.csv:2002 (byte " in ended.stderr
    assert "column 'n'" in ended.stderr
    assert "'many'" in ended.stderr
    assert leftovers(project) == []


def test_a_key_that_is_no_column_is_told_with_the_one_that_was_meant(project: Path) -> None:
    write_workflow(project, "partition_keys = ['nota']\n")
    ended = call(project)
    assert ended.returncode == 3, ended.stderr
    assert "the partition key 'nota' is no column of the table" in ended.stderr
    assert "did you mean 'note'?" in ended.stderr
