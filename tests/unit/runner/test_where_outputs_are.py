"""Between two runs somebody removes, copies or replaces what a parallel step has left."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path
from typing import Any

import pytest
from unit.runner.scene import OURS, ROWS, Scene, flow

from batchflow.errors import JournalError, RefusedError, ResourceError
from batchflow.output.segment import RESTART_HINT
from batchflow.runner import parallel_steps


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path, flow(tmp_path))


def copied(scene: Scene, published: tuple[str, ...], older: tuple[str, ...]) -> Scene:
    """A copy of the project, in which every inode is another one, after a death between two renames."""
    scene.write()
    scene.journal("finished")
    scene.publish(*published)
    for name in older:
        scene.outputs[name].final.write_text("older")
    copy = scene.folder / "copy"
    shutil.copytree(scene.folder, copy, ignore=shutil.ignore_patterns("copy"))
    return Scene(copy, flow(copy))


@pytest.mark.parametrize(("published", "older"), [((), ()), ((), ("rows",)), (("rows",), ())])
def test_in_a_copied_project_rows_and_free_names_tell_what_is_published(
    scene: Scene, published: tuple[str, ...], older: tuple[str, ...]
) -> None:
    beginning = copied(scene, published, older).begin()
    assert (beginning.published, beginning.is_published) == (frozenset(published), bool(published))


@pytest.mark.parametrize(("published", "older"), [(("files",), ()), ((), ("note",)), (tuple(OURS), ())])
def test_in_a_copied_project_nothing_is_guessed(
    scene: Scene, published: tuple[str, ...], older: tuple[str, ...]
) -> None:
    """An older output must not be taken for the new one."""
    with pytest.raises(JournalError, match=r"is not where it was left: neither .*partial.* is known") as caught:
        copied(scene, published, older).begin()
    assert caught.value.hint == RESTART_HINT


def test_an_older_output_does_not_stand_in_for_one_that_was_removed(scene: Scene) -> None:
    scene.write()
    scene.journal("finished")
    scene.outputs["files"].final.mkdir()
    shutil.rmtree(scene.outputs["files"].partial)
    with pytest.raises(JournalError, match="the finished output files is not where it was left"):
        scene.begin()


@pytest.mark.parametrize("trouble", ["file_checksum", "lstat"])
def test_rows_that_cannot_be_read_now_are_not_called_damaged(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, trouble: str
) -> None:
    def fails(*arguments: object) -> Any:
        raise OSError(errno.EMFILE, "Too many open files")

    scene.write()
    scene.journal("finished")
    scene.publish("rows")
    room = Path if trouble == "lstat" else parallel_steps
    with monkeypatch.context() as patch, pytest.raises(ResourceError, match=r"rows.* cannot be read: Too many open"):
        patch.setattr(room, trouble, fails)
        scene.begin()
    assert scene.begin().published == {"rows"}


@pytest.mark.parametrize("is_folder", [False, True])
def test_rows_that_lie_in_both_places(tmp_path: Path, is_folder: bool) -> None:
    """Of two equal files either will do; folders may hold other files that differ."""
    name = "files" if is_folder else "rows"
    scene = Scene(tmp_path, flow(tmp_path, append_row_to=name))
    scene.write()
    (scene.outputs["files"].temporary / "parallel_run_step.txt").write_bytes(ROWS)
    scene.journal("finished")
    output = scene.outputs[name]
    for path in (output.final, output.temporary):
        copy = shutil.copytree if is_folder else shutil.copyfile
        copy(output.temporary, tmp_path / "copy")
        if path.exists():
            path.rename(tmp_path / "first")
        (tmp_path / "copy").rename(path)
    if not is_folder:
        assert scene.begin().published == frozenset()
        return
    with pytest.raises(JournalError, match="the finished output files is not where it was left"):
        scene.begin()


def test_a_success_whose_output_is_gone_is_not_tried_again(scene: Scene) -> None:
    scene.write()
    scene.journal("finished", failed=1)
    scene.publish(*OURS)
    shutil.rmtree(scene.outputs["more"].final)
    with pytest.raises(JournalError, match=r"the output of the last run is gone: .*more"):
        scene.begin(scene.success(), retry=True)


@pytest.mark.parametrize("what", ["files", "note"])
def test_a_folder_that_is_gone_is_missed(scene: Scene, what: str) -> None:
    scene.write()
    scene.journal("running")
    folder = scene.outputs[what].partial
    elsewhere = scene.folder / "elsewhere"
    folder.rename(elsewhere)
    for put_back in (lambda: None, lambda: folder.symlink_to(elsewhere)):
        put_back()
        with pytest.raises(JournalError, match=r"the output of an interrupted run is gone: .*partial") as caught:
            scene.begin()
        assert caught.value.hint == RESTART_HINT
        assert folder.is_symlink() == folder.exists()


def test_another_folder_is_asked_about(scene: Scene) -> None:
    scene.write()
    scene.journal("running")
    folder = scene.outputs["files"].partial
    shutil.copytree(folder, scene.folder / "copy")
    folder.rename(scene.folder / "first")
    (scene.folder / "copy").rename(folder)
    with pytest.raises(RefusedError, match="is another folder than the one that the interrupted run wrote into"):
        scene.begin()
    assert scene.begin(accept_changes=True).kept == OURS
    assert not scene.begin(restart=True).resumption.resumes
