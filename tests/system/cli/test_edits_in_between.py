"""A workflow that was edited between a kill and the next run: what is done is kept, asked about, or told as dropped."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import pytest
from system.cli import faulty
from system.cli.test_broken_disks import EXPECTED, call, make_project
from system.cli.test_interrupted_runs import BATCHFLOW, COUNTS, PARTIAL, ROWS, calls, killed_at, refuses, runs

MUCH = "batchflow.runner.resume:WORK_AT_STAKE_S=0"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return make_project(tmp_path / "project", COUNTS)


def edit(folder: Path, old: str, new: str) -> None:
    text = (folder / "workflow.toml").read_text()
    assert old in text
    (folder / "workflow.toml").write_text(text.replace(old, new))


@pytest.mark.fault("L4")
def test_an_output_that_moves_after_much_work_is_refused_and_may_be_put_back(project: Path) -> None:
    killed_at("after_commit:2", project)
    edit(project, "out/rows.csv", "out/other.csv")
    said = refuses(project, constants=MUCH)
    assert "setting changed outputs.rows: out/rows.csv → out/other.csv" in said
    assert "with another outputs.rows nothing of what is done can be kept: put that back to go on" in said
    assert said.endswith("\nto drop what is done and begin the step anew: batchflow run --restart\n")
    assert refuses(project, "run", "--accept-changes", constants=MUCH) == said
    edit(project, "out/other.csv", "out/rows.csv")
    assert "goes on: " in runs(project)


@pytest.mark.fault("L4")
@pytest.mark.parametrize("words", [("run",), ("run", "--restart")], ids=" ".join)
def test_an_output_that_moves_leaves_nothing_behind(words: tuple[str, ...], project: Path) -> None:
    killed_at("after_commit:2", project)
    edit(project, "out/rows.csv", "other/rows.csv")
    done = call([*BATCHFLOW, *words], project)
    assert done.returncode == 0, done.stderr
    assert "begins anew" in done.stderr
    assert "dropped: " in done.stderr
    assert (project / "other/rows.csv").read_text() == EXPECTED
    assert list((project / "out").iterdir()) == []


def test_a_copy_of_the_failures_and_another_order_change_nothing_of_what_is_done(project: Path) -> None:
    edit(project, 'append_row_to = "rows"', 'append_row_to = "rows"\norder = "completion"')
    killed_at("after_commit:3", project)
    committed = {line[:3] for line in (project / PARTIAL).read_text().splitlines()[1:]}
    (project / "calls").write_text("")
    edit(project, 'order = "completion"', 'failed_to = "failed"')
    edit(project, '{ rows = "out/rows.csv" }', '{ rows = "out/rows.csv", failed = "failed.jsonl" }')
    done = call([sys.executable, faulty.__file__, MUCH, "run"], project)
    assert done.returncode == 0, done.stderr
    assert "goes on: " in done.stderr
    assert (project / ROWS).read_text() == EXPECTED
    assert (project / "failed.jsonl").read_text() == ""
    assert not committed.intersection(calls(project))


PARTS = """\
import os, time
def run(mini_batch, context):
    names = [os.path.basename(path) for path in mini_batch]
    while "016" in names and not os.path.exists("go"):
        time.sleep(0.01)
    with open(os.path.join(context.output_dir, f"part-{context.mini_batch_index}.txt"), "w") as file:
        file.write("".join(f"{name}\\n" for name in names))
    return names
"""


@pytest.mark.fault("L10")
@pytest.mark.parametrize("place", ["before_commit:1", "after_commit:1"])
@pytest.mark.parametrize("size", [2, 5])
def test_files_that_a_script_names_by_its_mini_batches_hold_every_item_once(
    place: str, size: int, project: Path
) -> None:
    (project / "score.py").write_text(PARTS)
    edit(project, '{ rows = "out/rows.csv" }', '{ rows = "out/rows.csv", parts = "parts/" }')
    edit(project, "mini_batch_size = 1", "mini_batch_size = 3")
    killed_at(place, project)
    (project / "go").touch()
    edit(project, "mini_batch_size = 3", f"mini_batch_size = {size}")
    said = runs_well(project)
    assert "mini-batches keep their 3 items: the script's own files may be named by them" in said
    parts = Counter("".join(path.read_text() for path in (project / "parts").iterdir()).split())
    assert parts == Counter(f"{number:03}" for number in range(20))
    assert (project / ROWS).read_text().split() == ["result", *sorted(parts)]
    assert "nothing to do" in runs_well(project)


def runs_well(folder: Path, *words: str) -> str:
    done = call([*BATCHFLOW, *(words or ("run",))], folder)
    assert done.returncode == 0, done.stderr
    return done.stderr + done.stdout


BAD = f"{COUNTS}\n    if number == '003' and not os.path.exists('good'): raise ValueError"


@pytest.mark.fault("F16")
@pytest.mark.parametrize("damage", ["missing", "empty"])
def test_retry_without_a_journal_says_how_to_do_it_all_again(damage: str, tmp_path: Path) -> None:
    project = make_project(tmp_path / "project", BAD)
    edit(project, "workers = 2", "workers = 2\nerror_threshold = 1\nrun_max_try = 1")
    runs_well(project)
    journal = project / ".batchflow/workflow/steps/score/journal.db"
    journal.unlink()
    if damage == "empty":
        journal.touch()
    (project / "good").touch()
    for words in (("retry",), ("retry", "-n")):
        done = call([*BATCHFLOW, *words], project)
        told = done.stdout + done.stderr
        assert done.returncode == (6 if words == ("retry",) else 0), told
        assert "step score: its journal, which names what failed, is gone" in told
        assert "batchflow run score -f" in told
    runs_well(project, "run", "score", "-f")
    assert (project / ROWS).read_text() == EXPECTED
    assert "nothing to retry" in runs_well(project, "retry")
