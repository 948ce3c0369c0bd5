"""Getting ready and ending: importing the script, ``init_shared()``, ``init()``, ``shutdown()``."""

from __future__ import annotations

import pytest
from system.parallel.steps import Steps, numbered, script
from system.runner.processes import wait_until

from batchflow.control import StopLevel, StopRequest
from batchflow.errors import EntryScriptError, ResourceError, RunAbortedError
from batchflow.parallel import runner, supervision
from batchflow.pool.pool import WorkerPool

FOLDER = "FOLDER = Path(__file__).parent\n"


def init(body: str, *, run: str = "(FOLDER / 'ran').touch()") -> str:
    lines = "".join(f"    {line}\n" for line in body.splitlines())
    return script(run, before=f"{FOLDER}\ndef init():\n    worker = os.environ['BATCHFLOW_WORKER']\n{lines}")


@pytest.mark.fault("D1", "D4")
@pytest.mark.parametrize("workers", [1, 4])
@pytest.mark.parametrize(
    ("body", "pieces"),
    [
        ("raise OSError('no model')", ["OSError: no model", "score.py", "in init"]),
        ("sys.exit('no licence')", ["SystemExit: the script called sys.exit('no licence')"]),
        ("print('loading', flush=True)\nos._exit(0)", ["died before it was ready: exit code 0", "loading"]),
        ("ctypes.string_at(0)", ["died before it was ready: signal 11 (SIGSEGV)", "score.py"]),
    ],
)
def test_init_that_fails_in_every_worker_ends_the_step(
    steps: Steps, workers: int, body: str, pieces: list[str]
) -> None:
    outcome = steps.run(init(body), workers=workers)
    message = outcome.message(EntryScriptError)
    first = message.splitlines()[0]
    assert first.startswith("init() failed ")
    assert 3 <= int(first.split()[2]) <= 2 + workers
    assert all(piece in message for piece in pieces), message
    assert outcome.error is not None
    assert (
        outcome.error.hint == f"fix init(), then run the same command again; worker output: {steps.folder}/state/logs"
    )
    assert not (steps.folder / "ran").exists()


@pytest.fixture
def import_may_take_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The timeout is for ``init()`` alone: a slow machine may not have started Python by then."""
    monkeypatch.setattr(WorkerPool, "loaded", property(lambda self: True, lambda self, value: None), raising=False)


@pytest.mark.fault("D3")
@pytest.mark.usefixtures("import_may_take_its_time")
def test_init_that_hangs_in_every_worker_ends_the_step(steps: Steps) -> None:
    outcome = steps.run(init("time.sleep(1000)"), init_timeout_s=0.3, workers=2)
    message = outcome.message(EntryScriptError)
    assert message.startswith("init() failed ")
    assert message.endswith("\nTimeoutError: init() took longer than init_timeout=0.3 s")


@pytest.mark.fault("D2")
def test_a_worker_that_never_gets_ready_is_given_up(steps: Steps) -> None:
    outcome = steps.run(
        init("if worker == '1': raise OSError('GPU 1 is broken')", run="wait_for(FOLDER / 'go')"),
        meanwhile=lambda: go_when_noticed(steps, "given up"),
    )
    assert outcome.rows == numbered((0, 15))
    assert outcome.notices == ["worker 1 never gets ready and is given up: GPU 1 is broken"]
    assert outcome.done().worker_deaths == 0


def go_when_noticed(steps: Steps, piece: str) -> None:
    wait_until(lambda: steps.noticed(piece))
    (steps.folder / "go").touch()


def test_the_last_good_worker_is_replaced_when_it_dies(steps: Steps) -> None:
    """That another one never got ready says nothing about this one."""
    body = "wait_for(FOLDER / 'go')\nif context.attempt == 1: os._exit(9)"
    outcome = steps.run(
        init("if worker == '1': raise OSError('GPU 1 is broken')", run=body),
        meanwhile=lambda: go_when_noticed(steps, "given up"),
    )
    assert outcome.rows == numbered((0, 15))
    assert outcome.done().worker_deaths == 3


@pytest.mark.fault("D2")
def test_a_fast_failure_waits_for_the_slow_worker_that_gets_ready(steps: Steps) -> None:
    """Worker 1 fails as often as it is allowed to while the init() of worker 0 goes on."""
    body = """
if worker == '1':
    (FOLDER / f"try-{os.getpid()}").touch()
    raise OSError('GPU 1 is broken')
while len(list(FOLDER.glob("try-*"))) < 3:
    time.sleep(0.005)
time.sleep(0.2)
"""
    assert steps.run(init(body)).rows == numbered((0, 15))


def test_init_may_fail_twice(steps: Steps) -> None:
    body = """
(FOLDER / f"try-{os.getpid()}").touch()
if len(list(FOLDER.glob("try-*"))) < 3:
    raise ConnectionError("the licence server is slow")
"""
    outcome = steps.run(init(body), workers=1)
    assert (outcome.rows, outcome.notices) == (numbered((0, 15)), [])


@pytest.mark.fault("D5", "D6")
@pytest.mark.parametrize(
    ("source", "pieces"),
    [
        ("def run(mini_batch)\n    return mini_batch\n", ["SyntaxError: expected ':'", 'score.py", line 1']),
        ("import no_such_module\n", ["cannot be imported: ModuleNotFoundError: No module named 'no_such_module'"]),
        ("raise SystemExit(3)\n", ["cannot be imported: SystemExit: the script called sys.exit(3)"]),
        ("1 / 0\n", ["ZeroDivisionError: division by zero", 'score.py", line 1']),
        ("def init(): pass\n", ["has no function run()", "hint: define run(mini_batch)"]),
        ("run = 3\n", ["run is not a function but of type int"]),
        ("def run(): pass\n", ["run() cannot be called with a mini-batch"]),
        ("def run(a): pass\ndef init_shared(): raise OSError('no map')\n", ["OSError: no map", "in init_shared"]),
    ],
)
def test_a_script_that_cannot_be_used_ends_the_step_at_once(steps: Steps, source: str, pieces: list[str]) -> None:
    outcome = steps.run(source)
    message = outcome.message(EntryScriptError)
    assert message.startswith(f"the entry script cannot be used: {steps.folder}/score.py\n")
    assert all(piece in message for piece in pieces), message
    assert outcome.error is not None
    assert outcome.error.hint == "fix the entry script, then run the same command again"
    assert outcome.rows == []


def test_an_import_error_of_any_length_is_told(steps: Steps) -> None:
    source = "".join(f"def f{number}(): f{number + 1}()  # {chr(1) * 1900}\n" for number in range(40))
    source += "def f40(): raise ValueError(chr(1) * 10**6)\nf0()\n"
    message = steps.run(source).message(EntryScriptError)
    assert "cannot be imported: ValueError: \x01\x01" in message


@pytest.mark.fault("D3")
def test_an_import_that_never_ends_runs_into_the_init_timeout(steps: Steps) -> None:
    message = steps.run("import time\ntime.sleep(1000)\n", init_timeout_s=0.3).message(EntryScriptError)
    assert message.endswith("TimeoutError: importing the code took longer than init_timeout=0.3 s")


@pytest.mark.fault("D6")
@pytest.mark.parametrize(
    ("ending", "status"), [("os._exit(3)", "status=3"), ("os.kill(os.getpid(), 11)", "status=-11")]
)
def test_an_import_that_ends_the_process_is_said_to(steps: Steps, ending: str, status: str) -> None:
    message = steps.run(f"import os\nprint('here we go', flush=True)\n{ending}\n").message(RunAbortedError)
    assert message.startswith(f"importing {steps.folder}/score.py ends the process that does it, {status}\n")
    assert "here we go" in message


@pytest.mark.fault("D9")
def test_an_import_that_starts_threads_is_left_to_the_workers(steps: Steps) -> None:
    steps.folder.mkdir()
    (steps.folder / "busy.py").write_text(
        "import threading, time\nthreading.Thread(target=time.sleep, args=(1000,), daemon=True).start()\n"
    )
    before = f"{FOLDER}(FOLDER / f'import-{{os.getpid()}}').touch()\nimport busy\n"
    before += "def init():\n    (FOLDER / f'init-{os.getpid()}').touch()\n"
    body = "(FOLDER / f'run-{os.getpid()}').touch()"
    outcome = steps.run(script(body, before=before))
    assert outcome.rows == numbered((0, 15))
    assert outcome.notices == [
        "importing score.py started 1 threads (it was busy), so each worker imports it for itself; "
        "start threads in init() to share the import"
    ]
    imported, ready, ran = (
        {path.name.partition("-")[2] for path in steps.folder.glob(f"{one}-*")} for one in ("import", "init", "run")
    )
    # The first zygote imported it and never forked; whoever ran init() or run() imported it for itself.
    assert ran <= ready < imported


def test_init_shared_runs_once_and_every_worker_sees_what_it_made(steps: Steps) -> None:
    before = f"""
{FOLDER}
def init_shared():
    global MADE_BY
    MADE_BY = os.getpid()

def init():
    assert MADE_BY == os.getppid()

def shutdown():
    (FOLDER / f"shutdown-{{os.getpid()}}").write_text("x")
"""
    outcome = steps.run(script("(FOLDER / f'run-{os.getpid()}-{MADE_BY}').touch()", before=before))
    ran = [path.name.split("-")[1:] for path in steps.folder.glob("run-*")]
    assert len({maker for _, maker in ran}) == 1
    assert {worker for worker, _ in ran} <= {path.name[9:] for path in steps.folder.glob("shutdown-*")}
    assert outcome.rows == numbered((0, 15))


def test_shutdown_that_raises_is_a_notice_and_no_failure(steps: Steps) -> None:
    before = "def shutdown():\n    raise OSError('the cache is gone')\n"
    outcome = steps.run(script("", before=before), workers=1)
    assert outcome.rows == numbered((0, 15))
    assert outcome.notices == ["worker 0 ended badly in shutdown(), exit code 70: OSError: the cache is gone"]


def test_shutdown_that_hangs_is_ended(steps: Steps, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "GRACE_S", 0.2)
    before = "def shutdown():\n    time.sleep(1000)\n"
    outcome = steps.run(script("", before=before), workers=1, run_invocation_timeout_s=1.0)
    assert outcome.rows == numbered((0, 15))
    (notice,) = outcome.notices
    assert notice.startswith("shutdown() took longer than 1")
    assert notice.endswith(" s in 1 workers, which were killed")


def test_an_impatient_user_need_not_wait_for_shutdown(steps: Steps) -> None:
    stop = StopRequest()
    before = f"{FOLDER}\ndef shutdown():\n    (FOLDER / 'ending').touch()\n    time.sleep(1000)\n"

    def meanwhile() -> None:
        wait_until((steps.folder / "ending").exists)
        stop.request(StopLevel.NOW)

    outcome = steps.run(script("", before=before), workers=1, stop=stop, meanwhile=meanwhile)
    assert outcome.rows == numbered((0, 15))
    assert "in 1 workers, which were killed" in outcome.notices[0]


def test_a_worker_that_is_not_ready_in_time_holds_nobody_up(steps: Steps) -> None:
    outcome = steps.run(init("if worker == '1': time.sleep(1000)"))
    assert (outcome.rows, outcome.notices) == (numbered((0, 15)), [])


LIMITED_FORKS = """
import errno
forks, real_fork = [], os.fork

def fork():
    if len(forks) == {limit}:
        raise OSError(errno.EAGAIN, "Resource temporarily unavailable")
    forks.append(1)
    return real_fork()

os.fork = fork
"""


@pytest.mark.fault("E10")
def test_a_machine_that_gives_fewer_processes_is_content_with_fewer_workers(steps: Steps) -> None:
    outcome = steps.run(
        script("wait_for(FOLDER / 'go')", before=FOLDER + LIMITED_FORKS.format(limit=1)),
        workers=3,
        meanwhile=lambda: go_when_noticed(steps, "cannot be started"),
    )
    assert outcome.rows == numbered((0, 15))
    (notice,) = outcome.notices  # once, however often they are asked for
    assert notice == (
        "worker 1 cannot be started: [Errno 11] Resource temporarily unavailable; going on with fewer, and trying again"
    )


@pytest.mark.fault("E10")
def test_a_machine_that_gives_no_process_at_all_is_an_error(steps: Steps, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervision, "FORK_FAILURES_MAX", 2)
    outcome = steps.run(script("", before=LIMITED_FORKS.format(limit=0)), workers=3)
    message = "no worker can be started: [Errno 11] Resource temporarily unavailable"
    assert outcome.message(ResourceError) == message
