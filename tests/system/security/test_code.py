"""What is executed and unpickled: nothing of a workflow's while it is only looked at, nothing pickled in any run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from system.runner.processes import alive, descendants, wait_until
from system.security.hook import SOURCE
from system.security.runs import PARALLEL, WAITING, make

CANARY = "open({marker!r}, 'w').close()\n"
WORKFLOW = (
    PARALLEL
    + """
[steps.shell]
run = "touch executed && python helper.py && touch ${outputs.x}"
outputs = { x = "build/x.txt" }
[steps.call]
call = "package.tasks:main"
outputs = { y = "build/y.txt" }
"""
)
PLANTED = (
    *(
        "sitecustomize.py",
        "usercustomize.py",
        "conftest.py",
        "setup.py",
        "json.py",
        "sqlite3.py",
        "tomli.py",
        "rich.py",
    ),
    *("pydantic.py", "numpy.py", "secrets.py", "text.py", "package/__init__.py", "helper.py", "batchflow.pth"),
)
LOOKING = (
    "verify",
    "verify --json",
    "retry -n",
    "check",
    "plan",
    "status",
    "list",
    "dag",
    "run -n",
    "check --json",
    "plan --json",
    "status --json",
    "list --json",
)


@pytest.fixture
def audit(tmp_path: Path) -> Path:
    """A folder with the hook, beside the workflow's."""
    folder = tmp_path / "hook"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(SOURCE)
    return folder


def planted(tmp_path: Path) -> Path:
    """A workflow whose every file of Python leaves a file ``executed`` when it is run or imported."""
    folder = tmp_path / "flow"
    canary = CANARY.format(marker=str(folder / "executed"))
    files = dict.fromkeys(PLANTED, canary) | {"workflow.toml": WORKFLOW}
    files["score.py"] = canary + "def init():\n    pass\ndef run(mini_batch):\n    return mini_batch\n"
    files["package/tasks.py"] = (
        canary + "import helper\ndef main(inputs, outputs, args):\n    open(outputs['y'], 'w')\n"
    )
    return make(folder, files)


def observed(audit: Path, folder: Path, words: Sequence[str], events: str, code: str = "") -> list[dict[str, Any]]:
    """What the hook saw in every process of one command, which ends well."""
    log = audit / "events.jsonl"
    log.unlink(missing_ok=True)
    path = os.pathsep.join(filter(None, [str(audit), os.environ.get("PYTHONPATH")]))
    environment = os.environ | {"PYTHONPATH": path, "AUDIT_LOG": str(log), "AUDIT_EVENTS": events}
    start = ["-c", code] if code else ["-m", "batchflow", *words]
    command = [sys.executable, *start]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []


def state_of(folder: Path) -> dict[str, tuple[int, int, int]]:
    found = {}
    for path in (folder, *folder.rglob("*")):
        info = path.lstat()
        found[str(path)] = (info.st_size, info.st_mtime_ns, info.st_ino)
    return found


@pytest.mark.fault("S2", "S34")
@pytest.mark.parametrize("has_run", [False, True], ids=["fresh", "after a run"])
def test_looking_executes_nothing_and_writes_nothing(tmp_path: Path, audit: Path, has_run: bool) -> None:
    folder = planted(tmp_path)
    if has_run:
        command = [sys.executable, "-m", "batchflow", "run"]
        subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=120)
        (folder / "executed").unlink()
    before = state_of(folder)
    for verb in LOOKING:
        events = observed(audit, folder, verb.split(), "exec open os.remove os.rename os.mkdir subprocess.Popen")
        executed = {what for one in events if one["event"] == "exec" for what in one["what"]}
        assert executed, "the hook saw nothing"
        assert not any(str(folder) in what for what in executed), verb
        changed = [one for one in events if one["event"].startswith(("os.", "subprocess"))]
        changed += [one for one in events if one["event"] == "open" and (one["flags"] or 0) & (os.O_WRONLY | os.O_RDWR)]
        assert [one for one in changed if one["what"][0] != os.devnull] == [], verb
        assert state_of(folder) == before, verb
    assert not (folder / "executed").exists()


@pytest.mark.fault("S2")
@pytest.mark.parametrize("lost", [(), ("-wal", "-shm")], ids=["whole", "no log"])
def test_looking_at_what_a_killed_run_left_writes_nothing(tmp_path: Path, lost: tuple[str, ...]) -> None:
    folder = make(tmp_path, {"workflow.toml": PARALLEL, "score.py": WAITING})
    process = subprocess.Popen([sys.executable, "-m", "batchflow", "run"], cwd=folder, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: (folder / "running").exists())
        below = descendants(process.pid)
    finally:
        process.kill()
        process.wait()
    wait_until(lambda: not any(alive(pid) for pid in below))
    logs = list(folder.rglob("*.db-*"))
    assert {path.name for path in logs} >= {"records.db-wal", "journal.db-wal"}
    for path in logs:
        if path.name.endswith(lost):
            path.unlink()
    before = state_of(folder)
    for verb in ("check", "plan", "status", "list", "dag", "status --json"):
        command = [sys.executable, "-m", "batchflow", *verb.split()]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, f"{verb}: {done.stderr}"
        assert {path: state for path, state in state_of(folder).items() if before.get(path) != state} == {}, verb


@pytest.mark.fault("S2")
def test_the_canary_would_sing(tmp_path: Path) -> None:
    folder = planted(tmp_path)
    command = [sys.executable, "-m", "batchflow", "run"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=120)
    assert (folder / "executed").exists()


@pytest.mark.fault("S10")
def test_a_run_unpickles_nothing_in_any_process(tmp_path: Path, audit: Path) -> None:
    folder = planted(tmp_path)
    events = observed(audit, folder, ["run", "-v"], "pickle.find_class marshal.loads exec")
    assert len({one["pid"] for one in events}) >= 4  # the driver, the zygote's two, a function's; all have the hook
    unpickled = [one for one in events if one["event"] == "pickle.find_class"]
    assert unpickled == []
    # The import system reads bytecode that way, and nobody else.
    assert {one["by"] for one in events if one["event"] == "marshal.loads"} <= {
        "<frozen importlib._bootstrap_external>"
    }


@pytest.mark.fault("S10")
def test_the_hook_would_see_a_pickle(tmp_path: Path, audit: Path) -> None:
    code = "import batchflow, fractions\nf = lambda batch: [fractions.Fraction(one) for one in batch]\n"
    code += "print(list(batchflow.map(f, ['1/2'], workers=1)))\n"
    events = observed(audit, tmp_path, (), "pickle.find_class", code)
    assert any("Fraction" in one["what"] for one in events)
