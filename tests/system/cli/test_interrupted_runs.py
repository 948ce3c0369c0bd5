"""Runs that are killed, and what the same command makes of what they left: every row once, nothing done twice.

``killed_at`` ends the driver at a named place of the commit protocol, as a crash would.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from system.cli import faulty
from system.cli.terminals import TIMEOUT_S
from system.cli.test_broken_disks import EVERY_GROUP, EXPECTED, RUN, call, is_done, make_project, write_script

ROWS = "out/rows.csv"
PARTIAL = f"{ROWS}.partial"
COUNTS = "open('calls', 'a').write(number + chr(10))"
BATCHFLOW = RUN[:-1]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return make_project(tmp_path / "project", COUNTS)


def killed_at(place: str, folder: Path, *words: str, constants: str = EVERY_GROUP) -> None:
    """``batchflow WORDS`` (default: run), killed at its ``NAME:N``-th time at a failpoint."""
    done = subprocess.run(
        [sys.executable, faulty.__file__, constants, *(words or ("run",))],
        cwd=folder,
        env=os.environ | {"BATCHFLOW_TEST_BUILD": "1", "BATCHFLOW_FAILPOINT": place},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.returncode == -9, done.stderr


def runs(folder: Path, *words: str) -> str:
    """What ``batchflow`` says on standard error; it ends well, with every row once and in order."""
    done = call([*BATCHFLOW, *(words or ("run",))], folder)
    assert done.returncode == 0, done.stderr
    is_done(folder)
    return done.stderr


def refuses(folder: Path, *words: str, constants: str = "") -> str:
    """What it says when it ends with exit code 6; it has changed nothing of output and journal."""
    before = {path: path.read_bytes() for path in (folder / "out").iterdir()}
    done = call([sys.executable, faulty.__file__, constants, *(words or ("run",))], folder)
    assert done.returncode == 6, done.stderr
    assert {path: path.read_bytes() for path in (folder / "out").iterdir()} == before
    return done.stderr


def calls(folder: Path) -> list[str]:
    return (folder / "calls").read_text().split()


@pytest.mark.fault("L3")
@pytest.mark.parametrize(
    "place",
    ["after_pwrite:2", "before_commit:2", "after_commit:2", "before_finish", "after_rename", "before_success"],
)
def test_a_killed_run_goes_on_at_once_with_the_same_command(place: str, project: Path) -> None:
    killed_at(place, project)
    assert (project / ROWS).exists() == (place in ("after_rename", "before_success"))
    runs(project)
    assert set(calls(project)) == {path.name for path in (project / "data").iterdir()}


@pytest.mark.fault("L3")
def test_what_was_committed_is_not_done_again(project: Path) -> None:
    killed_at("after_commit:2", project)
    committed = {line[:3] for line in (project / PARTIAL).read_text().splitlines()[1:]}
    (project / "calls").write_text("")  # all of them may be committed
    assert f"goes on: {len(committed)} of 20 items are done" in runs(project)
    assert len(committed) >= 2
    assert not committed.intersection(calls(project))


@pytest.mark.fault("E12")
def test_a_resume_that_is_killed_is_resumed_and_so_is_that_one(project: Path) -> None:
    places = ["after_pwrite:2", "resume_verified", "before_truncate", "after_truncate", "resume_committed"]
    for place in places:
        killed_at(place, project)
    assert "goes on: " in runs(project)


@pytest.mark.fault("L9")
def test_six_kills_in_a_row(project: Path) -> None:
    for number in range(6):
        killed_at(("after_commit", "after_pwrite", "before_commit")[number % 3], project, constants="")
    runs(project)


@pytest.mark.slow
@pytest.mark.fault("L9")
def test_a_hundred_kills_in_a_row(project: Path) -> None:
    for number in range(100):
        killed_at(("after_pwrite", "before_commit", "resume_verified")[number % 3], project, constants="")
    runs(project)


@pytest.mark.fault("L4")
def test_a_script_that_was_edited_after_little_work_begins_anew_with_a_notice(project: Path) -> None:
    write_script(project, "number = 'old' + number")
    killed_at("after_commit:2", project)
    write_script(project)
    said = runs(project)
    assert "begins anew" in said
    assert "dropped: " in said


@pytest.mark.fault("L4")
def test_a_script_that_was_edited_after_much_work_is_asked_about(project: Path) -> None:
    much = "batchflow.runner.resume:WORK_AT_STAKE_S=0"
    write_script(project, "number = number.upper()")
    killed_at("after_commit:2", project)
    write_script(project)
    said = refuses(project, constants=much)
    assert "score.py" in said
    assert "--accept-changes" in said
    assert "--restart" in said
    kept = (project / PARTIAL).read_bytes()
    done = call([sys.executable, faulty.__file__, much, "run", "--accept-changes"], project)
    assert done.returncode == 0, done.stderr
    is_done(project)
    assert (project / ROWS).read_bytes().startswith(kept[: len("result\n") + 10_004])
    assert "of before the change" in done.stderr


@pytest.mark.fault("L4")
def test_restart_drops_what_was_done(project: Path) -> None:
    write_script(project, "number = 'old' + number")
    killed_at("after_commit:2", project)
    write_script(project)
    runs(project, "run", "--restart")


@pytest.mark.fault("L5")
@pytest.mark.parametrize("change", ["added", "removed", "changed"])
def test_other_files_begin_anew_with_a_notice(change: str, project: Path) -> None:
    data = project / "data"
    if change == "added":
        (data / "019").unlink()
    if change == "removed":
        (data / "020").touch()
    killed_at("after_commit:2", project)
    if change == "added":
        (data / "019").touch()
    if change == "removed":
        (data / "020").unlink()
    if change == "changed":
        (data / "019").write_text("more")
    said = runs(project)
    assert "begins anew (files of input files were added, removed or changed" in said
    assert "dropped: " in said


@pytest.mark.fault("L10")
def test_other_workers_and_another_size_go_on_all_the_same(project: Path) -> None:
    killed_at("after_commit:2", project)
    done_before = len(set((project / PARTIAL).read_text().splitlines())) - 1
    sets = ("--set", "steps.score.parallel.workers=3", "--set", "steps.score.parallel.mini_batch_size=7")
    # A script that answers for each item of a mini-batch.
    text = (project / "score.py").read_text().replace("mini_batch[0]", "path").replace("    ", "        ")
    text = text.replace(
        "def run(mini_batch):", "def run(mini_batch):\n    return [one(path) for path in mini_batch]\ndef one(path):"
    )
    (project / "score.py").write_text(text.replace("return [number", "return number").replace("10_000]", "10_000"))
    said = runs(project, "run", "--accept-changes", *sets)
    assert "goes on: " in said
    assert done_before > 0


@pytest.mark.fault("L11")
@pytest.mark.parametrize("edit", ["flip", "append", "remove"])
def test_an_output_that_was_edited_in_between_is_refused_or_put_right(edit: str, project: Path) -> None:
    killed_at("after_commit:2", project)
    path = project / PARTIAL
    content = path.read_bytes()
    if edit == "flip":
        path.write_bytes(content[:5000] + b"!" + content[5001:])
    if edit == "append":  # as a crash may leave it: it was never committed
        path.write_bytes(content + b"half a row")
        runs(project)
        return
    if edit == "remove":
        path.unlink()
    assert "--restart" in refuses(project)
    runs(project, "run", "--restart")


@pytest.mark.fault("L11", "F14")
def test_a_link_in_the_place_of_the_output_is_neither_followed_nor_believed(project: Path) -> None:
    killed_at("after_commit:2", project)
    path, elsewhere = project / PARTIAL, project / "elsewhere"
    path.rename(elsewhere)
    path.symlink_to(elsewhere)
    content = elsewhere.read_bytes()
    done = call(RUN, project)
    assert done.returncode == 6, done.stderr
    assert "--restart" in done.stderr
    runs(project, "run", "--restart")
    assert elsewhere.read_bytes() == content


@pytest.mark.fault("F16")
@pytest.mark.parametrize("what", ["journal.db", "records.db", ""])
def test_files_of_ours_that_somebody_deletes_double_no_row(what: str, project: Path) -> None:
    killed_at("after_commit:2", project)
    if not what:
        shutil.rmtree(project / ".batchflow")
        (project / PARTIAL).unlink()
    for path in list((project / ".batchflow").rglob(what)) if what else ():
        path.unlink()
    done = call(RUN, project)
    if done.returncode != 0:
        assert done.returncode == 6, done.stderr
        runs(project, "run", "--restart")
    is_done(project)


@pytest.mark.fault("F15")
def test_a_flipped_bit_anywhere_in_the_journal_is_refused_or_changes_nothing(project: Path) -> None:
    killed_at("after_commit:2", project)
    (journal,) = (project / ".batchflow").rglob("journal.db")
    for path in (journal, journal.with_name("journal.db-wal")):
        good = path.read_bytes()
        path.write_bytes(good[: len(good) // 2] + bytes([good[len(good) // 2] ^ 0x10]) + good[len(good) // 2 + 1 :])
        done = call([*BATCHFLOW, "status"], project)
        assert done.returncode in (0, 6), done.stderr
        assert "Traceback" not in done.stderr
        path.write_bytes(good)
    runs(project)


@pytest.mark.fault("L12", "E13")
@pytest.mark.parametrize("place", ["", "reopen_committed", "before_finish"])
def test_retry_does_the_failed_items_again_and_no_other(place: str, project: Path) -> None:
    write_script(project, f"{COUNTS}\n    if number in ('003', '007') and not os.path.exists('good'): raise ValueError")
    tolerant = ("--set", "steps.score.parallel.error_threshold=2", "--set", "steps.score.parallel.run_max_try=1")
    assert call([*RUN, *tolerant], project).returncode == 0
    failed = project / ".batchflow/workflow/steps/score/failed.jsonl"
    assert len(failed.read_text().splitlines()) == 2
    assert (project / ROWS).read_text().count("\n") == 19
    (project / "good").touch()
    (project / "calls").unlink()
    if place:
        killed_at(place, project, "retry", *tolerant)
        assert (project / ROWS).read_text().count("\n") == 19, "the output stays as it is until the new one is complete"
    runs(project, "retry", *tolerant)
    assert set(calls(project)) == {"003", "007"}
    assert failed.read_text() == ""


@pytest.mark.fault("L13")
def test_a_project_that_was_moved_in_between_goes_on(project: Path) -> None:
    killed_at("after_commit:2", project)
    moved = project.with_name("moved here")
    project.rename(moved)
    assert "goes on: " in runs(moved)


@pytest.mark.fault("L14")
def test_copies_taken_during_a_run_go_on_or_are_refused(project: Path) -> None:
    first = subprocess.Popen([sys.executable, faulty.__file__, EVERY_GROUP, "run"], cwd=project, stderr=subprocess.PIPE)
    copies = []
    while first.poll() is None and len(copies) < 3:
        copies.append(project.with_name(f"copy-{len(copies)}"))
        subprocess.run(["cp", "-a", project, copies[-1]], check=False, stderr=subprocess.DEVNULL)
    first.communicate()
    assert first.returncode == 0
    is_done(project)
    assert copies
    for copy in copies:
        done = call(RUN, copy)
        if done.returncode != 0:
            assert done.returncode == 6, done.stderr
            assert "Traceback" not in done.stderr
            runs(copy, "run", "--restart")
        is_done(copy)


@pytest.mark.fault("L8")
def test_a_finished_run_is_recognised_and_left_alone(project: Path) -> None:
    runs(project)
    before = {path: path.stat().st_mtime_ns for path in (project / "out").rglob("*")}
    assert "nothing to do" in runs(project)
    assert {path: path.stat().st_mtime_ns for path in (project / "out").rglob("*")} == before
    assert (project / ROWS).read_text() == EXPECTED
