"""The driver, the guard and the lock's holder die; what is left, and that the same command goes on."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from system.runner.processes import alive, descendants, wait_until
from unit.runner.builders import Flow

from batchflow.data import list_files
from batchflow.errors import RefusedError
from batchflow.journal.lock import WorkflowLock, holder_is_alive, read_holder
from batchflow.journal.records import Records
from batchflow.runner import last_status, plan_workflow, run_workflow
from batchflow.runner.planning import Planner, read_memory
from batchflow.runner.signature import Listing, Observer
from batchflow.runner.values import RunOptions
from batchflow.workflow.values import Workflow

TESTS = Path(__file__).parents[2]


def start(program: str, folder: Path, *arguments: str) -> subprocess.Popen[bytes]:
    """Another Python process that runs ``program`` in ``folder`` and can use these tests' helpers."""
    environment = dict(os.environ) | {"PYTHONPATH": str(TESTS)}
    return subprocess.Popen([sys.executable, "-c", program, *arguments], cwd=folder, env=environment)


DRIVER = """
import sys
from pathlib import Path
from system.runner.test_crashes import long_flow
from batchflow.runner import run_workflow
from batchflow.runner.values import RunOptions
raise SystemExit(run_workflow(long_flow(Path(sys.argv[1])), RunOptions()).exit_code)
"""

LONG = """
import os, subprocess, time
def main(inputs, outputs, args):
    open(outputs["x"], "w").write("half")
    subprocess.Popen(["sleep", "600"], start_new_session=True)
    open("started", "w").close()
    time.sleep(600 if not os.path.exists("be quick") else 0)
"""


def long_flow(folder: Path) -> Workflow:
    (folder / "long.py").write_text(LONG)
    flow = Flow(folder).run("first", "echo 1 > ${outputs.one}", outputs={"one": "one.txt"})
    return flow.call("second", "long:main", outputs={"x": "x.txt"}, after=("first",)).build()


def test_nothing_outlives_a_killed_driver_and_the_same_command_goes_on(tmp_path: Path) -> None:
    workflow = long_flow(tmp_path)
    driver = start(DRIVER, tmp_path, str(tmp_path))
    wait_until(lambda: (tmp_path / "started").exists())
    below = descendants(driver.pid)
    assert len(below) == 3
    assert last_status(workflow)["second"].status == "running"
    meanwhile = plan_workflow(workflow, RunOptions())
    assert [[reason.describe() for reason in one.reasons] for one in meanwhile.steps] == [
        [],
        [f"running {meanwhile.going_on}"],
    ]
    assert (meanwhile.going_on or "").startswith(f"pid={driver.pid}, host=")
    driver.kill()
    driver.wait()
    wait_until(lambda: not any(alive(pid) for pid in below))
    assert last_status(workflow)["second"].status == "interrupted"
    assert last_status(workflow)["second"].error == "its run ended before the step did"
    assert plan_workflow(workflow, RunOptions()).going_on is None
    stale = {one.step: [reason.kind for reason in one.reasons] for one in plan_workflow(workflow, RunOptions()).steps}
    assert stale == {"first": [], "second": ["interrupted_before"]}
    (tmp_path / "be quick").touch()
    record = run_workflow(workflow, RunOptions())
    assert {name: step.status for name, step in record.steps.items()} == {"first": "up_to_date", "second": "done"}
    assert (tmp_path / "x.txt").read_text() == "half"
    assert not (tmp_path / "x.txt.partial").exists()


@pytest.mark.fault("E8")
def test_a_killed_guard_takes_its_command_with_it(tmp_path: Path) -> None:
    driver = start(DRIVER, tmp_path, str(tmp_path))
    wait_until(lambda: (tmp_path / "started").exists())
    (guard,) = [pid for pid in descendants(driver.pid) if b"guard.py" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    (call,) = [pid for pid in descendants(guard) if b"call_child" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    (orphan,) = [pid for pid in descendants(guard) if b"sleep" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    try:
        # With the driver unable to help.
        os.kill(driver.pid, signal.SIGSTOP)
        os.kill(guard, signal.SIGKILL)
        wait_until(lambda: not alive(call))
        os.kill(driver.pid, signal.SIGCONT)
        assert driver.wait() == 1
    finally:
        # The orphan left the group and lost its watcher: the one thing that only the guard could have ended.
        for pid in (orphan, call, driver.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        driver.wait()
    assert last_status(long_flow(tmp_path))["second"].status == "failed"


RACER = """
import sys
from pathlib import Path
from batchflow.errors import RefusedError
from batchflow.journal.lock import WorkflowLock
lock = WorkflowLock(Path(sys.argv[1]), wait_s=0.2)
while not Path(sys.argv[1], "..", "go").exists():
    pass
try:
    lock.acquire()
except RefusedError as error:
    print(error)
    raise SystemExit(6)
Path(sys.argv[1], "..", "winner-" + sys.argv[2]).touch()
sys.stdin.read()
"""


@pytest.mark.fault("L1")
def test_of_many_racers_exactly_one_gets_the_lock_and_the_others_name_it(tmp_path: Path) -> None:
    state = tmp_path / ".batchflow" / "flow"
    state.mkdir(parents=True)
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", RACER, str(state), str(number)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(10)
    ]
    try:
        (state.parent / "go").touch()
        wait_until(lambda: sum(racer.poll() is None for racer in racers) == 1)
        (winner,) = [racer for racer in racers if racer.poll() is None]
        wait_until(lambda: list(state.parent.glob("winner-*")))
        assert read_holder(state)["pid"] == winner.pid
        assert holder_is_alive(state)
        for racer in racers:
            if racer is not winner:
                text = racer.communicate()[0]
                assert racer.returncode == 6
                assert text.startswith("another run of this workflow is going on: ")
        with pytest.raises(RefusedError, match=f"going on: pid={winner.pid}, host=.+, started=20") as caught:
            WorkflowLock(state, wait_s=0.0).acquire()
        assert caught.value.exit_code == 6
    finally:
        for racer in racers:
            racer.kill()
            racer.communicate()
    assert not holder_is_alive(state)
    with WorkflowLock(state, wait_s=0.0):
        assert read_holder(state)["pid"] == os.getpid()


@pytest.mark.fault("F16", "L1")
def test_a_lock_file_deleted_meanwhile_is_not_held_in_vain(tmp_path: Path) -> None:
    state = tmp_path / ".batchflow" / "flow"
    first, second, third = (WorkflowLock(state, wait_s=0.0) for _ in range(3))
    first.acquire()
    (state / "lock").unlink()
    second.acquire()
    with pytest.raises(RefusedError, match="another run"):
        third.acquire()
    first.release()
    second.release()
    third.acquire()
    third.release()


def test_a_lock_file_replaced_at_the_last_moment_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = tmp_path / ".batchflow" / "flow"
    deleted: list[Path] = []

    flock = fcntl.flock

    def flock_after_deletion(descriptor: int, operation: int) -> None:
        if not deleted:
            deleted.append(state / "lock")
            deleted[0].unlink()
        flock(descriptor, operation)

    first = WorkflowLock(state)
    with monkeypatch.context() as patch:
        patch.setattr("batchflow.journal.lock.fcntl.flock", flock_after_deletion)
        first.acquire()
    with pytest.raises(RefusedError, match=f"pid={os.getpid()}"):
        WorkflowLock(state, wait_s=0.0).acquire()
    first.release()


def test_the_lock_is_not_inherited_by_programs(tmp_path: Path) -> None:
    with WorkflowLock(tmp_path / ".batchflow" / "flow"):
        listing = subprocess.run(["ls", "-l", "/proc/self/fd"], capture_output=True, text=True, check=True).stdout
    assert ".batchflow" not in listing


def test_finding_out_that_there_is_nothing_to_do_lists_each_folder_once(tmp_path: Path) -> None:
    for name in ("many", "more"):
        (tmp_path / name).mkdir()
        for index in range(20):
            (tmp_path / name / f"{index}.png").touch()
    flow = Flow(tmp_path).run("copy", "cp more/*.png ${outputs.pngs}", outputs={"pngs": "pngs/"})
    flow.run("count", "ls", inputs={"pngs": "copy.pngs", "many": ["many/*.png"]})
    workflow = flow.run("again", "ls", inputs={"pngs": "copy.pngs", "many": ["many/*.png"]}).build("count", "again")
    run_workflow(workflow, RunOptions())
    listed: list[tuple[str, ...]] = []

    def counting(patterns: tuple[str, ...]) -> Listing:
        listed.append(patterns)
        return list_files(patterns)

    records = Records.open_for_reading(workflow.state_folder)
    assert records is not None
    with records:
        plan = Planner(workflow, RunOptions(), read_memory(records), Observer(tmp_path, counting)).plan()
    assert plan.stale == ()
    assert listed == [(f"{tmp_path}/pngs/",), (f"{tmp_path}/many/*.png",)]


FACE = """
import json, sys, batchflow.runner.face as face
heavy = {"numpy", "pandas", "pyarrow", "pydantic", "rich", "tensorflow"} & set(sys.modules)
record = face.run("flow.toml", params={"limit": 4})
print(json.dumps([sorted(heavy), record.exit_code, str(record.steps["make"].outputs["x"])]))
"""
FILE = """
schema = 1
[params]
limit = 3
[steps.make]
run = "echo ${params.limit} > ${outputs.x}; test ${params.limit} -lt 9"
outputs = { x = "x.txt" }
"""


def test_the_python_face_runs_a_file_and_raises_what_its_step_raised(tmp_path: Path) -> None:
    from batchflow.errors import StepFailedError, UsageError
    from batchflow.runner.face import run

    (tmp_path / "flow.toml").write_text(FILE)
    process = subprocess.run([sys.executable, "-c", FACE], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert json.loads(process.stdout) == [[], 0, str(tmp_path / "x.txt")]
    assert (tmp_path / "x.txt").read_text() == "4\n"
    with pytest.raises(StepFailedError, match="the command of step make ended with exit code 1"):
        run(tmp_path / "flow.toml", params={"limit": 9})
    record = run(tmp_path / "flow.toml", params={"limit": 9}, raise_on_error=False)
    assert (record.exit_code, record.steps["make"].status) == (1, "failed")
    with pytest.raises(KeyError, match="has no receipt"):
        record.receipt("make")
    for keys, message in (
        ({"targets": "make"}, "targets is a list of step names, got 'make'"),
        ({"force": "make"}, "force is True, False or a list of step names"),
        ({"cores": 0}, "cores must be at least 1, cores=0"),
        ({"retry": True, "force": ["make"]}, "retry keeps what is done: neither force nor restart goes with it"),
        ({"retry": True, "restart": True}, "retry keeps what is done: neither force nor restart goes with it"),
        ({"accept_changes": True, "restart": True}, "accept_changes keeps what is done and restart drops it"),
    ):
        with pytest.raises(UsageError, match=message):
            run(tmp_path / "flow.toml", **keys)  # type: ignore[arg-type]
    assert (tmp_path / "x.txt").read_text() == "4\n"
    assert run(tmp_path / "flow.toml", force=["make"]).exit_code == 0
    assert (tmp_path / "x.txt").read_text() == "3\n"
    assert run(tmp_path / "flow.toml", retry=True).steps == {}
