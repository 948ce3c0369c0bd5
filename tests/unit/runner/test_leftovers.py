"""What is under temporary names when the outputs of a step have moved: what is ours goes, nothing else does."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from unit.runner.builders import Flow

from batchflow._core import Extent
from batchflow.journal.commits import Journal
from batchflow.journal.records import Success
from batchflow.journal.state import State
from batchflow.runner.leftovers import remove_leftovers
from batchflow.runner.parallel_steps import begin
from batchflow.runner.places import step_folder
from batchflow.runner.steps import pending_outputs
from batchflow.runner.values import RunOptions
from batchflow.workflow.values import ParallelSettings

OUTPUTS = {"rows": "rows.csv", "files": "files/", "note": "note.txt"}
NEW = {"rows": "new.csv", "files": "new-files/", "note": "note.txt"}


def signature(outputs: dict[str, str]) -> dict[str, Any]:
    settings = {"parallel.over": "texts", **{f"outputs.{name}": path for name, path in outputs.items()}}
    inputs = {"texts": {"kind": "files", "count": 4, "digest": "a"}}
    return {"settings": settings, "params": {}, "inputs": inputs, "code": {}, "upstream": {}}


def flow(folder: Path, outputs: dict[str, str], **others: str) -> Flow:
    settings = ParallelSettings(folder / "score.py", folder, ("texts",), append_row_to="rows")
    built = Flow(folder).parallel("score", settings, inputs={"texts": ["in/*"]}, outputs=outputs)
    for name, path in others.items():
        built.run(name, "true", outputs={"it": path})
    return built


@pytest.fixture
def left(tmp_path: Path) -> Path:
    """The folder of a workflow in which a step was interrupted."""
    for name in ("rows.csv", "rows.csv.partial", "rows.csv.partial.ordered", "mine.partial"):
        (tmp_path / name).write_text(name)
    for name in ("files.partial", "note.txt.partial"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "part").touch()
    return tmp_path


def partials(folder: Path) -> set[str]:
    """Of outputs; beside the rows lies their copy in order, as long as they lie there."""
    found = {path.name for path in folder.glob("*.partial")}
    assert (folder / "rows.csv.partial.ordered").exists() == ("rows.csv.partial" in found)
    return found


def test_only_what_lies_at_places_of_before_is_removed(left: Path) -> None:
    remove_leftovers(signature(OUTPUTS), flow(left, NEW).build())
    assert partials(left) == {"mine.partial", "note.txt.partial"}
    assert (left / "rows.csv").read_text() == "rows.csv"


@pytest.mark.parametrize(
    ("place", "stays"),
    [
        ("rows.csv", "rows.csv.partial"),
        ("rows.csv.partial", "rows.csv.partial"),
        ("files/", "files.partial"),
        ("files.partial/in/it", "files.partial"),
        ("files.partial/", "files.partial"),
    ],
)
def test_what_another_step_writes_now_is_not_ours_any_more(place: str, stays: str, left: Path) -> None:
    remove_leftovers(signature(OUTPUTS), flow(left, NEW, other=place).build())
    assert partials(left) == {"mine.partial", "note.txt.partial", stays}


def test_below_a_folder_that_another_step_writes_nothing_is_removed(left: Path) -> None:
    (left / "out").mkdir()
    (left / "out/rows.csv.partial").touch()
    remove_leftovers(signature({"rows": "out/rows.csv"}), flow(left, NEW, other="out/").build())
    assert (left / "out/rows.csv.partial").exists()


def test_a_link_is_removed_and_what_it_leads_to_is_not(left: Path) -> None:
    (left / "rows.csv.partial").unlink()
    (left / "rows.csv.partial").symlink_to(left / "mine.partial")
    remove_leftovers(signature(OUTPUTS), flow(left, NEW).build())
    assert partials(left) == {"mine.partial", "note.txt.partial"}


def interrupted(built: Flow, *, phase: Any = "running") -> None:
    with Journal.open_for_run(step_folder(built.build(), "score")) as journal:
        journal.begin(State("r1", "score", 4, signature(OUTPUTS), 10, phase=phase))
        journal.commit([Extent(0, 2, 0, 0, 0, 2, 0, 1, 1)], [], replace(journal._begun(), work_s=5.0))


@pytest.mark.parametrize("wish", [{}, {"restart": True}, {"forced": True}])
def test_a_step_that_begins_anew_elsewhere_takes_its_leftovers_with_it(wish: dict[str, bool], left: Path) -> None:
    built = flow(left, NEW)
    interrupted(built)
    step, forced = built.steps["score"], "forced" in wish
    options = RunOptions(restart="restart" in wish)
    beginning = begin(
        step,
        built.build(),
        step_folder(built.build(), "score"),
        pending_outputs(step),
        signature(NEW),
        None,
        options,
        forced=forced,
    )
    assert not beginning.resumption.resumes
    assert beginning.resumption.notices[0].endswith("dropped: 2 of 4 items (5.0 s of work)")
    assert partials(left) == {"mine.partial", "note.txt.partial"}


@pytest.mark.parametrize(("phase", "new"), [("running", OUTPUTS), ("finished", NEW)])
def test_a_step_that_goes_on_or_is_over_leaves_them(phase: str, new: dict[str, str], left: Path) -> None:
    built = flow(left, new)
    interrupted(built, phase=phase)
    step, state_folder = built.steps["score"], step_folder(built.build(), "score")
    success = Success("score", "r1", 1.0, signature(OUTPUTS), {}) if phase == "finished" else None
    before = partials(left)
    begin(
        step,
        built.build(),
        state_folder,
        pending_outputs(step),
        signature(new),
        success,
        RunOptions(),
        forced=False,
    )
    assert partials(left) == before
