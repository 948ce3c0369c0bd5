"""The driver is killed at every place that has a name; the same command again ends as if nothing had happened.

Three stories: a step that begins, one that goes on, and one whose failed items are tried again; and all of them with
rows that a parquet file is made of.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from system.runner.killed_project import Project, assert_as_if_nothing_had_happened

from batchflow.failpoints import NAMES

COMMITTING = ["before_pwrite", "after_pwrite", "after_fdatasync", "before_commit", "after_commit"]
ORDERING = ["before_order", "order_copied", "order_committed", "order_renamed"]
FINISHING = ["failed_list_written", "before_finish", "after_finish", "receipt_written"]
PUBLISHING = [
    f"{name}:{number}" for name in ("before_rename", "after_rename", "after_dirsync") for number in (1, 2, 3, 4)
]
ENDING = [*ORDERING, "before_truncate", "after_truncate", *FINISHING, "before_success", "after_success"]

BEGINNING = ["journal_begun", "output_opened", *(f"{name}:2" for name in COMMITTING), *ENDING, *PUBLISHING]
GOING_ON = ["resume_verified", "before_truncate", "after_truncate", "resume_committed", *COMMITTING, *ENDING]
TRYING_AGAIN = ["reopen_copied", "reopen_committed", *GOING_ON, "after_rename:1", "after_dirsync:3"]
MAKING = ["before_made", "output_made", "before_finish", "after_finish", "after_rename:1"]
STORIES = {
    "begins": BEGINNING,
    "goes on": GOING_ON,
    "tries again": TRYING_AGAIN,
    "begins, typed": [*COMMITTING, *ORDERING, *MAKING],
    "goes on, typed": ["resume_verified", *MAKING],
    "tries again, typed": ["reopen_copied", "reopen_committed", "after_commit", "order_renamed", *MAKING],
}
QUICK = {
    ("begins", "journal_begun"),
    ("begins", "after_rename:1"),
    ("goes on", "before_truncate"),
    ("tries again", "order_committed"),
    ("begins, typed", "output_made"),
    ("tries again, typed", "before_made"),
}
CASES = [
    pytest.param(story, point, marks=() if (story, point) in QUICK else pytest.mark.slow)
    for story, points in STORIES.items()
    for point in dict.fromkeys(points)
]


@pytest.fixture
def project(tmp_path: Path, story: str) -> Iterator[Project]:
    yield Project(tmp_path / "project", is_typed="typed" in story).make()
    shutil.rmtree(tmp_path)


def test_every_place_that_has_a_name_is_one_of_them() -> None:
    assert {point.partition(":")[0] for points in STORIES.values() for point in points} == set(NAMES)


@pytest.mark.parametrize(("story", "point"), CASES)
def test_the_same_command_again_ends_as_if_nothing_had_happened(project: Project, story: str, point: str) -> None:
    verb, lost = "run", {5}
    if story.startswith("goes on"):
        project.is_killed("run", "after_commit:1")
    elif story.startswith("tries again"):
        project.ends("run")
        project.heal()
        verb, lost = "retry", set()
    project.is_killed(verb, point)
    project.ends("verify")
    project.ends(verb)
    project.ends("verify")
    assert_as_if_nothing_had_happened(project, lost)
    assert "nothing to do: 1 step is up to date" in project.call("run").stderr
