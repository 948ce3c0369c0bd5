"""What scripts do that nobody expects.  One mini-batch is one item here, so that blame falls on an item by itself."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from system.parallel.steps import ALL, Outcome, Steps, numbered, script, without

from batchflow.errors import EntryScriptError

FOLDER = "import threading\nFOLDER = Path(__file__).parent\n"
ON_ITEM_7 = "if '00007' in names:\n    {fault}"
REST = without(numbered((0, 15)), ["00007"])


def one_by_one(steps: Steps, source: str, **settings: Any) -> Outcome:
    return steps.run(source, mini_batch_size=1, error_threshold=ALL, **settings)


@pytest.mark.fault("A8")
def test_a_mapped_file_that_shrinks_kills_the_worker_and_fails_its_item(steps: Steps) -> None:
    before = """
import mmap

def read_late():
    with open(f"mapped-{os.getpid()}", "w+b") as file:
        file.truncate(1 << 16)
        view = mmap.mmap(file.fileno(), 1 << 16)
        file.truncate(0)
        return view[1 << 15]
"""
    outcome = one_by_one(steps, script(ON_ITEM_7.format(fault="read_late()"), before=before))
    assert outcome.rows == REST
    (entry,) = outcome.failed
    assert (entry["kind"], entry["signal"], entry["attempts"]) == ("died", 7, 3)
    assert "died: signal 7 (SIGBUS)" in entry["message"]


DIES_AT_BIRTH = """
def stumble():
    if len(list(FOLDER.glob("stumbled-*"))) < {deaths}:
        (FOLDER / f"stumbled-{{os.getpid()}}").touch()
        os._exit(9)

os.register_at_fork(after_in_child=stumble)
"""


@pytest.mark.fault("A15")
def test_a_worker_that_dies_as_soon_as_it_is_forked_is_replaced(steps: Steps) -> None:
    outcome = steps.run(script("", before=FOLDER + DIES_AT_BIRTH.format(deaths=2)), workers=1)
    assert outcome.rows == numbered((0, 15))
    assert len(list(steps.folder.glob("stumbled-*"))) == 2


@pytest.mark.fault("A15")
def test_workers_that_all_die_as_soon_as_they_are_forked_end_the_step(steps: Steps) -> None:
    outcome = steps.run(script("", before=FOLDER + DIES_AT_BIRTH.format(deaths=1000)))
    assert "died before it was ready: exit code 9" in outcome.message(EntryScriptError)


@pytest.mark.fault("B3")
def test_a_lock_that_is_held_since_before_the_fork_costs_its_item_alone(steps: Steps) -> None:
    before = FOLDER + "LOCK = threading.Lock()\nLOCK.acquire()\n"
    source = script(ON_ITEM_7.format(fault="LOCK.acquire()"), before=before)
    outcome = one_by_one(steps, source, run_invocation_timeout_s=0.5, run_max_try=1)
    assert outcome.rows == REST
    (entry,) = outcome.failed
    assert entry["kind"] == "timeout"
    assert "score.py" in entry["traceback"]


@pytest.mark.fault("B6")
@pytest.mark.parametrize("late_s", [0.0, 0.03, 0.05, 0.07, 0.2])
def test_a_result_and_the_kill_for_its_timeout_cross_each_other(steps: Steps, late_s: float) -> None:
    """The driver has asked for the stack and is about to kill: the result counts, or the attempt is repeated."""
    body = f"""
if "00007" in names and context.attempt == 1:
    log = FOLDER / f"state/logs/worker-{{os.environ['BATCHFLOW_WORKER']}}.log"
    while "score.py" not in log.read_text():
        time.sleep(0.001)
    time.sleep({late_s})
"""
    outcome = steps.run(script(body, before=FOLDER), run_invocation_timeout_s=0.3)
    assert outcome.rows == numbered((0, 15))
    assert outcome.done().attempts == 3 + outcome.done().worker_deaths


@pytest.mark.fault("B7", "B8")
@pytest.mark.parametrize(
    "leave_behind",
    [
        "threading.Thread(target=time.sleep, args=(1000,)).start()",
        "__import__('atexit').register(time.sleep, 1000)",
    ],
    ids=["thread", "exit handler"],
)
def test_what_the_script_leaves_running_does_not_hold_the_worker(steps: Steps, leave_behind: str) -> None:
    outcome = steps.run(script(leave_behind, before=FOLDER))
    # No notice says that somebody had to be killed.
    assert (outcome.rows, outcome.notices) == (numbered((0, 15)), [])


@pytest.mark.fault("B11")
def test_a_slow_worker_that_moves_is_not_taken_for_a_stuck_one(steps: Steps) -> None:
    outcome = steps.run(script("time.sleep(0.6)"), files=7, mini_batch_size=1, workers=1, progress_update_timeout_s=4.0)
    assert outcome.rows == numbered((0, 7))


@pytest.mark.fault("C17")
def test_threads_that_go_on_printing_disturb_nobody(steps: Steps) -> None:
    before = f"""{FOLDER}
def talk():
    kept = []
    while True:
        kept.append("x" * 10_000)
        print("still here", flush=True)
        time.sleep(0.005)
"""
    source = script("threading.Thread(target=talk, daemon=True).start()\ntime.sleep(0.02)", before=before)
    outcome = one_by_one(steps, source, workers=1)
    assert outcome.rows == numbered((0, 15))
    assert set(outcome.log().splitlines()) == {"still here"}


@pytest.mark.parametrize(
    "habit",
    [
        pytest.param("os.umask(0o777)", marks=pytest.mark.fault("C18")),
        pytest.param("__import__('locale').setlocale(6, 'C')", marks=pytest.mark.fault("C18")),
        pytest.param("os.environ.clear()", marks=pytest.mark.fault("C18")),
        pytest.param("__import__('gc').disable()", marks=pytest.mark.fault("C28")),
        pytest.param("sys.settrace(lambda *_: None)", marks=pytest.mark.fault("C28")),
        pytest.param("__import__('faulthandler').disable()", marks=pytest.mark.fault("C28")),
        pytest.param("__import__('faulthandler').unregister(signal.SIGRTMAX - 1)", marks=pytest.mark.fault("C28")),
        pytest.param("[signal.signal(n, signal.SIG_IGN) for n in (1, 2, 13, 15, 17)]", marks=pytest.mark.fault("C20")),
    ],
)
def test_bad_habits_neither_stop_the_answers_nor_the_clock(steps: Steps, habit: str) -> None:
    """A failure is still told, and a hanging item still ends at its timeout."""
    body = f"{habit}\nif '00003' in names: raise ValueError('x')\nif '00007' in names: time.sleep(1000)"
    outcome = one_by_one(steps, script(body), run_invocation_timeout_s=0.5, run_max_try=1, files=10)
    assert outcome.rows == without(numbered((0, 10)), ["00003", "00007"])
    assert [(entry["kind"], entry["error_type"]) for entry in outcome.failed] == [
        ("exception", "ValueError"),
        ("timeout", "TimeoutError"),
    ]


@pytest.mark.fault("C23")
@pytest.mark.parametrize("limit", ["", "sys.setrecursionlimit(10**9)"])
def test_recursion_without_end_costs_its_item_alone(steps: Steps, limit: str) -> None:
    # Through C, so that the stack really ends.
    before = f"{limit}\n\ndef sink(_=None):\n    return sorted([1], key=sink)\n"
    outcome = one_by_one(steps, script(ON_ITEM_7.format(fault="sink()"), before=before))
    assert outcome.rows == REST
    (entry,) = outcome.failed
    assert (entry["error_type"], entry["signal"]) in (("RecursionError", None), ("WorkerDiedError", 11))
    assert entry["attempts"] == 3


@pytest.mark.fault("C25")
def test_a_script_may_have_processes_of_its_own(steps: Steps) -> None:
    body = """
import multiprocessing, subprocess
with multiprocessing.get_context("fork").Pool(2) as pool:
    assert pool.map(abs, [-1, 2]) == [1, 2]
assert subprocess.run(["echo", "x"], capture_output=True).stdout == b"x\\n"
"""
    assert steps.run(script(body)).rows == numbered((0, 15))


@pytest.mark.fault("E7")
def test_when_memory_ends_workers_go_before_the_driver(steps: Steps) -> None:
    score = Path("/proc/self/oom_score_adj")
    before = int(score.read_text())
    outcome = steps.run(script("return [int(open('/proc/self/oom_score_adj').read())] * len(names)"), oracle=False)
    assert set(outcome.rows) == {str(min(1000, before + 500))}  # more than the driver's, whatever that is
    assert int(score.read_text()) == before


@pytest.mark.fault("H11", "H13", "H18")
@pytest.mark.parametrize(
    ("change", "error_type"),
    [
        ("os.unlink(path)", "FileNotFoundError"),
        ("os.unlink(path); os.mkdir(path)", "IsADirectoryError"),
        ("os.unlink(path); os.symlink('/proc/self/mem', path)", "OSError"),
    ],
)
def test_a_file_that_cannot_be_read_any_more_is_a_failed_item(steps: Steps, change: str, error_type: str) -> None:
    before = f"def init_shared():\n    path = os.path.join(os.path.dirname(__file__), 'in/00007')\n    {change}\n"
    outcome = one_by_one(steps, script("open(mini_batch[0], 'rb').read()", before=before))
    assert outcome.rows == REST
    (entry,) = outcome.failed
    assert (entry["item"], entry["error_type"]) == (f"{steps.folder}/in/00007", error_type)


@pytest.mark.fault("H18")
def test_a_read_that_fails_once_is_tried_again(steps: Steps) -> None:
    body = "if context.attempt == 1: raise OSError(116, 'Stale file handle')"
    outcome = one_by_one(steps, script(ON_ITEM_7.format(fault=body)))
    assert (outcome.rows, outcome.failed, outcome.done().attempts) == (numbered((0, 15)), [], 16)


@pytest.mark.fault("H16")
def test_files_that_come_during_the_run_are_not_part_of_it(steps: Steps) -> None:
    before = FOLDER + "def init():\n    (FOLDER / 'in/00003a').touch()\n    (FOLDER / 'in/99999').touch()\n"
    outcome = steps.run(script("", before=before))
    assert (outcome.rows, outcome.done().items_in) == (numbered((0, 15)), 15)


@pytest.mark.fault("H22")
def test_a_path_is_never_taken_for_an_option(steps: Steps) -> None:
    body = "import subprocess\nfor path in mini_batch: assert subprocess.run(['cat', path]).returncode == 0"
    outcome = steps.run(script(body), files=["-rf", "--help", "-"])
    assert outcome.rows == ["-", "--help", "-rf"]


@pytest.mark.fault("O2")
def test_the_step_goes_on_without_its_logs(steps: Steps) -> None:
    body = """
import shutil
shutil.rmtree(FOLDER / "state/logs", ignore_errors=True)
print("to nobody", flush=True)
if names == ["00007"] and context.attempt == 1:
    os._exit(9)
"""
    outcome = one_by_one(steps, script(body, before=FOLDER))
    assert (outcome.rows, outcome.done().worker_deaths) == (numbered((0, 15)), 1)


@pytest.mark.fault("F2", "O2")
def test_a_log_that_cannot_grow_costs_no_item(steps: Steps) -> None:
    """A limit of the size of files stands for a disk that is full."""
    before = "def init():\n    import resource\n    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))\n"
    body = "print('x' * 20_000)\nsys.stderr.write('y' * 20_000)\nsys.stdout.flush()"
    outcome = steps.run(script(body, before=before), workers=1, mini_batch_size=1)
    assert (outcome.rows, outcome.done().attempts) == (numbered((0, 15)), 15)
    assert len(outcome.log()) <= 50_000


MEASURE = """
import sys
from pathlib import Path
from system.parallel.steps import ALL, Steps, peak_kib, script
steps = Steps(Path(sys.argv[1]))
steps.mark = sys.argv[2]
body = "if '00007' in names: return ['x' * (300 << 20)]"
steps.run(script(""), mini_batch_size=1)
before = peak_kib()
outcome = steps.run(script(body), mini_batch_size=1, run_max_try=1, error_threshold=ALL)
print(peak_kib() - before, *[entry["message"] for entry in outcome.failed], sep="\\n")
"""


@pytest.mark.fault("C12")
def test_a_huge_result_is_refused_where_it_was_made(steps: Steps) -> None:
    paths = os.pathsep.join(path for path in sys.path if path)
    command = [sys.executable, "-c", MEASURE, str(steps.folder), steps.mark]
    done = subprocess.run(command, env=os.environ | {"PYTHONPATH": paths}, check=True, capture_output=True, text=True)
    grown_kib, message = done.stdout.splitlines()
    assert message == f"the result has {(300 << 20) + 1} bytes, max_result_size={256 << 20}"
    assert int(grown_kib) < 16 << 10


SLOW_DISK = """
import os, sys, time
from pathlib import Path
from system.parallel.steps import Steps, peak_kib, script
steps = Steps(Path(sys.argv[1]))
steps.mark = sys.argv[2]
steps.run(script(""), mini_batch_size=1)
before = peak_kib()
fdatasync = os.fdatasync
os.fdatasync = lambda descriptor: (time.sleep(0.05), fdatasync(descriptor))[1]
peaks = []  # while it runs: what comes afterwards reads the whole output
outcome = steps.run(
    script("return ['x' * (1 << 20)]"),
    files=300, mini_batch_size=1, oracle=False, on_event=lambda event: peaks.append(peak_kib()),
)
print(peaks[-1] - before, len(outcome.content), outcome.done().succeeded)
"""


@pytest.mark.fault("B9")
def test_a_slow_disk_holds_the_workers_back_and_not_the_results_in_memory(steps: Steps) -> None:
    paths = os.pathsep.join(path for path in sys.path if path)
    command = [sys.executable, "-c", SLOW_DISK, str(steps.folder), steps.mark]
    done = subprocess.run(command, env=os.environ | {"PYTHONPATH": paths}, check=True, capture_output=True, text=True)
    grown_kib, size, succeeded = map(int, done.stdout.split())
    assert (size, succeeded) == (300 * ((1 << 20) + 1), 300)
    # 300 MiB of results; what waits is bounded by a group of 32 MiB, by the window of 64 MiB, where a worker is so far
    # behind that the others' results wait for its own, and by the rings.
    assert grown_kib < 128 << 10
