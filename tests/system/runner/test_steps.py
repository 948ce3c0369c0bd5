"""Run and call steps: what they are given, how they fail, and that nothing of them is left."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from system.runner.flows import files, make_flow, make_inputs, plan, run, statuses
from system.runner.processes import alive, descendants, wait_until
from unit.runner.builders import Flow

import batchflow.errors
from batchflow.control import StopLevel, StopRequest
from batchflow.model import Event, Notice, StepFailed, StepNotRun
from batchflow.runner import last_status, run_workflow
from batchflow.runner.values import RunOptions
from batchflow.workflow.values import Workflow


def test_a_failure_keeps_the_old_output_and_shows_the_last_lines(tmp_path: Path) -> None:
    flow = Flow(tmp_path).run("make", "echo good > ${outputs.x}", outputs={"x": "x.txt"})
    run(flow.build())
    script = "for i in $(seq 100); do echo line $i; done; echo half > ${outputs.x}; echo oh no >&2; exit 3"
    events: list[Event] = []
    workflow = flow.change("make", command=script).build()
    record = run_workflow(workflow, RunOptions(), on_event=events.append)
    assert (record.exit_code, statuses(record)) == (1, {"make": "failed"})
    error = record.steps["make"].error or ""
    assert error.startswith("the command of step make ended with exit code 3; its last lines:\nline 82\n")
    assert error.endswith("line 100\noh no")
    (failed,) = [one for one in events if isinstance(one, StepFailed)]
    assert (failed.error_type, failed.message) == ("StepFailedError", error)
    assert (tmp_path / "x.txt").read_text() == "good\n"
    assert files(tmp_path) == [
        ".batchflow/flow/lock",
        ".batchflow/flow/records.db",
        ".batchflow/flow/steps/make/log.txt",
        "flow.toml",
        "x.txt",
    ]
    assert plan(workflow)["make"][0] == "failed_before"
    assert last_status(workflow)["make"].status == "failed"


def test_an_output_that_was_not_written_is_named(tmp_path: Path) -> None:
    flow = Flow(tmp_path).run("make", "echo x > ${outputs.one}", outputs={"one": "one.txt", "two": "two.txt"})
    record = run(flow.build())
    assert record.steps["make"].error == f"output two was not written, path={tmp_path}/two.txt"
    assert not (tmp_path / "one.txt").exists()


@pytest.mark.parametrize(
    ("script", "end"),
    [
        ("false | cat > ${outputs.x}", "exit code 1"),
        ("echo a > ${outputs.x}\n(exit 7)\necho b > ${outputs.x}", "exit code 7"),
        ("no-such-program-here; echo b > ${outputs.x}", "exit code 127"),
        ("false || echo c > ${outputs.x}\nif false; then exit 1; fi\nset -- $(exit 9)", None),
        ("set +e; false; echo d > ${outputs.x}", None),
    ],
)
def test_a_script_ends_at_the_first_command_that_fails(tmp_path: Path, script: str, end: str | None) -> None:
    record = run(Flow(tmp_path).run("make", script, outputs={"x": "x.txt"}).build())
    if end is None:
        assert statuses(record) == {"make": "done"}
    else:
        assert (record.steps["make"].error or "").startswith(f"the command of step make ended with {end}; ")
        assert not (tmp_path / "x.txt").exists()


def test_an_output_that_was_written_to_its_real_path_is_explained(tmp_path: Path) -> None:
    flow = Flow(tmp_path).run("make", f"echo x > {tmp_path}/x.txt", outputs={"x": "x.txt"})
    assert run(flow.build()).steps["make"].error == (
        "x.txt was written directly: write to ${outputs.x}, "
        "a temporary path that batchflow renames when the step succeeds"
    )


def test_after_a_failure_the_plan_says_what_was_changed_since(tmp_path: Path) -> None:
    (tmp_path / "tool.py").write_text("raise SystemExit(3)\n")
    flow = Flow(tmp_path).run("make", "python tool.py")
    assert run(flow.build()).exit_code == 1
    assert plan(flow.build()) == {"make": ["failed_before"]}
    (tmp_path / "tool.py").write_text("print('better')\n")
    assert plan(flow.build()) == {"make": ["failed_before", "code_changed tool.py"]}
    assert run(flow.build()).exit_code == 0
    assert plan(flow.build()) == {"make": []}


def test_a_pipeline_that_is_cut_short_fails_with_the_cure(tmp_path: Path) -> None:
    flow = Flow(tmp_path).run("make", "yes | head -n 1 > ${outputs.x}", outputs={"x": "x.txt"})
    step = run(flow.build()).steps["make"]
    assert (step.error or "").startswith("the command of step make ended with exit code 141; ")
    assert (step.hint or "").startswith("a command of a pipeline still wrote when its reader had ended: ")
    flow.change("make", command="set +o pipefail; yes | head -n 1 > ${outputs.x}")
    assert statuses(run(flow.build())) == {"make": "done"}


def test_where_there_is_no_bash_the_script_is_still_strict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    exists = Path.exists
    monkeypatch.setattr(Path, "exists", lambda path: str(path) != "/bin/bash" and exists(path))
    record = run(Flow(tmp_path).run("make", "echo ${BASH_VERSION:-none}; false; true").build())
    assert "ended with exit code 1; its last lines:\n" in (record.steps["make"].error or "")


def test_a_command_without_a_shell_gets_its_words_as_they_are(tmp_path: Path) -> None:
    words = ("python", "-c", "import sys; open(sys.argv[1], 'w').write(sys.argv[2])", "${outputs.x}", "a  b; ${HOME}")
    run(Flow(tmp_path).run("make", words, outputs={"x": "x.txt"}).build())
    assert (tmp_path / "x.txt").read_text() == "a  b; ${HOME}"


def test_a_command_that_does_not_exist_fails_with_its_name(tmp_path: Path) -> None:
    record = run(Flow(tmp_path).run("make", ("no-such-program-here",)).build())
    assert "cannot start no-such-program-here: No such file" in (record.steps["make"].error or "")


def test_a_command_runs_in_the_folder_of_the_workflow_with_this_python_and_no_input(tmp_path: Path) -> None:
    code = "import sys, os; print(sys.executable, os.getcwd(), repr(sys.stdin.read()))"
    run(
        Flow(tmp_path)
        .run("make", f"python -c {code!r} > ${{outputs.x}}".replace("'", '"', 2).replace('"', '"'), outputs={"x": "x"})
        .build()
    )
    executable, folder, read = (tmp_path / "x").read_text().split()
    assert (Path(executable).parent, folder, read) == (Path(sys.executable).parent, str(tmp_path), "''")


CALLS = """\
import os, signal, sys

def inner():
    raise ValueError("bad   value")

def fails(inputs, outputs, args):
    inner()

def exits(inputs, outputs, args):
    sys.exit("enough")

def leaves(inputs, outputs, args):
    print("on my way")
    sys.stdout.flush()
    os._exit(0)

def dies(inputs, outputs, args):
    os.kill(os.getpid(), signal.SIGKILL)

def closes(inputs, outputs, args):
    os.closerange(3, 1024)

def fine(inputs, outputs, args):
    sys.exit(0)

not_a_function = 3
"""


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("calls:fails", "calls:fails of step it raised ValueError: bad   value\nTraceback (most recent call last):\n"),
        ("calls:exits", "calls:exits of step it raised SystemExit: enough"),
        (
            "calls:leaves",
            "process of calls:leaves in step it ended before it returned: exit code 0; its last lines:\non my",
        ),
        ("calls:dies", "ended before it returned: signal 9 (SIGKILL); it printed nothing"),
        ("calls:closes", "ended before it returned: exit code 1; its last lines:\nTraceback"),
        ("calls:missing", "raised AttributeError: calls ("),
        ("calls:not_a_function", "has no function 'not_a_function'"),
        ("nowhere:main", "raised ModuleNotFoundError: No module named 'nowhere'"),
        ("broken:main", "raised SyntaxError: "),
    ],
)
def test_a_function_that_does_not_return_fails_its_step(tmp_path: Path, function: str, message: str) -> None:
    (tmp_path / "calls.py").write_text(CALLS)
    (tmp_path / "broken.py").write_text("def main(:\n")
    record = run(Flow(tmp_path).call("it", function).build())
    assert record.exit_code == 1
    assert message in (record.steps["it"].error or "")


def test_a_traceback_begins_with_the_users_own_frames(tmp_path: Path) -> None:
    (tmp_path / "calls.py").write_text(CALLS)
    error = run(Flow(tmp_path).call("it", "calls:fails").build()).steps["it"].error or ""
    frames = [line.strip() for line in error.splitlines() if line.startswith("  File")]
    assert frames == [f'File "{tmp_path}/calls.py", line 7, in fails', f'File "{tmp_path}/calls.py", line 4, in inner']
    assert "call_child" not in error


def test_a_function_may_end_with_a_clean_exit(tmp_path: Path) -> None:
    (tmp_path / "calls.py").write_text(CALLS)
    assert run(Flow(tmp_path).call("it", "calls:fine").build()).exit_code == 0


def test_a_function_gets_the_installed_batchflow_and_no_module_of_ours_is_hidden(tmp_path: Path) -> None:
    """The folder holds a batchflow, a json and a queue of the user's own."""
    (tmp_path / "batchflow").mkdir()
    (tmp_path / "batchflow/__init__.py").write_text("raise RuntimeError('the wrong batchflow')\n")
    for name in ("json", "queue", "traceback", "importlib"):
        (tmp_path / f"{name}.py").write_text(f"raise RuntimeError('the wrong {name}')\n")
    (tmp_path / "mine.py").write_text(
        "import batchflow.errors, sys\n"
        "def main(inputs, outputs, args):\n"
        "    open(outputs['x'], 'w').write('\\n'.join([batchflow.errors.__file__, *sys.path]))\n"
    )
    record = run(Flow(tmp_path).call("it", "mine:main", outputs={"x": "x.txt"}).build())
    assert record.steps["it"].error is None
    found, *search = (tmp_path / "x.txt").read_text().split("\n")
    assert (found, search[0]) == (batchflow.errors.__file__, str(tmp_path))
    assert not any(folder.endswith("batchflow/worker") for folder in search)


def test_a_function_gets_the_paths_of_a_dataset_and_files_beside_outputs_are_reported(tmp_path: Path) -> None:
    make_inputs(tmp_path, 3)
    (tmp_path / "mine.py").write_text(
        "import json\n"
        "def main(inputs, outputs, args):\n"
        "    json.dump([inputs, args], open(outputs['x'], 'w'))\n"
        "    open(outputs['x'] + '.index', 'w').close()\n"
    )
    events: list[Event] = []
    flow = Flow(tmp_path).call(
        "it", "mine:main", inputs={"files": ["in/*"]}, outputs={"x": "x.json"}, args={"n": [1, 2.5, "é"]}
    )
    run_workflow(flow.build(), RunOptions(), on_event=events.append)
    paths = [f"{tmp_path}/in/{index}.txt" for index in range(3)]
    assert json.loads((tmp_path / "x.json").read_text()) == [{"files": paths}, {"n": [1, 2.5, "é"]}]
    assert Notice("files that are not declared as outputs were removed: x.json.index", "it") in events


def diamond(folder: Path) -> Workflow:
    flow = Flow(folder).run("bad", "exit 1").run("good", "echo x > ${outputs.x}", outputs={"x": "good.txt"})
    return flow.run("after_bad", "true", after=("bad",)).run("last", "true", after=("after_bad", "good")).build()


@pytest.mark.parametrize(
    ("keep_going", "good"),
    [(False, "not_run"), (True, "done")],
)
def test_after_a_failure_the_independent_steps_go_on_only_if_asked(tmp_path: Path, keep_going: bool, good: str) -> None:
    events: list[Event] = []
    record = run_workflow(diamond(tmp_path), RunOptions(keep_going=keep_going), on_event=events.append)
    assert record.exit_code == 1
    assert statuses(record) == {"bad": "failed", "good": good, "after_bad": "not_run", "last": "not_run"}
    reasons = {one.step: one.reason for one in events if isinstance(one, StepNotRun)}
    assert reasons["last"] == (
        "step after_bad, which it depends on, did not succeed" if keep_going else "step bad failed"
    )


@pytest.mark.parametrize(
    ("level", "asked", "end"),
    [
        (StopLevel.DRAIN, ["asked", "asked too"], "exit code 7"),
        (StopLevel.NOW, [], "signal 9 (SIGKILL)"),
    ],
)
def test_a_stop_ends_the_step_and_all_its_processes(
    tmp_path: Path, level: StopLevel, asked: list[str], end: str
) -> None:
    (tmp_path / "apart.sh").write_text("trap 'touch \"asked too\"; exit' TERM\ntouch started\nsleep 600 &\nwait\n")
    command = "trap 'touch asked; exit 7' TERM; sleep 600 & setsid sh apart.sh & wait"
    workflow = Flow(tmp_path).run("long", command).run("next", "true", after=("long",)).build()
    stop = StopRequest()

    def watch() -> None:
        wait_until(lambda: (tmp_path / "started").exists() and len(descendants(os.getpid())) == 5)
        stop.request(level, signal.SIGTERM)

    watcher = threading.Thread(target=watch)
    watcher.start()
    record = run_workflow(workflow, RunOptions(), stop=stop)
    watcher.join()
    assert (record.exit_code, statuses(record)) == (143, {"long": "interrupted", "next": "not_run"})
    assert record.steps["long"].error == f"step long was stopped: {end}"
    assert sorted(path.name for path in tmp_path.glob("asked*")) == asked
    assert descendants(os.getpid()) == []
    assert plan(workflow)["long"] == ["interrupted_before"]
    assert last_status(workflow)["long"].status == "interrupted"


def test_a_stopped_command_may_clean_up_after_itself(tmp_path: Path) -> None:
    code = (
        "import signal, sys, time\n"
        "def end(*_):\n    time.sleep(0.2)\n    open('cleaned', 'w').close()\n    sys.exit(0)\n"
        "signal.signal(signal.SIGTERM, end)\nopen('started', 'w').close()\ntime.sleep(600)\n"
    )
    (tmp_path / "tidy.py").write_text(code)
    stop = StopRequest()

    def watch() -> None:
        wait_until((tmp_path / "started").exists)
        stop.request(StopLevel.DRAIN)

    watcher = threading.Thread(target=watch)
    watcher.start()
    # The shell dies of the signal at once; what it started is still given its time.
    record = run_workflow(Flow(tmp_path).run("long", "python tidy.py; true").build(), RunOptions(), stop=stop)
    watcher.join()
    assert record.exit_code == 130
    assert (tmp_path / "cleaned").exists()


def test_background_processes_of_a_finished_command_are_ended(tmp_path: Path) -> None:
    workflow = Flow(tmp_path).run("make", "sleep 600 & setsid sleep 600 & (sleep 600 &) ; true").build()
    assert run(workflow).exit_code == 0
    assert descendants(os.getpid()) == []


@pytest.mark.fault("E8")
def test_a_killed_guard_leaves_nothing_of_its_session(tmp_path: Path) -> None:
    """Neither what is in the command's process group nor what has a group of its own; other processes live on."""
    code = "import os; os.setpgid(0, 0); open('apart', 'w').write(str(os.getpid())); os.execlp('sleep', 'sleep', '600')"
    (tmp_path / "apart.py").write_text(code)
    command = "sleep 600 & echo $! > beside; python apart.py & wait"
    bystander = subprocess.Popen(["sleep", "600"])

    def watch() -> None:
        wait_until(lambda: (tmp_path / "apart").exists() and (tmp_path / "apart").read_text())
        (guard,) = [one for one in descendants(os.getpid()) if b"guard.py" in Path(f"/proc/{one}/cmdline").read_bytes()]
        os.kill(guard, signal.SIGKILL)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        record = run(Flow(tmp_path).run("make", command).build())
        watcher.join()
        assert (record.steps["make"].error or "").startswith("the command of step make ended with signal 9 (SIGKILL)")
        assert [alive(int((tmp_path / name).read_text())) for name in ("beside", "apart")] == [False, False]
        assert alive(bystander.pid)
    finally:
        bystander.kill()
        bystander.wait()


def test_a_stop_before_the_first_step_runs_nothing(tmp_path: Path) -> None:
    stop = StopRequest()
    stop.request(StopLevel.DRAIN)
    record = run_workflow(make_flow(tmp_path).build(), RunOptions(), stop=stop)
    assert (record.exit_code, statuses(record)) == (130, {"prepare": "not_run", "evaluate": "not_run"})
