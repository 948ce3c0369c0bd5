"""The guard: what a run has started ends with it, however far it has run away from us."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from system.parallel.steps import MARK, SOON_S, Steps, numbered, parent_of, processes_with, script
from system.runner.processes import alive, descendants, wait_until

DAEMONS = """
FOLDER = Path(__file__).parent
(FOLDER / "pids").mkdir(exist_ok=True)


def start_daemon(name):
    '''One with a session of its own whose parents are gone, that no polite word ends.'''
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        return
    os.setsid()
    daemon = os.fork()
    if daemon == 0:
        signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))
        (FOLDER / "pids" / f"{name}-{os.getpid()}").touch()
        time.sleep(1000)
    wait_for(FOLDER / "pids" / f"{name}-{daemon}")
    os._exit(0)
"""
HOLDS = "start_daemon('run')\n(FOLDER / 'there').touch()\nwait_for(FOLDER / 'go')"
DRIVE_STEP = """
import sys
from pathlib import Path
from system.parallel.steps import Steps
steps = Steps(Path(sys.argv[1]))
steps.mark = sys.argv[2]
steps.run((steps.folder / "source").read_text(), oracle=False)
"""
CALLEES = """
import os, signal, subprocess, sys, time
from pathlib import Path

FOLDER = Path(__file__).parent


def init():
    subprocess.Popen([sys.executable, "-c", "import os; os.setpgid(0, 0); import time; time.sleep(1000)"])
    subprocess.Popen(["setsid", "sleep", "1000"])


def double(numbers):
    subprocess.Popen("setsid setsid sleep 1000 & sleep 1000 & true", shell=True)
    (FOLDER / "there").touch()
    if 3 in numbers:
        time.sleep(1000)
    return [2 * number for number in numbers]
"""
DRIVE_CALLS = {
    "map": "print(list(batchflow.map(callees.double, range(8), init=callees.init, workers=2, mini_batch_size=1)))",
    "Pool": "with batchflow.Pool(2, init=callees.init) as pool: print(list(pool.map(callees.double, [[1], [3]])))",
}


@contextlib.contextmanager
def driver(steps: Steps, code: str, **variables: str) -> Iterator[subprocess.Popen[bytes]]:
    """Another process that executes ``code`` with the steps' folder and mark as arguments."""
    steps.folder.mkdir(exist_ok=True)
    paths = os.pathsep.join(path for path in [*sys.path, str(steps.folder)] if path)
    command = [sys.executable, "-c", code, str(steps.folder), steps.mark]
    process = subprocess.Popen(command, env=os.environ | {"PYTHONPATH": paths} | variables)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def daemons(steps: Steps) -> dict[str, int]:
    found = (path.name.split("-") for path in (steps.folder / "pids").iterdir())
    return {name: int(pid) for name, pid in found}


def children_of(pid: int) -> list[int]:
    return [one for one in descendants(pid) if parent_of(one) == pid]


def target_of(descriptor: Path) -> str:
    """What an entry of ``/proc/PID/fd`` stands for; nothing if it was closed meanwhile."""
    with contextlib.suppress(FileNotFoundError):
        return os.readlink(descriptor)
    return ""


def hangs_on_a_pipe(pid: int) -> bool:
    """Whether the kernel sends a signal when the other end of a pipe of this process is closed."""
    with contextlib.suppress(OSError):
        for file in Path(f"/proc/{pid}/fdinfo").iterdir():
            if int(file.read_text().partition("flags:")[2].split()[0], 8) & os.O_ASYNC:
                return True
    return False


def nothing_lives_soon(steps: Steps) -> bool:
    since = time.monotonic()
    wait_until(lambda: not processes_with(steps.mark))
    return time.monotonic() - since < SOON_S


@pytest.mark.fault("C21", "E1")
@pytest.mark.parametrize("place", ["import", "init", "run"])
def test_daemons_end_when_the_driver_is_killed(steps: Steps, place: str) -> None:
    before = {"import": "start_daemon('import')\n", "init": "def init(): start_daemon('init')\n", "run": ""}[place]
    steps.folder.mkdir()
    (steps.folder / "source").write_text(script(HOLDS, before=DAEMONS + before))
    with driver(steps, DRIVE_STEP) as process:
        wait_until(lambda: (steps.folder / "there").exists() and place in daemons(steps))
        # One that has told of itself may still have the parent that is about to go.
        wait_until(lambda: all(parent_of(pid) == steps.guard(process.pid) for pid in daemons(steps).values()))
        process.kill()
        process.wait()
        assert nothing_lives_soon(steps)


@pytest.mark.fault("C21", "E1")
@pytest.mark.parametrize("face", ["map", "Pool"])
def test_daemons_of_calls_end_when_the_caller_is_killed(steps: Steps, face: str) -> None:
    steps.folder.mkdir()
    (steps.folder / "callees.py").write_text(CALLEES)
    with driver(steps, f"import batchflow, callees\n{DRIVE_CALLS[face]}", **{MARK: steps.mark}) as process:
        wait_until((steps.folder / "there").exists)
        process.kill()
        process.wait()
        assert nothing_lives_soon(steps)


FORKS = """
import ctypes, os, time
while not os.path.exists(THERE): time.sleep(0.005)
if ctypes.CDLL(None).fork() == 0: time.sleep(1000)
"""


@pytest.mark.fault("E1")
def test_a_copy_of_the_driver_keeps_nothing_alive(steps: Steps) -> None:
    """Forked by a library, it holds every descriptor that the driver held."""
    steps.folder.mkdir()
    (steps.folder / "source").write_text(script(HOLDS, before=DAEMONS))
    code = FORKS.replace("THERE", repr(str(steps.folder / "there")))
    in_thread = f"threading.Thread(target=lambda: exec({code!r}, {{}})).start()\n"
    with driver(steps, f"import threading\n{in_thread}{DRIVE_STEP}") as process:
        wait_until(lambda: (steps.folder / "there").exists() and len(children_of(process.pid)) == 2)
        (copy,) = [pid for pid in children_of(process.pid) if pid != steps.guard(process.pid)]
        process.kill()
        process.wait()
        try:
            assert nothing_lives_soon(steps)
            assert alive(copy)
        finally:
            os.kill(copy, signal.SIGKILL)


@pytest.mark.fault("C21")
def test_daemons_end_with_the_step(steps: Steps) -> None:
    outcome = steps.run(script("start_daemon('run')", before=f"{DAEMONS}start_daemon('import')\n"))
    assert outcome.rows == numbered((0, 15))
    assert {"import", "run"} == set(daemons(steps))
    assert processes_with(steps.mark) == []


@pytest.mark.fault("C21", "A2")
def test_daemons_of_a_worker_that_died_end_with_the_step(steps: Steps) -> None:
    body = "if '00007' in names and context.attempt == 1:\n    start_daemon('run')\n    os.kill(os.getpid(), 9)"
    outcome = steps.run(script(body, before=DAEMONS))
    assert outcome.rows == numbered((0, 15))
    assert (outcome.done().worker_deaths, set(daemons(steps))) == (1, {"run"})
    assert processes_with(steps.mark) == []


def test_what_a_dead_worker_left_in_its_group_ends_at_once(steps: Steps) -> None:
    """Not only with the step: the next worker may need what it holds."""
    body = """
if "00007" in names and context.attempt == 1:
    import subprocess
    (FOLDER / "helper").write_text(str(subprocess.Popen(["sleep", "1000"]).pid))
    os._exit(9)
if "00007" in names:
    (FOLDER / "there").touch()
    wait_for(FOLDER / "go")
"""

    def meanwhile() -> None:
        wait_until((steps.folder / "there").exists)
        wait_until(lambda: not alive(int((steps.folder / "helper").read_text())))
        (steps.folder / "go").touch()

    outcome = steps.run(script(body, before="FOLDER = Path(__file__).parent\n"), meanwhile=meanwhile)
    assert outcome.rows == numbered((0, 15))


@pytest.mark.fault("E8")
def test_a_killed_guard_is_replaced_and_what_stayed_in_its_session_ended(steps: Steps) -> None:
    body = """
if context.attempt == 1 and not (FOLDER / "go").exists():
    if "00000" in names:
        helper = subprocess.Popen([sys.executable, "-c", "import os, time; os.setpgid(0, 0); time.sleep(1000)"])
        (FOLDER / "helper").write_text(str(helper.pid))
        (FOLDER / "there").touch()
    wait_for(FOLDER / "go")
"""

    def meanwhile() -> None:
        wait_until((steps.folder / "there").exists)
        helper = int((steps.folder / "helper").read_text())  # the next worker may have one, too
        os.kill(steps.guard(), signal.SIGKILL)
        wait_until(lambda: not alive(helper))
        (steps.folder / "go").touch()

    before = "import subprocess\nFOLDER = Path(__file__).parent\n"
    outcome = steps.run(script(body, before=before), meanwhile=meanwhile)
    assert outcome.rows == numbered((0, 15))
    assert outcome.notices == ["the process that workers are forked from died; starting another"]


@pytest.mark.fault("E8")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_guard_that_is_ended_ends_what_it_guards_first(steps: Steps, number: int) -> None:
    steps.folder.mkdir()
    (steps.folder / "source").write_text(script(HOLDS, before=DAEMONS))
    with driver(steps, DRIVE_STEP) as process:
        wait_until((steps.folder / "there").exists)
        guard = steps.guard(process.pid)
        process.send_signal(signal.SIGSTOP)  # it shall be of no help
        os.kill(guard, number)
        wait_until(lambda: not processes_with(steps.mark))
        wait_until(lambda: not alive(guard))


BUSY = "(FOLDER / 'there').touch()\nsum(itertools.repeat(0))  # in C, holding the GIL\n"


@pytest.mark.fault("E8")
@pytest.mark.parametrize(
    ("before", "body"), [(BUSY, ""), ("", BUSY), (DAEMONS, HOLDS)], ids=["import", "run", "daemon"]
)
def test_a_stopped_guard_goes_on_when_the_driver_ends(steps: Steps, before: str, body: str) -> None:
    steps.folder.mkdir()
    (steps.folder / "source").write_text(script(body, before=f"FOLDER = Path(__file__).parent\n{before}"))
    with driver(steps, DRIVE_STEP) as process:
        wait_until((steps.folder / "there").exists)
        os.kill(steps.guard(process.pid), signal.SIGSTOP)
        process.kill()
        process.wait()
        assert nothing_lives_soon(steps)


@pytest.mark.fault("E1")
def test_a_guard_that_is_stopped_before_it_is_one_goes_on_when_the_driver_ends(steps: Steps) -> None:
    steps.folder.mkdir()
    (steps.folder / "source").write_text(script(HOLDS, before=DAEMONS))
    with driver(steps, DRIVE_STEP) as process:
        wait_until(lambda: any(hangs_on_a_pipe(pid) for pid in children_of(process.pid)))
        with contextlib.suppress(ProcessLookupError):
            os.kill(children_of(process.pid)[0], signal.SIGSTOP)
        process.kill()
        process.wait()
        assert nothing_lives_soon(steps)


@pytest.mark.fault("M10")
@pytest.mark.parametrize(
    "set_up",
    ["signal.signal(signal.SIGCHLD, signal.SIG_IGN)", "signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))"],
)
def test_a_driver_started_with_odd_signals_works_and_leaves_nothing(steps: Steps, set_up: str) -> None:
    """One death and one daemon; the driver's parent ignored SIGCHLD or blocked all.  The script sees none of it."""
    body = "if '00007' in names and context.attempt == 1:\n    start_daemon('run')\n    os._exit(9)"
    spared = "signal.getsignal(signal.SIGCHLD) is signal.SIG_DFL and not signal.pthread_sigmask(signal.SIG_BLOCK, ())"
    steps.folder.mkdir()
    (steps.folder / "source").write_text(script(f"assert {spared}\n{body}", before=f"{DAEMONS}assert {spared}\n"))
    wrapped = f"import os, signal, sys\n{set_up}\nos.execv(sys.executable, [sys.executable, '-c', *sys.argv[1:]])"
    paths = os.pathsep.join(path for path in sys.path if path)
    done = subprocess.run(
        [sys.executable, "-c", wrapped, DRIVE_STEP, str(steps.folder), steps.mark],
        env=os.environ | {"PYTHONPATH": paths},
        check=False,
    )
    assert done.returncode == 0
    assert sorted((steps.folder / "rows.partial").read_text().split()) == numbered((0, 15))
    assert set(daemons(steps)) == {"run"}
    assert processes_with(steps.mark) == []


@pytest.mark.fault("M9")
def test_process_number_one_of_a_container_runs_a_step(steps: Steps) -> None:
    """The driver is the one that orphans come to where there is no guard; and it is PID 1, which ignores signals."""
    unshare = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]
    if subprocess.run([*unshare, "true"], check=False, capture_output=True).returncode:
        pytest.skip("this process may not make a PID namespace")
    steps.folder.mkdir()
    body = "if '00007' in names and context.attempt == 1:\n    start_daemon('run')\n    os._exit(9)"
    (steps.folder / "source").write_text(script(body, before=DAEMONS))
    code = f"import os\nassert os.getpid() == 1\n{DRIVE_STEP}\nassert os.listdir('/proc/self/task') == ['1']\n"
    code += "assert [name for name in os.listdir('/proc') if name.isdigit()] == ['1']\n"
    paths = os.pathsep.join(path for path in sys.path if path)
    command = [*unshare, sys.executable, "-c", code, str(steps.folder), steps.mark]
    done = subprocess.run(command, env=os.environ | {"PYTHONPATH": paths}, check=False, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted((steps.folder / "rows.partial").read_text().split()) == numbered((0, 15))


def test_the_guard_is_small_and_holds_nothing_of_the_driver(steps: Steps) -> None:
    def meanwhile() -> None:
        wait_until((steps.folder / "there").exists)
        guard = Path(f"/proc/{steps.guard()}")
        assert (guard / "comm").read_text() == "batchflow-guard\n"
        targets = [target for one in (guard / "fd").iterdir() if (target := target_of(one))]
        assert not [one for one in targets if "socket" in one or "memfd" in one], targets
        assert len(list((guard / "task").iterdir())) == 1
        (steps.folder / "go").touch()

    body = "(FOLDER / 'there').touch()\nwait_for(FOLDER / 'go')"
    steps.run(script(body, before="FOLDER = Path(__file__).parent\n"), meanwhile=meanwhile)
