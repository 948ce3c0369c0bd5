"""Between a kill and the same command again somebody removes, copies or replaces what the run has left."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from system.runner.killed_project import Project, assert_as_if_nothing_had_happened

GONE = "the output of an interrupted run is gone: "


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path / "project").make()


def copy_of(project: Project) -> Project:
    """What ``cp -r`` makes of a project."""
    folder = project.folder.with_name("copy")
    shutil.copytree(project.folder, folder, symlinks=True)
    return Project(folder)


@pytest.mark.parametrize("name", ["files", "note.txt"])
def test_committed_items_whose_files_are_gone_are_not_called_done(project: Project, name: str) -> None:
    project.is_killed("run", "after_commit:2")
    shutil.rmtree(project.folder / f"build/{name}.partial")
    done = project.call("run")
    assert done.returncode == 6
    assert GONE in done.stderr
    assert not (project.folder / f"build/{name}.partial").exists()
    assert project.call("run").returncode == 6
    project.ends("run --restart")
    assert_as_if_nothing_had_happened(project, {5})


def test_a_copy_of_an_interrupted_project_goes_on_if_somebody_says_that_it_is_whole(project: Project) -> None:
    project.is_killed("run", "after_commit:2")
    copy = copy_of(project)
    done = copy.call("run")
    assert done.returncode == 6
    assert "is another folder than the one that the interrupted run wrote into" in done.stderr
    copy.ends("run --accept-changes")
    assert_as_if_nothing_had_happened(copy, {5})


def test_half_a_copy_made_for_a_retry_is_never_taken_for_the_output(project: Project) -> None:
    project.ends("run")
    project.heal()
    project.is_killed("retry", "reopen_copied")
    for path in list((project.folder / "build/files.partial").iterdir())[:5]:
        path.unlink()
    copy = copy_of(project)
    copy.ends("retry")
    assert_as_if_nothing_had_happened(copy, set())


def test_an_older_folder_is_not_taken_for_the_one_that_was_removed(project: Project) -> None:
    project.ends("run")
    (project.folder / "in/10.txt").touch()
    project.is_killed("run", "after_finish")
    shutil.rmtree(project.folder / "build/files.partial")
    done = project.call("run")
    assert done.returncode == 6
    assert "the finished output files is not where it was left" in done.stderr


def test_a_list_of_failures_that_is_gone_is_written_again(project: Project) -> None:
    project.is_killed("run", "after_rename:1")
    (project.folder / ".batchflow/flow/steps/score/failed.jsonl").unlink()
    project.ends("run")
    assert_as_if_nothing_had_happened(project, {5})
