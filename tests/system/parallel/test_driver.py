"""The driver itself: killed, stopped, interrupted, used from threads; what it costs for each mini-batch."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import pytest
from system.parallel.steps import SOON_S, Steps, numbered, open_descriptors, processes_with, script
from system.runner.processes import wait_until

from batchflow.control import StopLevel, StopRequest
from batchflow.errors import InterruptedRunError
from batchflow.model import Event
from batchflow.parallel import runner
from batchflow.parallel.runner import run_parallel_step
from batchflow.pool.pool import WorkerPool

FOLDER = "FOLDER = Path(__file__).parent\n"
DRIVE = """
import sys
from pathlib import Path
from system.parallel.steps import Steps
steps = Steps(Path(sys.argv[1]))
steps.mark = sys.argv[2]
steps.run(Path(sys.argv[3]).read_text(), files=50, mini_batch_size=1)
"""


@contextmanager
def driver(steps: Steps, source: str) -> Iterator[subprocess.Popen[bytes]]:
    """Another process that runs a step with this source in ``steps``' folder."""
    steps.folder.mkdir(exist_ok=True)
    kept = steps.folder / "source"
    kept.write_text(source)
    command = [sys.executable, "-c", DRIVE, str(steps.folder), steps.mark, str(kept)]
    paths = os.pathsep.join(path for path in sys.path if path)
    process = subprocess.Popen(command, env=os.environ | {"PYTHONPATH": paths})
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize(
    ("before", "body"),
    [
        (FOLDER + "(FOLDER / 'there').touch()\ntime.sleep(1000)", ""),
        (FOLDER + "(FOLDER / 'there').touch()\nsum(itertools.repeat(0))  # in C, holding the GIL", ""),
        (FOLDER + "def init():\n    (FOLDER / 'there').touch()\n    time.sleep(1000)", ""),
        (FOLDER, "(FOLDER / 'there').touch()"),
        (FOLDER, "(FOLDER / 'there').touch()\nwhile True: pass"),
        (FOLDER, "(FOLDER / 'there').touch()\nsum(itertools.repeat(0))  # in C, holding the GIL"),
        (
            FOLDER,
            "signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))\n(FOLDER / 'there').touch()\ntime.sleep(1000)",
        ),
        (FOLDER, "(FOLDER / 'there').touch()\nos.kill(os.getpid(), signal.SIGSTOP)"),
        (FOLDER, "(FOLDER / 'there').touch()\nprint('x' * 10**8)"),
        (FOLDER + "def shutdown():\n    (FOLDER / 'there').touch()\n    time.sleep(1000)", ""),
    ],
    ids=[
        "import",
        "import in C",
        "init",
        "run",
        "loop",
        "loop in C",
        "blocked signals",
        "stopped",
        "prints",
        "shutdown",
    ],
)
def test_nothing_outlives_a_driver_that_is_killed(steps: Steps, before: str, body: str) -> None:
    with driver(steps, script(body, before=before)) as process:
        wait_until((steps.folder / "there").exists)
        process.kill()
        process.wait()
        since = time.monotonic()
        wait_until(lambda: not processes_with(steps.mark))
        assert time.monotonic() - since < SOON_S


@pytest.mark.fault("E6", "M2")
def test_a_driver_that_was_stopped_for_longer_than_the_timeout_blames_nobody(steps: Steps) -> None:
    """As when a laptop sleeps: the time in which nobody looked does not count."""
    body = "if '00000' in names:\n    (FOLDER / 'there').touch()\n    wait_for(FOLDER / 'go')"

    def meanwhile() -> None:
        wait_until((steps.folder / "there").exists)
        (steps.folder / "go").touch()

    class Sleepy:
        """A clock that jumps by an hour now and then."""

        jumps = 0

        def monotonic(self) -> float:
            self.jumps += (steps.folder / "there").exists()
            return time.monotonic() + 3600 * self.jumps

    files = steps.make_items(15)
    job = steps.job(script(body, before=FOLDER), run_invocation_timeout_s=60.0)
    thread = threading.Thread(target=meanwhile)
    thread.start()
    receipt = run_parallel_step(job, on_event=lambda event: None, stop=StopRequest(), clock=Sleepy())
    thread.join()
    assert (receipt.succeeded, receipt.worker_deaths, receipt.attempts) == (len(files), 0, 3)


HELD = """
(FOLDER / f"running-{context.mini_batch_index}").touch()
wait_for(FOLDER / "go")
"""


@pytest.mark.fault("E2")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_drain_finishes_what_is_in_flight(steps: Steps, number: int) -> None:
    stop = StopRequest()

    def meanwhile() -> None:
        wait_until(lambda: len(list(steps.folder.glob("running-*"))) == 2)
        stop.request(StopLevel.DRAIN, number)
        (steps.folder / "go").touch()

    outcome = steps.run(script(HELD, before=FOLDER), stop=stop, meanwhile=meanwhile, files=100)
    assert outcome.message(InterruptedRunError).endswith(" of 100 items done")
    assert isinstance(outcome.error, InterruptedRunError)
    assert outcome.error.exit_code == 128 + number
    done = len(outcome.rows)
    assert outcome.rows == numbered((0, done))
    assert 10 <= done < 100


@pytest.mark.fault("E2")
def test_a_drain_does_not_wait_for_ever(steps: Steps, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "GRACE_S", 0.2)
    stop = StopRequest()

    def meanwhile() -> None:
        wait_until(lambda: len(list(steps.folder.glob("running-*"))) == 2)
        stop.request(StopLevel.DRAIN)

    outcome = steps.run(script(HELD, before=FOLDER), stop=stop, meanwhile=meanwhile)
    assert outcome.message(InterruptedRunError) == "stopped with 0 of 15 items done"


def test_now_waits_for_nobody(steps: Steps) -> None:
    stop = StopRequest()

    def meanwhile() -> None:
        wait_until(lambda: len(list(steps.folder.glob("running-*"))) == 2)
        stop.request(StopLevel.DRAIN)
        time.sleep(0.1)
        stop.request(StopLevel.NOW)

    outcome = steps.run(script(HELD, before=FOLDER), stop=stop, meanwhile=meanwhile)
    assert outcome.message(InterruptedRunError) == "stopped with 0 of 15 items done"


def test_a_step_that_was_stopped_before_it_began_does_nothing(steps: Steps) -> None:
    stop = StopRequest()
    stop.request(StopLevel.DRAIN)
    outcome = steps.run(script("(FOLDER / 'ran').touch()", before=FOLDER), stop=stop)
    assert outcome.message(InterruptedRunError) == "stopped with 0 of 15 items done"
    assert not (steps.folder / "ran").exists()


def test_whatever_the_caller_raises_leaves_nothing(steps: Steps) -> None:
    steps.make_items(15)
    job = steps.job(script("time.sleep(1000)"))

    def interrupted(event: Event) -> None:
        if processes_with(steps.mark):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_parallel_step(job, on_event=interrupted, stop=StopRequest())
    assert processes_with(steps.mark) == []


def test_steps_run_side_by_side_in_threads(tmp_path: Path) -> None:
    before = open_descriptors()
    many = [Steps(tmp_path / f"steps-{number}") for number in range(4)]
    rows: dict[int, list[str]] = {}

    def run(number: int) -> None:
        rows[number] = many[number].run(script("time.sleep(0.01)"), files=50, mini_batch_size=3).rows

    threads = [threading.Thread(target=run, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [rows[number] for number in range(4)] == [numbered((0, 50))] * 4
    for steps in many:
        assert processes_with(steps.mark) == []
    assert open_descriptors() == before


def test_a_driver_with_very_many_descriptors(steps: Steps) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 2000:
        pytest.skip(f"needs 2000 descriptors, the limit is {hard}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2000), hard))
    held = [os.open(os.devnull, os.O_RDONLY) for _ in range(1100)]
    try:
        outcome = steps.run(script("if '00007' in names and context.attempt == 1: os._exit(9)"))
    finally:
        for descriptor in held:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert outcome.rows == numbered((0, 15))


MANY = 20_000


def test_the_drivers_python_runs_for_batches_of_completions(steps: Steps) -> None:
    """And not for each mini-batch, however slow it is: it is traced here."""
    files = steps.make_items(MANY)
    job = steps.job("def run(mini_batch):\n    return mini_batch\n", mini_batch_size=1)
    calls: Counter[str] = Counter()

    def count(frame: FrameType, event: str, argument: object) -> None:
        if event == "call":
            calls[frame.f_code.co_name] += 1

    sys.setprofile(count)
    try:
        receipt = run_parallel_step(job, on_event=lambda event: None, stop=StopRequest())
    finally:
        sys.setprofile(None)
    assert (receipt.succeeded, receipt.mini_batches, receipt.attempts) == (MANY, MANY, MANY)
    assert (steps.folder / "rows.partial").read_text() == "".join(f"{path}\n" for path in files)
    assert calls["fill"] < 0.02 * MANY
    assert calls.total() < MANY


def test_workers_wake_the_driver_and_not_the_clock(steps: Steps, monkeypatch: pytest.MonkeyPatch) -> None:
    tick_s = 60.0
    wait = WorkerPool.wait
    monkeypatch.setattr(WorkerPool, "wait", lambda self: wait(self, tick_s))
    body = "time.sleep(0.002)\nif context.attempt == 1 and '00007' in names: os._exit(9)"
    since = time.monotonic()
    outcome = steps.run(script(body), files=100, mini_batch_size=1, workers=3)
    assert outcome.rows == numbered((0, 100))
    assert time.monotonic() - since < tick_s


MEASURE = """
import sys
from pathlib import Path
from system.parallel.steps import Steps, peak_kib
from batchflow.control import StopRequest
from batchflow.parallel import runner
from batchflow.parallel.runner import run_parallel_step
steps = Steps(Path(sys.argv[1]))
steps.make_items(MANY)
job = steps.job("def run(mini_batch):\\n    return mini_batch\\n", mini_batch_size=size)
run_parallel_step(job, on_event=lambda event: None, stop=StopRequest())
print(peak_kib())
"""


def test_the_drivers_memory_does_not_grow_with_the_mini_batches(steps: Steps) -> None:
    def peak_kib(size: int) -> int:
        code = MEASURE.replace("MANY", str(MANY)).replace("size)", f"{size})")
        paths = os.pathsep.join(path for path in sys.path if path)
        done = subprocess.run(
            [sys.executable, "-c", code, str(steps.folder)],
            env=os.environ | {"PYTHONPATH": paths},
            check=True,
            capture_output=True,
            text=True,
        )
        return int(done.stdout)

    # 20,000 mini-batches instead of 20: a Python object for each would take more than 1 MiB.
    assert peak_kib(1) - peak_kib(1000) < 4096
