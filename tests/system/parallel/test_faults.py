"""Whatever a worker does to itself, every item ends as one row or one named failure.  One fault, one row."""

from __future__ import annotations

import re

import pytest
from system.parallel.steps import ALL, Steps, numbered, script

from batchflow.errors import RunAbortedError

ON_ITEM_7_ALWAYS_ON_ITEM_2_ONCE = """
if "00007" in names or ("00002" in names and context.attempt == 1):
    {fault}
"""
ON_ITEM_7 = """
if "00007" in names:
    {fault}
"""
REST = numbered((0, 7), (8, 15))


@pytest.mark.fault("A2", "A5", "A6", "A7", "A11")
@pytest.mark.parametrize(
    ("fault", "signal", "exit_code", "pieces"),
    [
        ("os.kill(os.getpid(), signal.SIGKILL)", 9, None, ["died: signal 9 (SIGKILL)", "peak memory"]),
        ("os.kill(os.getpid(), signal.SIGTERM)", 15, None, ["died: signal 15 (SIGTERM)"]),
        ("os.kill(os.getpid(), signal.SIGILL)", 4, None, ["died: signal 4 (SIGILL)"]),
        ("ctypes.string_at(0)", 11, None, ["died: signal 11 (SIGSEGV) at score.py line "]),
        ("os.abort()", 6, None, ["died: signal 6 (SIGABRT)"]),
        ("os._exit(0)", None, 0, ["died: exit code 0"]),
        ("os._exit(3)", None, 3, ["died: exit code 3"]),
    ],
)
def test_a_worker_that_dies_costs_its_mini_batch_one_attempt(
    steps: Steps, fault: str, signal: int | None, exit_code: int | None, pieces: list[str]
) -> None:
    body = ON_ITEM_7_ALWAYS_ON_ITEM_2_ONCE.format(fault="print('about to end', flush=True); " + fault)
    outcome = steps.run(script(body), error_threshold=ALL)
    receipt = outcome.done()
    assert outcome.rows == REST
    assert outcome.failed_names == ["00007"]
    # Two attempts of the first mini-batch and of the second, then its items 5 and 6, 7, 8 and 9; one of the third.
    assert (receipt.attempts, receipt.worker_deaths, receipt.failed_mini_batches) == (8, 4, 1)
    for entry in outcome.failed:
        assert (entry["kind"], entry["error_type"]) == ("died", "WorkerDiedError")
        assert (entry["signal"], entry["exit_code"], entry["attempts"]) == (signal, exit_code, 3)
        assert entry["output_tail"].count("about to end") == 1, "what it said itself, not those before it"
        assert all(piece in entry["message"] for piece in [*pieces, "mini_batch_index=1, attempt=3, pid="])


@pytest.mark.fault("A10", "A12", "C8")
@pytest.mark.parametrize(
    ("fault", "error_type", "message"),
    [
        ("raise ValueError('odd picture')", "ValueError", "odd picture"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt", ""),
        ("raise GeneratorExit", "GeneratorExit", ""),
        ("raise SystemExit", "SystemExit", "the script called sys.exit()"),
        ("sys.exit('enough')", "SystemExit", "the script called sys.exit('enough')"),
        ("bytearray(1 << 60)", "MemoryError", ""),
        ("[].append(len)()", "TypeError", "'NoneType' object is not callable"),
    ],
)
def test_whatever_run_raises_is_an_outcome_of_the_attempt(
    steps: Steps, fault: str, error_type: str, message: str
) -> None:
    outcome = steps.run(script(ON_ITEM_7_ALWAYS_ON_ITEM_2_ONCE.format(fault=fault)), error_threshold=ALL)
    receipt = outcome.done()
    assert outcome.rows == REST
    assert outcome.failed_names == ["00007"]
    assert (receipt.attempts, receipt.worker_deaths) == (8, 0)
    for entry in outcome.failed:
        assert (entry["kind"], entry["error_type"], entry["message"]) == ("exception", error_type, message)
        assert (entry["signal"], entry["exit_code"], entry["attempts"]) == (None, None, 3)
        assert entry["traceback"].startswith("Traceback (most recent call last):\n  File")
        assert "score.py" in entry["traceback"]
        assert "batchflow/" not in entry["traceback"]


@pytest.mark.fault("B1", "B2", "B4", "C20")
@pytest.mark.parametrize(
    ("fault", "has_stack"),
    [
        ("while True: pass", True),
        ("time.sleep(1000)", True),
        ("sum(itertools.repeat(0))  # in C, holding the GIL", True),
        ("os.kill(os.getpid(), signal.SIGSTOP)", False),
        ("signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65)); time.sleep(1000)", False),
    ],
)
def test_run_past_its_timeout_is_killed_whatever_it_does(steps: Steps, fault: str, has_stack: bool) -> None:
    outcome = steps.run(
        script(ON_ITEM_7.format(fault=fault)), error_threshold=ALL, run_invocation_timeout_s=1.0, run_max_try=1
    )
    receipt = outcome.done()
    assert outcome.rows == REST
    assert outcome.failed_names == ["00007"]
    # One attempt of each mini-batch, then the items 5 and 6, 7, 8 and 9.
    assert (receipt.attempts, receipt.worker_deaths) == (6, 2)
    for entry in outcome.failed:
        assert (entry["kind"], entry["error_type"], entry["signal"]) == ("timeout", "TimeoutError", 9)
        assert "run() took longer than run_invocation_timeout=1 s, worker " in entry["message"]
        assert " was killed, mini_batch_index=1, attempt=2, pid=" in entry["message"]
        assert ("score.py" in entry["traceback"]) == has_stack


def test_a_timeout_is_tried_again_on_a_fresh_worker(steps: Steps) -> None:
    body = "if '00007' in names and context.attempt == 1: time.sleep(1000)"
    outcome = steps.run(script(body), run_invocation_timeout_s=1.0, workers=1)
    assert outcome.rows == numbered((0, 15))
    assert (outcome.done().attempts, outcome.done().worker_deaths, outcome.failed) == (4, 1, [])


def test_the_first_failure_over_the_threshold_ends_the_step_with_its_cause(steps: Steps) -> None:
    source = script("if '00007' in names:\n    print('looking')\n    ctypes.string_at(0)")
    message = steps.run(source).message(RunAbortedError)
    lines = message.splitlines()
    assert lines[0] == "error_threshold: 1 item failed, 0 are tolerated"
    assert lines[1] == f"first failure: mini_batch_index=1, attempt=3, {steps.folder}/in/00007"
    assert lines[2].startswith("WorkerDiedError: worker ")
    assert re.search(
        r"died: signal 11 \(SIGSEGV\) at score\.py line \d+ in run, mini_batch_index=1, attempt=3, pid=", lines[2]
    )
    assert "last output of the worker:" in lines
    assert "  looking" in lines or any("Segmentation fault" in line for line in lines)
    assert lines[-1] == f"all failed items: {steps.folder}/state/failed.jsonl"


def test_an_exception_over_the_threshold_shows_the_frames_of_the_script(steps: Steps) -> None:
    source = script("if '00007' in names: scale(0)", before="def scale(by):\n    return 1 / by\n")
    outcome = steps.run(source, run_max_try=1)
    message = outcome.message(RunAbortedError)
    assert f'File "{steps.folder}/score.py", line ' in message
    assert "in scale\n    return 1 / by" in message
    assert "ZeroDivisionError: division by zero\n" in message
    assert "batchflow/worker" not in message
    assert outcome.error is not None
    assert outcome.error.hint == (
        "fix the cause, then `batchflow retry`; or tolerate them: error_threshold = 1 or more, then `batchflow run`"
    )
    assert outcome.failed_names == ["00007"]


@pytest.mark.fault("C16")
def test_a_copy_of_the_worker_cannot_answer_in_its_name(steps: Steps) -> None:
    body = """
copy = os.fork()
if copy == 0:
    return ["alien"] * len(names)
os.waitpid(copy, 0)
"""
    outcome = steps.run(script(body))
    assert outcome.rows == numbered((0, 15))
    assert (outcome.done().attempts, outcome.done().worker_deaths) == (3, 0)


@pytest.mark.fault("A19")
@pytest.mark.parametrize("ending", ["", "os._exit(9)", "os.kill(os.getpid(), signal.SIGKILL)"])
def test_commands_that_the_script_leaves_behind_end_with_the_step(steps: Steps, ending: str) -> None:
    body = "import subprocess\nsubprocess.Popen(['sleep', '1000'])\n"
    outcome = steps.run(script(f"{body}if '00007' in names and context.attempt == 1: {ending or 'pass'}"))
    assert outcome.rows == numbered((0, 15))


@pytest.mark.fault("C19")
def test_a_script_that_closes_our_descriptors_fails_by_itself(steps: Steps) -> None:
    body = "if '00007' in names: os.closerange(3, 1024); time.sleep(0.001)"
    outcome = steps.run(script(body), error_threshold=ALL)
    assert outcome.rows == REST
    for entry in outcome.failed:
        assert (entry["kind"], entry["attempts"]) == ("died", 3)
        assert "closed a file descriptor" in entry["output_tail"]


@pytest.mark.fault("A17")
def test_a_script_that_reaps_and_ignores_children_disturbs_nobody(steps: Steps) -> None:
    body = """
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
if os.fork() == 0:
    os._exit(0)
try:
    os.waitpid(-1, 0)
except ChildProcessError:
    pass
"""
    outcome = steps.run(script(body))
    assert outcome.rows == numbered((0, 15))


@pytest.mark.fault("C22")
def test_a_script_that_spoils_modules_and_streams_disturbs_nobody(steps: Steps) -> None:
    body = """
import builtins, json, pickle, struct
sys.stdout.close()
sys.stderr = None
time.monotonic = time.time = json.dumps = json.loads = pickle.dumps = struct.pack = None
os.environ.clear()
sys.modules.pop("batchflow._core", None)
if "00007" in names:
    raise ValueError("x")
"""
    outcome = steps.run(script(body), error_threshold=ALL, run_max_try=2)
    assert outcome.rows == REST
    assert {(entry["kind"], entry["error_type"]) for entry in outcome.failed} == {("exception", "ValueError")}
