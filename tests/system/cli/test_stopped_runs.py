"""Runs that people and machines stop: what is committed, what is said, and that the same command does only the rest.

Real signals to the real command, on a pseudo-terminal where one matters.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from system.cli.terminals import TIMEOUT_S, terminal
from system.cli.test_real_runs import BATCHFLOW, batchflow, make_project, processes_of
from system.runner.processes import wait_until

from batchflow.runner import last_status
from batchflow.workflow import load_workflow

COUNTING = """\
import os, time
def run(mini_batch):
    with open("calls", "a") as file:
        file.write("".join(os.path.basename(path) + chr(10) for path in mini_batch))
    is_first = mini_batch[0].endswith("000.txt")
    while os.path.exists("stuck") or not (is_first or len(open("calls").readlines()) <= 6 or os.path.exists("more")):
        if os.path.exists("stuck"):
            with open("held", "a") as file:
                file.write("x")
            time.sleep(600)
        time.sleep(0.01)
    return [os.path.basename(path) for path in mini_batch]
"""
"""The first mini-batch and six items or nearly so, then no further until there is ``more``."""
EVERY = [f"{number:03}.txt" for number in range(20)]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return make_project(tmp_path, COUNTING)


@contextmanager
def running(folder: Path, *before: str) -> Iterator[subprocess.Popen[str]]:
    """``batchflow run``, once it has committed something; after the block nothing of it lives."""
    process = subprocess.Popen([*before, *BATCHFLOW, "run"], cwd=folder, stderr=subprocess.PIPE, text=True)
    try:
        wait_until(lambda: committed(folder) > 0)
        yield process
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()
            wait_until(lambda: not processes_of(folder))


def committed(folder: Path) -> int:
    """Items that succeeded, as ``status`` says."""
    found = last_status(load_workflow(folder / "workflow.toml"))["score"].committed
    return 0 if found is None else found.succeeded


def hold(folder: Path) -> None:
    """Have both workers hang in ``run()``."""
    (folder / "stuck").touch()
    wait_until(lambda: (folder / "held").exists() and (folder / "held").read_text() == "xx")


def calls(folder: Path) -> list[str]:
    return (folder / "calls").read_text().split()


def finishes(folder: Path, kept: int) -> None:
    """The same command does what is missing, at once."""
    (folder / "more").touch()
    before = len(calls(folder))
    done = batchflow(folder, "run")
    assert done.returncode == 0, done.stderr
    assert f"score: goes on: {kept} of 20 items are done (" in done.stderr
    assert len(calls(folder)) - before == 20 - kept
    assert (folder / "rows.csv").read_text().split() == ["result", *EVERY]
    assert batchflow(folder, "verify").returncode == 0


def read_until(process: subprocess.Popen[str], words: str) -> None:
    assert process.stderr is not None
    while words not in process.stderr.readline():
        assert process.poll() is None


def ends(process: subprocess.Popen[str], number: int) -> str:
    """What it said; it must end by itself with the exit code of that signal and leave no process."""
    _, said = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 128 + number, said
    assert "Traceback" not in said
    return said


@pytest.mark.fault("E2", "E3", "E4")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_one_signal_commits_what_is_in_flight_and_nothing_is_done_twice(number: signal.Signals, project: Path) -> None:
    with running(project) as process:
        process.send_signal(number)
        read_until(process, "stopping after")
        (project / "more").touch()
        said = ends(process, number)
    assert processes_of(project) == []
    kept = committed(project)
    assert kept == len(calls(project)), "what was in flight is finished and committed"
    label = "Ctrl-C" if number == signal.SIGINT else number.name
    tail = said.splitlines()[-3:]
    assert re.fullmatch(rf"stopped by {label} after [\d.]+ s: 1 step stopped", tail[0])
    assert re.fullmatch(rf"kept of step score: {kept} of 20 items \([\d.]+ s of work\)", tail[1])
    assert re.fullmatch(r"to continue: .* -m batchflow run", tail[2])
    row, note, command = batchflow(project, "status").stdout.splitlines()[-3:]
    assert row.split()[1:5] == ["interrupted", f"{kept}/20", "0", str(kept)]
    assert re.fullmatch(rf"score: goes on: {kept} of 20 items are done \([\d.]+ s of work\), {20 - kept} to do", note)
    assert re.fullmatch(r"to continue: .* -m batchflow run", command)
    finishes(project, kept)
    assert sorted(calls(project)) == EVERY


@pytest.mark.fault("E2", "E3")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_ends_at_once_and_what_was_committed_stays(number: signal.Signals, project: Path) -> None:
    with running(project) as process:
        hold(project)
        process.send_signal(number)
        read_until(process, "stopping after")
        process.send_signal(number)
        said = ends(process, number)
    assert "stopping now after a second signal" in said
    assert processes_of(project) == []
    kept = committed(project)
    assert kept == len(calls(project)) - 2
    assert f"kept of step score: {kept} of 20 items" in said
    (project / "stuck").unlink()
    finishes(project, kept)


@pytest.mark.fault("E4")
def test_under_nohup_a_hang_up_is_none(project: Path) -> None:
    with running(project, "nohup") as process:
        process.send_signal(signal.SIGHUP)
        (project / "more").touch()
        _, said = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 0, said
    assert "stopping" not in said
    assert (project / "rows.csv").read_text().split() == ["result", *EVERY]


@pytest.mark.fault("E4")
def test_a_terminal_that_is_closed_stops_the_run_which_goes_on_elsewhere(project: Path) -> None:
    ours, theirs = os.openpty()
    command = ["setsid", "--ctty", *BATCHFLOW, "run"]
    process = subprocess.Popen(command, cwd=project, stdin=theirs, stdout=theirs, stderr=theirs)
    try:
        os.close(theirs)
        wait_until(lambda: committed(project) > 0)
        os.close(ours)
        (project / "more").touch()
        assert process.wait(TIMEOUT_S) == 128 + signal.SIGHUP
    finally:
        process.kill()
        process.wait()
    assert processes_of(project) == []
    kept = committed(project)
    assert kept == len(calls(project))
    finishes(project, kept)


@pytest.mark.fault("E3")
@pytest.mark.parametrize("presses", [1, 2, 10])
def test_ctrl_c_on_a_terminal_ends_with_the_command_that_continues(presses: int, project: Path) -> None:
    with terminal([*BATCHFLOW, "run"], project) as screen:
        wait_until(lambda: committed(project) > 0)
        if presses > 1:
            hold(project)
        screen.press_ctrl_c()
        screen.read_until("stopping after Ctrl-C")
        (project / "more").touch()
        for _ in range(presses - 1):
            screen.press_ctrl_c()
        assert screen.wait() == 130
        assert "Traceback" not in screen.text
        lines = screen.text.rstrip().splitlines()
    (project / "stuck").unlink(missing_ok=True)
    kept = committed(project)
    assert lines[-2].startswith(f"kept of step score: {kept} of 20 items (")
    assert lines[-1].endswith("-m batchflow run")
    assert processes_of(project) == []
    finishes(project, kept)


@pytest.mark.fault("E3")
def test_a_stop_before_anything_is_committed_keeps_nothing_and_says_so(project: Path) -> None:
    (project / "stuck").touch()
    process = subprocess.Popen([*BATCHFLOW, "run"], cwd=project, stderr=subprocess.PIPE, text=True)
    try:
        wait_until(lambda: (project / "calls").exists())
        for _ in range(2):
            process.send_signal(signal.SIGTERM)
            read_until(process, "stopping")
        said = ends(process, signal.SIGTERM)
    finally:
        process.kill()
        process.communicate()
    assert "kept" not in said
    (project / "stuck").unlink()
    (project / "more").touch()
    done = batchflow(project, "run")
    assert (done.returncode, "goes on" in done.stderr) == (0, False), done.stderr
    assert (project / "rows.csv").read_text().split() == ["result", *EVERY]


FAILING = """\
import os
def run(mini_batch):
    if not os.path.exists("fixed") and mini_batch[0][-6:-4] in ("03", "07", "11"):
        raise ValueError("unlucky")
    return [os.path.basename(path) for path in mini_batch]
"""


def test_a_threshold_that_was_passed_names_the_two_ways_on_and_both_work(tmp_path: Path) -> None:
    project = make_project(tmp_path, FAILING)
    done = batchflow(project, "run", "--cores", "2")
    assert done.returncode == 1
    kept = committed(project)
    *_, kept_line, retry, again = done.stderr.splitlines()
    failed = json.loads(batchflow(project, "status", "--json").stdout)["steps"]["score"]["committed"]["failed"]
    assert failed >= 2
    assert kept_line.startswith(f"kept of step score: {kept + failed} of 20 items (")
    assert re.fullmatch(r"if the cause is fixed: .* -m batchflow retry --cores 2", retry)
    tolerate = (
        rf"to tolerate them: error_threshold = {failed} or more in step score, then .* -m batchflow run --cores 2"
    )
    assert re.fullmatch(tolerate, again)
    assert f"error_threshold: {failed} items failed, " in done.stderr, "as many as are listed"
    raised = batchflow(project, "run", "--set", "steps.score.parallel.error_threshold=3")
    assert raised.returncode == 0, raised.stderr
    assert f"goes on: {kept + failed} of 20 items are done" in raised.stderr
    assert "3 items of step score failed (all in .batchflow/workflow/steps/score/failed.jsonl):" in raised.stderr
    assert re.search(r"^to try the failed items again: .* retry --set steps.score", raised.stderr, re.MULTILINE)
    (project / "fixed").touch()
    tried = batchflow(project, "retry", "--set", "steps.score.parallel.error_threshold=3")
    assert tried.returncode == 0, tried.stderr
    assert "score: started (retry: 3 failed items)" in tried.stderr
    assert (project / "rows.csv").read_text().split() == ["result", *EVERY]
    assert batchflow(project, "retry").stderr.startswith("nothing to retry: no failed or missing items (")


def test_looking_at_an_interrupted_step_changes_nothing_and_runs_no_code_of_it(project: Path) -> None:
    with running(project):
        pass
    (project / "score.py").write_text("open('ran', 'w').close()\ndef run(mini_batch):\n    return mini_batch\n")
    before = {path: path.read_bytes() for path in project.rglob("*") if path.is_file() and path.suffix != ".db-shm"}
    for words in (["plan"], ["run", "-n"], ["status"], ["verify"], ["retry", "-n"], ["run", "-n", "--restart"]):
        done = batchflow(project, *words)
        assert done.returncode == 0, (words, done.stderr)
    after = {path: path.read_bytes() for path in project.rglob("*") if path.is_file() and path.suffix != ".db-shm"}
    assert after == before
    assert not (project / "ran").exists()


@pytest.mark.parametrize("damaged", [False, True])
def test_restart_says_what_it_drops_and_begins_anew(damaged: bool, project: Path) -> None:
    with running(project):
        pass
    kept = committed(project)
    dropped = f"{kept} of 20 items"
    if damaged:
        (project / ".batchflow/workflow/steps/score/journal.db").write_bytes(b"no database")
        dropped = "the journal of the step is damaged, path="
        refused = batchflow(project, "run")
        assert refused.returncode == 6
        assert refused.stderr.startswith(f"error: {dropped}")
    (project / "more").touch()
    (project / "calls").unlink()
    assert f"  begins anew; dropped: {dropped}" in batchflow(project, "plan", "--restart").stdout
    done = batchflow(project, "run", "--restart")
    assert done.returncode == 0, done.stderr
    assert f"score: begins anew; dropped: {dropped}" in done.stderr
    assert sorted(calls(project)) == EVERY
    assert batchflow(project, "verify").returncode == 0
