"""What a parallel step begins with: by the phase of its journal, and by which outputs have their names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from unit.runner.builders import Flow
from unit.runner.scene import OURS, ROWS, SIGNATURE, Scene, flow

from batchflow.errors import JournalError
from batchflow.output.publish import exchange
from batchflow.output.segment import RESTART_HINT
from batchflow.runner.parallel_steps import (
    Beginning,
    begin,
    kept_outputs,
    rows_path,
    script_folder,
)
from batchflow.runner.resume import Resumption
from batchflow.runner.values import RunOptions
from batchflow.workflow.values import ParallelSettings


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path, flow(tmp_path))


GOES_ON = ("goes on: 4 of 4 items are done (5.0 s of work)",)


def test_other_kinds_of_steps_begin_with_nothing(tmp_path: Path) -> None:
    built = Flow(tmp_path).run("copy", "cp a b", outputs={"b": "b"})
    step = built.steps["copy"]
    beginning = begin(step, built.build(), tmp_path, {}, SIGNATURE, None, RunOptions(), forced=False)
    assert (beginning, kept_outputs(step)) == (Beginning(), frozenset())


def test_what_the_committer_empties_is_not_emptied_before_the_journal_forgets_it(scene: Scene) -> None:
    assert scene.begin() == Beginning(kept=OURS)
    scene.write()
    scene.journal("running")
    anew = scene.begin(forced=True)
    assert anew.kept == OURS
    assert anew.resumption.notices == ("begins anew; dropped: 4 of 4 items (5.0 s of work)",)


def test_an_interrupted_step_keeps_all_that_its_script_made(scene: Scene) -> None:
    scene.write()
    scene.journal("running")
    expected = Beginning(Resumption(resumes=True, notices=GOES_ON), kept=OURS)
    assert scene.begin() == expected
    assert all(output.temporary.exists() for output in scene.outputs.values())


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, "rows.csv.partial"),
        ({"append_row_to": "files"}, "files.partial/parallel_run_step.txt"),
        ({"append_row_to": "files", "append_row_file_name": "x"}, "files.partial/x"),
        ({"append_row_to": None}, None),
    ],
)
def test_where_the_rows_go(tmp_path: Path, settings: dict[str, Any], expected: str | None) -> None:
    scene = Scene(tmp_path, flow(tmp_path, **settings))
    assert scene.step.parallel is not None
    path = rows_path(scene.step.parallel, scene.outputs, final=False)
    assert path == (None if expected is None else tmp_path / expected)
    final = rows_path(scene.step.parallel, scene.outputs, final=True)
    assert final == (None if expected is None else tmp_path / expected.replace(".partial", ""))


def test_the_first_folder_is_for_files_of_the_script(scene: Scene) -> None:
    assert script_folder(scene.outputs) == scene.outputs["files"]
    assert script_folder({"rows": scene.outputs["rows"]}) is None


@pytest.mark.parametrize("retries", [False, True])
@pytest.mark.parametrize(
    "published",
    [(), ("rows",), ("rows", "files"), ("rows", "files", "more"), ("files",), tuple(sorted(OURS)), ("note",)],
    ids="+".join,
)
def test_a_publication_that_was_cut_short_is_ended_where_it_stopped(
    scene: Scene, published: tuple[str, ...], retries: bool
) -> None:
    """Under the final names may lie older outputs, too; each is told by its inode."""
    scene.write()
    scene.journal("finished", failed=1)
    for name in OURS - {*published}:
        older = scene.outputs[name].final
        older.mkdir() if scene.outputs[name].is_folder else older.write_text("older")
    scene.publish(*published)
    beginning = scene.begin(retry=retries)
    assert (beginning.resumption.resumes, beginning.resumption.reopens) == (True, retries)
    assert beginning.kept == OURS
    if retries:
        assert beginning.published == frozenset()
        assert beginning.copies == tuple(
            (scene.outputs[name].final, scene.outputs[name].temporary) for name in sorted(published)
        )
    else:
        assert (beginning.published, beginning.copies) == (frozenset(published), ())
    assert beginning.is_published == (bool(published) and not retries)
    for name in OURS - {*published}:
        assert scene.outputs[name].temporary.exists()


def test_what_is_left_of_an_exchange_of_folders_is_the_older_one(scene: Scene) -> None:
    scene.write()
    scene.journal("finished")
    scene.publish("rows")
    older = scene.outputs["files"]
    older.final.mkdir()
    (older.final / "old").touch()
    if not exchange(older.temporary, older.final):
        pytest.skip("this file system cannot exchange two names")
    assert scene.begin().published == {"rows", "files"}
    assert not older.partial.exists()
    assert [path.name for path in older.final.iterdir()] == ["new"]


def test_a_success_that_is_tried_again_is_copied_even_if_a_copy_was_begun(scene: Scene) -> None:
    scene.write()
    scene.journal("finished", failed=1)
    scene.publish(*OURS)
    scene.outputs["rows"].temporary.write_text("half a copy")
    scene.outputs["files"].temporary.mkdir()
    beginning = scene.begin(scene.success(), retry=True)
    assert [one.name for one, _ in beginning.copies] == ["files", "more", "note.txt", "rows.csv"]
    assert (beginning.is_published, beginning.published) == (False, frozenset())
    assert not scene.outputs["rows"].temporary.exists()
    assert not scene.outputs["files"].temporary.exists()


def test_a_success_that_is_not_tried_again_is_no_matter(scene: Scene) -> None:
    scene.write()
    scene.journal("finished")
    scene.publish(*OURS)
    assert scene.begin(scene.success()) == Beginning(kept=OURS)


@pytest.mark.parametrize("published", [("rows", "files"), ("files",)], ids="+".join)
@pytest.mark.parametrize("spoil", ["changed", "shorter", "missing"])
def test_rows_that_are_not_as_they_were_left_are_refused(scene: Scene, published: tuple[str, ...], spoil: str) -> None:
    scene.write()
    scene.journal("finished")
    scene.publish(*published)
    output = scene.outputs["rows"]
    path = output.final if "rows" in published else output.temporary
    path.unlink() if spoil == "missing" else path.write_bytes(b"two\none\n" if spoil == "changed" else ROWS[:4])
    with pytest.raises(
        JournalError, match=r"rows(\.csv(\.partial)?)? is not (as the step|where it was) left"
    ) as caught:
        scene.begin()
    assert caught.value.hint == RESTART_HINT
    assert scene.outputs["more"].temporary.exists()


def test_rows_in_a_folder_are_checked_in_it(tmp_path: Path) -> None:
    scene = Scene(tmp_path, flow(tmp_path, append_row_to="files"))
    scene.write()
    (scene.outputs["files"].temporary / "parallel_run_step.txt").write_bytes(ROWS)
    scene.journal("finished")
    scene.publish("files")
    assert scene.begin().published == {"files"}
    (scene.outputs["files"].final / "parallel_run_step.txt").write_bytes(ROWS + b"!")
    with pytest.raises(JournalError, match=r"files/parallel_run_step\.txt is not as the step left it"):
        scene.begin()


def test_a_step_without_outputs_of_its_own_is_published_when_it_is_finished(tmp_path: Path) -> None:
    settings = ParallelSettings(
        tmp_path / "score.py", tmp_path, ("files",), output_action="summary_only", receipt_to="receipt"
    )
    scene = Scene(
        tmp_path,
        Flow(tmp_path).parallel("score", settings, inputs={"files": ["in/*"]}, outputs={"receipt": "r.json"}),
    )
    scene.journal("finished")
    assert scene.begin() == Beginning(Resumption(resumes=True, notices=GOES_ON), is_published=True)


@pytest.mark.parametrize("content", [None, b"damaged"])
def test_restart_drops_the_journal_readable_or_not(scene: Scene, content: bytes | None) -> None:
    scene.write()
    scene.journal("running")
    for suffix in ("-wal", "-shm"):
        (scene.state_folder / f"journal.db{suffix}").touch()
    if content is not None:
        (scene.state_folder / "journal.db").write_bytes(content)
        with pytest.raises(JournalError, match="the journal of the step is damaged"):
            scene.begin()
    (notice,) = scene.begin(restart=True).resumption.notices
    what = "4 of 4 items (5.0 s of work)" if content is None else "the journal of the step is damaged, path="
    assert notice.startswith(f"begins anew; dropped: {what}")
    assert list(scene.state_folder.iterdir()) == []
