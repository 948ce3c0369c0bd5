"""The command as a process: what it imports, its streams, its signals, its exit codes."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from system.cli.terminals import TIMEOUT_S, terminal

FAKE = [sys.executable, str(Path(__file__).with_name("fake_program.py"))]
HEAVY = {"numpy", "pandas", "pyarrow", "pydantic", "rich", "tensorflow", "tomli", "tree_sitter", "psutil", "asyncio"}
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")


def run(command: Sequence[str], folder: Path, **options: object) -> subprocess.CompletedProcess[str]:
    # Buffered, as users have it: what is left in a buffer at exit is part of the story.
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONUNBUFFERED"}
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "env": environment} | options
    return subprocess.run(list(command), cwd=folder, text=True, timeout=TIMEOUT_S, check=False, **streams)  # type: ignore[call-overload, no-any-return]


@pytest.mark.parametrize("words", [["--help"], ["--version"], [], ["run", "--help"], ["run", "--nonsense"]])
def test_nothing_heavy_is_imported_to_answer_a_question(words: list[str], tmp_path: Path) -> None:
    script = (
        "import sys; from batchflow.cli.main import main; main(sys.argv[1:]);"
        "print(*sorted({name.split('.')[0] for name in sys.modules}), file=sys.stderr)"
    )
    done = run([sys.executable, "-c", script, *words], tmp_path)
    modules = set(done.stderr.split("\n")[-2].split())
    assert "batchflow" in modules
    assert modules & HEAVY == set()
    if words == ["--version"]:
        assert "argparse" not in modules


def test_the_module_is_the_command(tmp_path: Path) -> None:
    done = run([sys.executable, "-m", "batchflow", "frobnicate"], tmp_path)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("error: unknown verb 'frobnicate'\nhint: verbs: run, retry, plan")


def test_a_file_of_the_user_named_like_a_module_is_not_imported(tmp_path: Path) -> None:
    for name in ("json", "argparse", "shlex", "queue", "importlib"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('imported the user file')")
    done = run([sys.executable, "-m", "batchflow", "frobnicate"], tmp_path)
    assert (done.returncode, "imported" in done.stderr) == (2, False)


def test_off_a_terminal_a_run_is_plain_lines_on_standard_error(tmp_path: Path) -> None:
    done = run([*FAKE, "quick", "run", "--json"], tmp_path)
    assert done.returncode == 0
    assert json.loads(done.stdout)["steps"]["predict"]["status"] == "done"
    assert re.fullmatch(
        r"predict: started \(never run\)\npredict: done in [\d.]+ s\ndone in [\d.]+ s: 1 step done\n", done.stderr
    )


@pytest.mark.fault("M7")
@pytest.mark.parametrize("closed", [[0], [1], [2], [0, 1], [0, 1, 2]])
def test_closed_streams_end_no_run(closed: list[int], tmp_path: Path) -> None:
    script = f"import os, sys\nfor one in {closed}: os.close(one)\nos.execv(sys.argv[1], sys.argv[1:])"
    done = run([sys.executable, "-c", script, *FAKE, "quick", "run", "--json", "--events", "e.jsonl"], tmp_path)
    assert done.returncode == 0
    assert "Traceback" not in done.stderr
    # No descriptor of ours took the number of a closed one: the file has events and nothing else.
    lines = (tmp_path / "e.jsonl").read_text().splitlines()
    assert {json.loads(line)["event"] for line in lines} == {"StepStarted", "StepProgress", "StepFinished"}


@pytest.mark.fault("E5")
@pytest.mark.parametrize("words", ["quick run --json", "noisy run -v", "quick list", "quick --help"])
def test_a_reader_that_leaves_ends_no_run_and_shows_no_traceback(words: str, tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = run([*FAKE, *words.split()], tmp_path, stdout=writer)
    os.close(writer)
    assert (done.returncode, "Traceback" in done.stderr, "Error" in done.stderr) == (0, False, False)


@pytest.mark.fault("E5")
def test_a_reader_of_both_streams_that_leaves_ends_no_run(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = run([*FAKE, "noisy", "run", "-v", "--events", "e.jsonl"], tmp_path, stdout=writer, stderr=writer)
    os.close(writer)
    assert done.returncode == 0
    assert '"StepFinished"' in (tmp_path / "e.jsonl").read_text()


def test_a_full_disk_on_standard_output_is_said(tmp_path: Path) -> None:
    with open("/dev/full", "w") as full:
        done = run([*FAKE, "quick", "list"], tmp_path, stdout=full)
    assert done.returncode == 4
    assert "cannot write to standard output: No space left on device" in done.stderr


def test_an_events_pipe_that_nobody_reads_any_more_ends_no_run(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = run([*FAKE, "quick", "run", "--events", f"/dev/fd/{writer}"], tmp_path, pass_fds=[writer])
    os.close(writer)
    assert done.returncode == 0
    assert "note: a display stopped working: BrokenPipeError" in done.stderr


@pytest.mark.fault("E2", "E4")
@pytest.mark.parametrize(
    ("number", "label"), [(signal.SIGTERM, "SIGTERM"), (signal.SIGHUP, "SIGHUP"), (signal.SIGINT, "Ctrl-C")]
)
def test_one_signal_drains_and_says_how_to_continue(number: signal.Signals, label: str, tmp_path: Path) -> None:
    process = subprocess.Popen(
        [*FAKE, "endless", "run", "my flow.toml"], cwd=tmp_path, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stderr is not None
        assert process.stderr.readline() == "predict: started (never run)\n"
        process.send_signal(number)
        _, err = process.communicate(timeout=TIMEOUT_S)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 128 + number
    lines = err.splitlines()
    assert any(line.startswith(f"stopping after {label}: finishing what is in flight") for line in lines)
    assert lines[-1] == "to continue: batchflow run 'my flow.toml'"
    assert lines[-2].startswith(f"stopped by {label} after ")
    assert "Traceback" not in err


@pytest.mark.fault("E4")
def test_hang_up_is_ignored_under_nohup(tmp_path: Path) -> None:
    script = "import os, signal, sys; signal.signal(signal.SIGHUP, signal.SIG_IGN); os.execv(sys.argv[1], sys.argv[1:])"
    command = [sys.executable, "-c", script, *FAKE, "endless", "run"]
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        process.stderr.readline()
        process.send_signal(signal.SIGHUP)
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=TIMEOUT_S)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 143
    assert "SIGHUP" not in err


@pytest.mark.fault("E3")
def test_ctrl_c_on_a_terminal_drains_and_a_second_one_stops_now(tmp_path: Path) -> None:
    with terminal([*FAKE, "deaf", "run"], tmp_path) as screen:
        screen.read_until("of 1,000 items")
        screen.press_ctrl_c()
        screen.read_until("Ctrl-C again stops now")
        screen.press_ctrl_c()
        assert screen.wait() == 130
    text = ESCAPES.sub("", screen.text)
    assert "stopping now after a second signal (Ctrl-C)" in text
    assert text.rstrip().endswith("to continue: batchflow run")
    assert "Traceback" not in text


@pytest.mark.fault("E3")
def test_ten_times_ctrl_c_shows_no_traceback(tmp_path: Path) -> None:
    with terminal([*FAKE, "deaf", "run"], tmp_path) as screen:
        screen.read_until("of 1,000 items")
        screen.press_ctrl_c()
        # Signals of one kind that arrive together are one signal.
        screen.read_until("Ctrl-C again stops now")
        for _ in range(9):
            screen.press_ctrl_c()
        assert screen.wait() == 130
    assert "Traceback" not in screen.text


def test_a_terminal_sees_the_progress_move(tmp_path: Path) -> None:
    with terminal([*FAKE, "endless", "run"], tmp_path) as screen:
        screen.read_until(r"[1-9]\d+ of 1,000 items \([1-9]")
        screen.read_until("/s · ETA ")
        screen.press_ctrl_c()
        assert screen.wait() == 130
    shown = re.findall(r"(\d+) of 1,000 items \((\d+) %\)", screen.text)
    assert len(set(shown)) > 1
    assert all(int(percent) == int(done) // 10 for done, percent in shown)
    assert "\x1b[" in screen.text
    assert "━" in screen.text  # the bar


def test_a_silent_step_shows_that_it_lives_within_a_second(tmp_path: Path) -> None:
    with terminal([*FAKE, "silent", "run"], tmp_path) as screen:
        screen.read_until(r" (?:[2-9]\.\d|\d\d) s")
        screen.press_ctrl_c()
        assert screen.wait() == 130
    # Several times a second, if the machine lets it: how late the first one is, is the machine's affair.
    assert len(set(re.findall(r" (?:0\.\d\d|[1-9]\.\d) s", screen.text))) > 2


def test_no_color_leaves_no_colour(tmp_path: Path) -> None:
    with terminal([*FAKE, "quick", "run"], tmp_path, environment={"NO_COLOR": "1"}) as screen:
        assert screen.wait() == 0
    colours = re.findall(r"\x1b\[[0-9;]*(?:3[0-9]|9[0-7])(?:;[0-9]+)*m", screen.text)
    assert colours == []


@pytest.mark.fault("M8")
@pytest.mark.parametrize(("environment", "columns"), [({"TERM": "dumb"}, 80), ({"TERM": ""}, 80), ({}, 1), ({}, 0)])
def test_poor_terminals_get_plain_lines(environment: dict[str, str], columns: int, tmp_path: Path) -> None:
    with terminal([*FAKE, "quick", "run"], tmp_path, columns=columns, environment=environment) as screen:
        assert screen.wait() == 0
    assert "\x1b" not in screen.text
    assert screen.text.startswith("predict: started (never run)\r\n")


@pytest.mark.fault("M8")
@pytest.mark.parametrize("columns", [1, 2, 20, 200])
@pytest.mark.parametrize("verb", ["status", "dag", "list", "plan"])
def test_tables_and_trees_at_any_width(columns: int, verb: str, tmp_path: Path) -> None:
    with terminal([*FAKE, "quick", verb], tmp_path, columns=columns) as screen:
        assert screen.wait() == 0
    assert "Traceback" not in screen.text
