"""The command line on the real rooms below, with small workflows."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from system.cli.terminals import TIMEOUT_S, terminal

BATCHFLOW = [sys.executable, "-m", "batchflow"]

SLOW = """\
schema = 1
default = ["score"]

[datasets.files]
files = "data/*.txt"

[steps.score]
inputs = { files = "${datasets.files}" }
outputs = { rows = "rows.csv" }

[steps.score.parallel]
entry_script = "score.py"
mini_batch_size = 1
workers = 2
append_row_to = "rows"
error_threshold = 1
run_max_try = 1
"""


def batchflow(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*BATCHFLOW, *words], cwd=folder, text=True, capture_output=True, timeout=TIMEOUT_S, check=False
    )


def make_project(folder: Path, script: str, file_count: int = 20) -> Path:
    (folder / "data").mkdir()
    for index in range(file_count):
        (folder / "data" / f"{index:03}.txt").write_text(str(index))
    (folder / "workflow.toml").write_text(SLOW)
    (folder / "score.py").write_text(script)
    return folder


def processes_of(folder: Path) -> list[str]:
    """The command lines of processes whose working directory is ``folder`` or below."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "cwd").resolve().is_relative_to(folder):
                found.append((process / "cmdline").read_text().replace("\0", " "))
        except OSError:
            continue
    return found


def test_from_init_to_nothing_to_do(tmp_path: Path) -> None:
    assert batchflow(tmp_path, "init", "demo").returncode == 0
    demo = tmp_path / "demo"
    assert batchflow(demo, "check").stdout == "workflow.toml: 1 step, no problems\n"
    assert batchflow(demo, "plan").stdout.startswith("count: will run\n  never run\n")
    first = batchflow(demo, "run")
    assert (first.returncode, first.stdout) == (0, "")
    assert re.search(
        r"outputs:\n  counts  build/counts.csv  \(5 rows\)\ndone in [\d.]+ s: 1 step done, 5 items, 0 failed\n$",
        first.stderr,
    )
    second = batchflow(demo, "run", "--json")
    assert re.fullmatch(r"nothing to do: 1 step is up to date \([\d.]+ s\)\n", second.stderr)
    assert json.loads(second.stdout)["steps"]["count"]["status"] == "up_to_date"
    assert batchflow(demo, "plan").stdout == "nothing to do: 1 step is up to date (count)\n"
    assert re.search(r"^count  up to date +5 +0 +5 .*build/counts.csv$", batchflow(demo, "status").stdout, re.MULTILINE)
    changed = batchflow(demo, "plan", "--set", "batch=3").stdout
    assert re.search(r"^count: will run\n.*batch.*2 → 3", changed)


def test_a_wrong_file_is_the_report_and_exit_code_3(tmp_path: Path) -> None:
    (tmp_path / "workflow.toml").write_text('schema = 1\n[steps.a]\nrn = "true"\n')
    for verb in ("run", "plan", "check", "list", "dag", "status"):
        done = batchflow(tmp_path, verb)
        assert (done.returncode, done.stdout) == (3, "")
        assert re.match(r"error\[BF\d+\]: ", done.stderr)
        assert "workflow.toml:3:1" in done.stderr
    problems = json.loads(batchflow(tmp_path, "check", "--json").stdout)["problems"]
    assert {"path": str(tmp_path / "workflow.toml"), "line": 3, "column": 1, "length": 2} in [
        one["position"] for one in problems
    ]


def test_no_workflow_file_anywhere_says_what_to_do(tmp_path: Path) -> None:
    done = batchflow(tmp_path, "run")
    assert done.returncode == 3
    assert done.stderr.startswith("error: no workflow.toml or batchflow.toml in ")
    assert done.stderr.count("hint: ") == 1


def test_a_failure_ends_with_the_users_frames_the_item_and_the_command(tmp_path: Path) -> None:
    script = "def run(mini_batch):\n    return [int(open(one).read()) // 0 for one in mini_batch]\n"
    done = batchflow(make_project(tmp_path, script, 2), "run", "workflow.toml", "--cores", "2")
    assert done.returncode == 1
    end = done.stderr[done.stderr.index("error: step score failed") :]
    assert "data/000.txt" in end
    assert 'score.py", line 2, in run' in end
    assert "ZeroDivisionError" in end
    # Every item failed: no threshold helps, and the same command would fail again.
    cure = r"if the cause is fixed: \S*python\S* -m batchflow retry workflow.toml --cores 2"
    assert re.fullmatch(cure, end.splitlines()[-1])


def test_tolerated_failures_are_listed(tmp_path: Path) -> None:
    script = "def run(mini_batch):\n    assert '000' not in mini_batch[0], 'no zeros'\n    return mini_batch\n"
    done = batchflow(make_project(tmp_path, script), "run")
    assert done.returncode == 0
    assert "1 item of step score failed (all in .batchflow/workflow/steps/score/failed.jsonl):" in done.stderr
    assert re.search(r"^  .*000.txt: AssertionError: no zeros$", done.stderr, re.MULTILINE)
    assert done.stderr.splitlines()[-1].endswith("1 step done, 20 items, 1 failed")


WAITING = "import time\ndef run(mini_batch):\n    time.sleep(0.3)\n    return mini_batch\n"


@pytest.mark.fault("E3")
def test_ctrl_c_drains_a_parallel_step_and_the_same_command_finishes_it(tmp_path: Path) -> None:
    folder = make_project(tmp_path, WAITING)
    with terminal([*BATCHFLOW, "run"], folder) as screen:
        screen.read_until(" of 20 items")
        screen.press_ctrl_c()
        assert screen.wait() == 130
        assert "Traceback" not in screen.text
        assert "stopped by Ctrl-C" in screen.text
        assert screen.text.rstrip().endswith("-m batchflow run")
    assert processes_of(folder) == []
    again = batchflow(folder, "run", "--set", "steps.score.parallel.workers=8")
    assert again.returncode == 0
    assert len((folder / "rows.csv").read_text().splitlines()) >= 20


STUCK = "import time\ndef run(mini_batch):\n    time.sleep(600)\n"


@pytest.mark.fault("E2", "E3")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_stops_what_is_stuck(number: signal.Signals, tmp_path: Path) -> None:
    folder = make_project(tmp_path, STUCK)
    process = subprocess.Popen([*BATCHFLOW, "run"], cwd=folder, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        while "of 20 items" not in process.stderr.readline():
            assert process.poll() is None
        process.send_signal(number)
        while "stopping after" not in process.stderr.readline():
            assert process.poll() is None
        process.send_signal(number)
        _, err = process.communicate(timeout=TIMEOUT_S)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 128 + number
    assert "Traceback" not in err
    assert processes_of(folder) == []


@pytest.mark.parametrize("presses", [1, 2])
def test_ctrl_c_ends_a_shell_step_and_all_it_started(presses: int, tmp_path: Path) -> None:
    (tmp_path / "workflow.toml").write_text(
        'schema = 1\n[steps.wait]\nrun = "echo started; sleep 600 & sleep 601; echo never > ${outputs.x}"\n'
        'outputs = { x = "x" }\n'
    )
    with terminal([*BATCHFLOW, "run"], tmp_path) as screen:
        screen.read_until(r"[1-9]\.\d s")
        screen.press_ctrl_c()
        if presses == 2:
            screen.read_until("Ctrl-C again stops now")
            screen.press_ctrl_c()
        assert screen.wait() == 130
    assert processes_of(tmp_path) == []
