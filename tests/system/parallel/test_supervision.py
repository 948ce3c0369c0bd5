"""Workers that cannot be started, never get ready, cannot be killed, or have no memory left."""

from __future__ import annotations

import errno
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from system.parallel.steps import ALL, Steps, numbered, processes_with, script
from system.runner.processes import wait_until

from batchflow._core import Channel
from batchflow.errors import EntryScriptError, ResourceError
from batchflow.model import Event, Notice
from batchflow.pool import pool
from batchflow.pool.backoff import Backoff
from batchflow.pool.zygote_client import Message, ZygoteClient

FOLDER = "FOLDER = Path(__file__).parent\n"
REFUSES_FORKS = """
import errno

fork, refused = os.fork, []


def refuse():
    # This is the zygote: the machine has no process for the first {count} workers asked for.
    if len(refused) < {count}:
        refused.append(1)
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
    return fork()


os.fork = refuse
"""


@pytest.mark.fault("E10", "A15")
def test_workers_that_are_refused_at_first_are_asked_for_again(steps: Steps) -> None:
    outcome = steps.run(script("", before=REFUSES_FORKS.format(count=5)), workers=2)
    assert outcome.rows == numbered((0, 15))
    assert outcome.done().worker_deaths == 0
    (notice,) = outcome.notices
    assert notice.startswith("worker ")
    assert notice.endswith(
        " cannot be started: [Errno 11] Resource temporarily unavailable; going on with fewer, and trying again"
    )


def start(
    steps: Steps, source: str, *, before: str = "", prefix: Sequence[str] = (), **settings: Any
) -> subprocess.Popen[str]:
    """A step in a process of its own, after the code ``before``; it must do all items."""
    steps.folder.mkdir(exist_ok=True)
    (steps.folder / "source").write_text(source)
    code = f"""
import os, resource, sys
from pathlib import Path
from system.parallel.steps import Steps
{before}
steps = Steps(Path(sys.argv[1]))
steps.mark = sys.argv[2]
outcome = steps.run((steps.folder / "source").read_text(), **{settings})
if outcome.error is not None:
    raise SystemExit(repr(outcome.error))
assert len(outcome.rows) == outcome.done().succeeded == len(outcome.items)
print(*outcome.notices, sep="\\n")
"""
    paths = os.pathsep.join(path for path in sys.path if path)
    variables = os.environ | {"PYTHONPATH": paths, "PYTHONDONTWRITEBYTECODE": "1"}
    command = [*prefix, sys.executable, "-c", code, str(steps.folder), steps.mark]
    return subprocess.Popen(command, env=variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def drive(steps: Steps, source: str, **facts: Any) -> subprocess.CompletedProcess[str]:
    """As ``start``, to its end."""
    with start(steps, source, **facts) as process:
        stdout, stderr = process.communicate()
    return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)


@pytest.mark.fault("E10", "M5")
def test_sixty_four_open_files_are_enough(steps: Steps) -> None:
    """With deaths: each replacement needs rings, and room for the new worker's pidfd."""
    body = "if context.attempt == 1 and int(names[0]) % 5 == 2: os._exit(9)"
    limit = "resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))"
    done = drive(steps, script(body), before=limit, files=40, mini_batch_size=1, workers=4)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.fault("E10", "M5")
@pytest.mark.parametrize("allowed", [40, 30, 26, 24, 22, 20])
def test_with_too_few_open_files_there_are_fewer_workers_or_words(steps: Steps, allowed: int) -> None:
    limit = f"resource.setrlimit(resource.RLIMIT_NOFILE, ({allowed}, {allowed}))"
    # Long enough for every worker to be asked for.
    done = drive(steps, script("time.sleep(0.02)"), before=limit, files=40, mini_batch_size=1, workers=6, oracle=False)
    if done.returncode == 0:
        assert allowed >= 30 or "going on with fewer" in done.stdout
    else:
        assert "ResourceError(" in done.stderr
        assert "Too many open files" in done.stderr


@pytest.mark.fault("E10")
def test_without_descriptors_for_rings_a_worker_is_asked_for_again(
    steps: Steps, monkeypatch: pytest.MonkeyPatch
) -> None:
    make, calls = pool.WorkerPool._new_channel, itertools.count()

    def make_or_refuse(self: pool.WorkerPool) -> Channel:
        if next(calls) in (2, 3):  # the first two are made at the start
            raise OSError(errno.EMFILE, "Too many open files")
        return make(self)

    monkeypatch.setattr(pool.WorkerPool, "_new_channel", make_or_refuse)
    outcome = steps.run(script("if '00007' in names and context.attempt == 1: os._exit(9)"), workers=2)
    assert outcome.rows == numbered((0, 15))
    assert outcome.done().worker_deaths == 1
    assert outcome.notices[1].endswith(
        " cannot be started: [Errno 24] Too many open files; going on with fewer, and trying again"
    )


@pytest.mark.fault("E10")
def test_a_zygote_without_descriptors_for_a_worker_says_so(steps: Steps, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the kernel does it: the request arrives, its descriptors do not."""
    send, calls = ZygoteClient.send_fork, itertools.count()

    def send_less(self: ZygoteClient, worker: int, generation: int, descriptors: tuple[int, ...]) -> None:
        send(self, worker, generation, () if next(calls) == 0 else descriptors)

    monkeypatch.setattr(ZygoteClient, "send_fork", send_less)
    outcome = steps.run(script(""), workers=1)
    assert outcome.rows == numbered((0, 15))
    (notice,) = outcome.notices
    assert notice.startswith("worker 0 cannot be started: [Errno 24] Too many open files; ")


@pytest.mark.fault("E10")
def test_a_worker_for_whose_pidfd_there_is_no_room_is_let_go(steps: Steps, monkeypatch: pytest.MonkeyPatch) -> None:
    receive, calls = ZygoteClient.receive, itertools.count()

    def receive_less(self: ZygoteClient) -> Message | None:
        message = receive(self)
        if message is None or message.values["event"] != "forked" or next(calls) > 0:
            return message
        for descriptor in message.descriptors:
            os.close(descriptor)
        return Message(message.values)

    monkeypatch.setattr(ZygoteClient, "receive", receive_less)
    outcome = steps.run(
        script("", before=f"{FOLDER}def init(): (FOLDER / f'pid-{{os.getpid()}}').touch()\n"), workers=1
    )
    assert outcome.rows == numbered((0, 15))
    assert (outcome.done().attempts, outcome.done().worker_deaths) == (3, 0)
    assert outcome.notices == ["worker 0 cannot be started: Too many open files; going on with fewer, and trying again"]
    assert len(list(steps.folder.glob("pid-*"))) == 2


@pytest.mark.fault("E10", "M5")
def test_a_limit_on_processes_makes_fewer_workers() -> None:
    """Of an ordinary user, who may read what root has installed: root has no such limit."""
    reads_all = ["--clear-groups", "--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]
    as_nobody = ["setpriv", "--reuid=65534", "--regid=65534", *reads_all]
    if os.getuid() != 0 or subprocess.run([*as_nobody, "true"], check=False, capture_output=True).returncode:
        pytest.skip("needs to become a user without other processes")
    folder = Path(tempfile.mkdtemp(prefix="batchflow-test-"))
    folder.chmod(0o777)
    try:
        steps = Steps(folder / "steps")
        before = "resource.setrlimit(resource.RLIMIT_NPROC, (5, 5))"  # driver, guard, zygote and two workers
        steps.folder.mkdir()
        steps.folder.chmod(0o777)
        facts = {"before": before, "prefix": as_nobody}
        done = drive(steps, script("time.sleep(0.05)"), files=40, mini_batch_size=1, workers=4, **facts)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.endswith(
            " cannot be started: [Errno 11] Resource temporarily unavailable; going on with fewer, and trying again\n"
        )
        assert processes_with(steps.mark) == []
    finally:
        shutil.rmtree(folder)


@pytest.mark.fault("E6", "M2")
def test_a_driver_that_is_stopped_for_longer_than_any_timeout_blames_nobody(steps: Steps) -> None:
    """As by Ctrl-Z: the workers go on, and one of them is in init()."""
    before = f"{FOLDER}def init():\n    if os.environ['BATCHFLOW_WORKER'] == '1': wait_for(FOLDER / 'go')\n"
    body = "(FOLDER / f'there-{context.mini_batch_index}').touch()\nwait_for(FOLDER / 'go')"
    timeouts = {"run_invocation_timeout_s": 4.0, "init_timeout_s": 4.0, "progress_update_timeout_s": 5.0}
    with start(steps, script(body, before=before), files=15, workers=2, **timeouts) as process:
        wait_until((steps.folder / "there-0").exists)
        process.send_signal(signal.SIGSTOP)
        time.sleep(5.5)
        (steps.folder / "go").touch()
        process.send_signal(signal.SIGCONT)
        assert process.communicate() == ("\n", "")
    receipt = json.loads((steps.folder / "state/receipt.json").read_text())
    assert (receipt["attempts"], receipt["worker_deaths"]) == (3, 0)


DIES_EARLY = """
FOLDER = Path(__file__).parent

from batchflow.worker import loop

prepare = loop._prepare


def prepare_or_die(spec, worker):
    number = len(list(FOLDER.glob("start-*")))
    (FOLDER / f"start-{number}").write_text(str(time.monotonic()))
    if number < 2:
        os._exit(9)
    prepare(spec, worker)


loop._prepare = prepare_or_die
"""


@pytest.mark.fault("A15")
def test_a_worker_that_dies_before_it_is_ready_is_tried_again_after_a_pause(steps: Steps) -> None:
    outcome = steps.run(script("", before=DIES_EARLY), workers=1)
    assert outcome.rows == numbered((0, 15))
    assert outcome.done().attempts == 3
    starts = [float((steps.folder / f"start-{number}").read_text()) for number in range(3)]
    assert starts[1] - starts[0] >= 0.09
    assert starts[2] - starts[1] >= 0.19


def test_a_worker_that_was_ready_is_replaced_at_once(steps: Steps, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pause is for those that never get ready."""
    failed: list[float] = []
    monkeypatch.setattr(Backoff, "failed", lambda self, now_s: failed.append(now_s))
    outcome = steps.run(script("if context.attempt == 1: os._exit(9)"), workers=2)
    assert outcome.rows == numbered((0, 15))
    assert (outcome.done().worker_deaths, failed) == (3, [])


@pytest.fixture
def unkillable(monkeypatch: pytest.MonkeyPatch) -> None:
    """To the driver no SIGKILL has an effect: as if the kernel held whoever gets one."""
    send = signal.pidfd_send_signal

    def send_others(pidfd: int, number: int, *rest: Any) -> None:
        if number != signal.SIGKILL:
            send(pidfd, number, *rest)

    monkeypatch.setattr(pool, "signal", SimpleNamespace(SIGKILL=signal.SIGKILL, pidfd_send_signal=send_others))
    monkeypatch.setattr(pool, "STUCK_S", 0.5)


@pytest.mark.fault("B5")
@pytest.mark.usefixtures("unkillable")
def test_a_worker_that_cannot_be_killed_is_left_behind(steps: Steps) -> None:
    body = "if '00007' in names and context.attempt == 1:\n    (FOLDER / 'pid').write_text(str(os.getpid()))\n"
    body += "    time.sleep(1000)"
    outcome = steps.run(script(body, before=FOLDER), run_invocation_timeout_s=1.0, workers=2)
    assert outcome.rows == numbered((0, 15))
    assert (outcome.done().attempts, outcome.done().worker_deaths, outcome.failed) == (4, 1, [])
    pid = (steps.folder / "pid").read_text()
    (notice,) = outcome.notices
    assert notice.endswith(
        f" does not end although it was killed: the kernel holds it, pid={pid}; going on with 1 worker"
    )


@pytest.mark.fault("B5")
@pytest.mark.usefixtures("unkillable")
def test_when_nobody_can_be_killed_the_step_ends(steps: Steps) -> None:
    outcome = steps.run(script("time.sleep(1000)"), run_invocation_timeout_s=0.5, workers=2, error_threshold=ALL)
    assert outcome.message(ResourceError) == "no worker is left: the kernel holds them all"


@pytest.mark.fault("B5")
@pytest.mark.usefixtures("unkillable")
def test_the_end_does_not_wait_for_what_is_stuck(steps: Steps, monkeypatch: pytest.MonkeyPatch) -> None:
    """The guard is stopped, so that nothing of the pool ends in time."""
    monkeypatch.setattr(pool, "STUCK_CLOSE_S", 0.2)
    body = "if '00007' in names and context.attempt == 1: time.sleep(1000)"

    def stop_the_guard(event: Event) -> None:
        # In the driver's own thread, so the step cannot end meanwhile.
        if isinstance(event, Notice) and "the kernel holds it" in event.message:
            os.kill(steps.guard(), signal.SIGSTOP)
            stopped_s.append(time.monotonic())

    stopped_s: list[float] = []
    outcome = steps.run(script(body), run_invocation_timeout_s=1.0, workers=2, on_event=stop_the_guard)
    assert outcome.rows == numbered((0, 15))
    assert time.monotonic() - stopped_s[0] < pool.CLOSE_S


@pytest.mark.fault("A10")
def test_a_worker_that_had_no_memory_makes_room_for_a_fresh_one(steps: Steps) -> None:
    body = """
(FOLDER / f"{context.mini_batch_index}-{context.attempt}").write_text(str(os.getpid()))
if "00002" in names and context.attempt == 1:
    resource.setrlimit(resource.RLIMIT_AS, (1 << 29, -1))
    bytearray(1 << 30)
"""
    outcome = steps.run(script(body, before=f"import resource\n{FOLDER}"), workers=1, files=30)
    assert outcome.rows == numbered((0, 30))
    assert (outcome.done().attempts, outcome.done().worker_deaths, outcome.notices) == (7, 0, [])
    pids = {path.name: path.read_text() for path in steps.folder.glob("[0-9]-*")}
    assert pids["0-1"] != pids["5-1"]
    assert len(set(pids.values())) == 2


def test_a_limit_that_the_worker_exceeds_before_its_first_mini_batch_is_told(steps: Steps) -> None:
    """Otherwise workers would come and go for ever."""
    before = "def init():\n    global HELD\n    HELD = bytearray(b'x' * (64 << 20))\n"
    outcome = steps.run(script("", before=before), worker_memory=48 << 20)
    message = outcome.message(EntryScriptError)
    assert message.startswith("worker ")
    assert " MiB before its first mini-batch, more than worker_memory=48 MiB" in message
    assert outcome.error is not None
    assert outcome.error.hint == "raise worker_memory, or load less in init() and at the import"
