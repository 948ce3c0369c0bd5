"""Processes that somebody else ends or stops: workers, all of them at once, and the one they are forked from."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from system.parallel.steps import Steps, numbered, processes_with, script
from system.runner.processes import alive, wait_until

from batchflow.errors import RunAbortedError
from batchflow.model import Event
from batchflow.parallel import runner
from batchflow.pool import pool

TELLS_ITS_PID = """
FOLDER = Path(__file__).parent


def init():
    (FOLDER / f"pid-{os.environ['BATCHFLOW_WORKER']}-{os.getpid()}").touch()
"""


def pids(folder: Path, worker: int | str = "*") -> list[int]:
    """The workers that have ever got ready."""
    return [int(path.name.rpartition("-")[2]) for path in folder.glob(f"pid-{worker}-*")]


def idle_worker(folder: Path) -> int:
    """Where rows are written as they come: the one of two workers that has done all but what the other is held by."""
    rows = folder / "rows.partial"
    wait_until(lambda: rows.exists() and "00014" in rows.read_text() and len(pids(folder)) == 2)
    (holder,) = [int(path.name[7:]) for path in folder.glob("holder-*")]
    (idle,) = [pid for pid in pids(folder) if pid != holder]
    return idle


def end(pid: int, number: int = signal.SIGKILL) -> None:
    os.kill(pid, number)
    wait_until(lambda: not alive(pid))


@pytest.mark.fault("A1", "A16")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_an_idle_worker_that_is_killed_is_replaced_without_blame(steps: Steps, number: int) -> None:
    # Mini-batch 0 holds one worker until the idle other one has been killed and replaced.
    body = """
if "00000" in names:
    (FOLDER / f"holder-{os.getpid()}").touch()
    wait_for(FOLDER / "go")
"""

    def meanwhile() -> None:
        folder = steps.folder
        idle = idle_worker(folder)
        end(idle, number)
        wait_until(lambda: len(pids(folder)) == 3)
        (folder / "go").touch()

    outcome = steps.run(script(body, before=TELLS_ITS_PID), meanwhile=meanwhile, order="completion")
    receipt = outcome.done()
    assert outcome.rows == numbered((5, 15), (0, 5))
    assert (receipt.attempts, receipt.worker_deaths) == (3, 1)


@pytest.mark.fault("B4")
def test_an_idle_worker_that_is_stopped_gives_its_work_back(steps: Steps) -> None:
    """It is given the second attempt of what failed elsewhere, says it is idle, and never moves."""
    body = """
if "00000" in names and context.attempt == 1:
    (FOLDER / f"holder-{os.getpid()}").touch()
    wait_for(FOLDER / "go")
    raise ValueError("try elsewhere")
"""

    def meanwhile() -> None:
        os.kill(idle_worker(steps.folder), signal.SIGSTOP)
        (steps.folder / "go").touch()

    outcome = steps.run(
        script(body, before=TELLS_ITS_PID), meanwhile=meanwhile, order="completion", run_invocation_timeout_s=1.0
    )
    assert outcome.rows == numbered((5, 15), (0, 5))
    assert (outcome.done().attempts, outcome.done().worker_deaths) == (4, 1)


DIES_AFTER_PUBLISHING = (
    TELLS_ITS_PID
    + """

from batchflow.worker import loop

serve = loop._serve_mini_batches


class Port:
    def __init__(self, port):
        self.take, self.publish_failure, self.publish_result = port.take, port.publish_failure, port.publish_result
        self.pack_lines, self.publish = port.pack_lines, port.publish_packed

    def publish_packed(self, index, attempt):
        self.publish(index, attempt)
        if index == 1:
            os._exit(9)


def serve_and_die(spec, code, inputs, read, port, *more):
    serve(spec, code, inputs, read, Port(port), *more)


loop._serve_mini_batches = serve_and_die
"""
)


@pytest.mark.fault("A4")
def test_a_result_that_was_published_counts_although_its_worker_died(
    steps: Steps, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The driver looks only when the worker is dead: what it published comes before what it is blamed for."""
    monkeypatch.setattr(runner, "PROGRESS_S", 0.0)
    body = "if '00005' in names: (FOLDER / 'there').touch(); wait_for(FOLDER / 'go')"

    def hold_the_driver(event: Event) -> None:
        if (steps.folder / "there").exists() and not (steps.folder / "go").exists():
            (steps.folder / "go").touch()
            (worker,) = pids(steps.folder)
            wait_until(lambda: not alive(worker))

    outcome = steps.run(script(body, before=DIES_AFTER_PUBLISHING), workers=1, run_max_try=1, on_event=hold_the_driver)
    assert outcome.rows == numbered((0, 15))
    assert (outcome.done().worker_deaths, outcome.done().attempts) == (1, 3)


@pytest.mark.fault("A13")
def test_all_workers_killed_at_once_are_all_replaced(steps: Steps) -> None:
    body = "if context.attempt == 1 and not (FOLDER / 'go').exists(): wait_for(FOLDER / 'go')"

    def meanwhile() -> None:
        wait_until(lambda: len(pids(steps.folder)) == 3)
        first = pids(steps.folder)
        for pid in first:
            os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not any(alive(pid) for pid in first))
        (steps.folder / "go").touch()

    outcome = steps.run(script(body, before=TELLS_ITS_PID), meanwhile=meanwhile, workers=3, mini_batch_size=1)
    assert outcome.rows == numbered((0, 15))
    assert outcome.done().worker_deaths == 3


@pytest.mark.fault("E8")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_dead_zygote_is_replaced_with_its_workers(steps: Steps, number: int) -> None:
    body = "if context.attempt == 1: wait_for(FOLDER / 'go')"

    def meanwhile() -> None:
        wait_until(lambda: len(pids(steps.folder)) == 2)
        end(steps.zygote(), number)
        (steps.folder / "go").touch()

    outcome = steps.run(script(body, before=TELLS_ITS_PID), meanwhile=meanwhile)
    assert outcome.rows == numbered((0, 15))
    assert outcome.notices == ["the process that workers are forked from died; starting another"]


def test_a_zygote_killed_before_its_workers_are_ready_is_no_fault_of_init(steps: Steps) -> None:
    begins_slowly = TELLS_ITS_PID.replace("def init():", "def init():\n    wait_for(FOLDER / 'go')")
    begins_slowly += "\n(FOLDER / f'import-{os.getpid()}').touch()\n"

    def meanwhile() -> None:
        wait_until(lambda: len(processes_with(steps.mark)) == 6)  # guard, zygote and four workers in init()
        (path,) = steps.folder.glob("import-*")
        end(int(path.name[7:]))
        (steps.folder / "go").touch()

    outcome = steps.run(script("", before=begins_slowly), meanwhile=meanwhile, workers=4, mini_batch_size=1)
    assert outcome.rows == numbered((0, 15))


def test_a_zygote_killed_while_it_imports_is_replaced(steps: Steps) -> None:
    imports_slowly = """
FOLDER = Path(__file__).parent
(FOLDER / f"import-{os.getpid()}").touch()
wait_for(FOLDER / "go")
"""

    def meanwhile() -> None:
        wait_until(lambda: list(steps.folder.glob("import-*")))
        (path,) = steps.folder.glob("import-*")
        end(int(path.name[7:]))
        (steps.folder / "go").touch()

    outcome = steps.run(script("", before=imports_slowly), meanwhile=meanwhile, workers=4, mini_batch_size=1)
    assert outcome.rows == numbered((0, 15))


@pytest.mark.fault("E8")
def test_a_script_that_kills_the_zygote_ends_the_step_with_words(steps: Steps) -> None:
    outcome = steps.run(
        script("print('at it again', flush=True)\nos.kill(os.getppid(), signal.SIGKILL)\ntime.sleep(1000)")
    )
    message = outcome.message(RunAbortedError)
    assert "the process that workers are forked from keeps dying, status=-9" in message


@pytest.mark.fault("E8")
def test_a_stopped_zygote_holds_nothing_up_for_ever(steps: Steps, monkeypatch: pytest.MonkeyPatch) -> None:
    """It can tell of no death and fork no worker: it is killed, and another one begins."""
    monkeypatch.setattr(pool, "ZYGOTE_SILENCE_S", 1.0)
    body = "if context.attempt == 1:\n    (FOLDER / 'at work').touch()\n    wait_for(FOLDER / 'go')"

    def meanwhile() -> None:
        wait_until((steps.folder / "at work").exists)
        (worker,) = pids(steps.folder)
        os.kill(steps.zygote(), signal.SIGSTOP)
        os.kill(worker, signal.SIGKILL)
        (steps.folder / "go").touch()

    outcome = steps.run(script(body, before=TELLS_ITS_PID), meanwhile=meanwhile, workers=1)
    assert outcome.rows == numbered((0, 15))
