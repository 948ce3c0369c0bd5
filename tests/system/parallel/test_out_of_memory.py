"""Memory that runs out: the kernel ends a worker, and the driver makes the best of it.  In a cgroup of their own."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from system.parallel.steps import Steps, numbered, script
from system.runner.processes import wait_until

from batchflow.pool import oom

LIMIT = 400 << 20
EATS = """
HELD = []
FOLDER = Path(__file__).parent


def eat(size):
    while size > 0:
        HELD.append(bytearray(b"x" * (4 << 20)))
        size -= 4 << 20
"""
DRIVE = """
import json, sys
from pathlib import Path
(Path(sys.argv[1]) / "cgroup.procs").write_text("0")
from system.parallel.steps import ALL, Steps
steps = Steps(Path(sys.argv[2]))
steps.mark = sys.argv[3]
settings = json.loads(sys.argv[4])
outcome = steps.run((steps.folder / "source").read_text(), error_threshold=ALL, **settings)
receipt = outcome.done()
facts = {"notices": outcome.notices, "failed": outcome.failed, "rows": outcome.rows, "deaths": receipt.worker_deaths,
         "oom_deaths": receipt.details["oom_deaths"]}
print(json.dumps(facts))
"""


def memory_folder() -> Path | None:
    """Where a memory cgroup may be made, if anywhere."""
    for file in oom._cgroup_files(Path("/proc")):
        if file.name == "memory.oom_control" and os.access(file.parent, os.W_OK):
            return file.parent
        controllers = file.parent / "cgroup.subtree_control"
        with contextlib.suppress(OSError):
            if "memory" in controllers.read_text().split() and os.access(file.parent, os.W_OK):
                return file.parent
    return None


@pytest.fixture
def group() -> Iterator[Path]:
    """A cgroup that may hold 400 MiB."""
    parent = memory_folder()
    if parent is None:
        pytest.skip("this process may not make a memory cgroup")
    group = parent / f"batchflow-test-{uuid.uuid4().hex[:8]}"
    group.mkdir()
    try:
        limit = next(one for one in (group / "memory.max", group / "memory.limit_in_bytes") if one.exists())
        limit.write_text(str(LIMIT))
        yield group
    finally:
        wait_until(lambda: not (group / "cgroup.procs").read_text())
        wait_until(lambda: _removed(group))


def _removed(group: Path) -> bool:
    try:
        group.rmdir()
    except OSError:
        return False
    return True


def run(steps: Steps, group: Path, source: str, **settings: Any) -> dict[str, Any]:
    steps.folder.mkdir()
    (steps.folder / "source").write_text(source)
    paths = os.pathsep.join(path for path in sys.path if path)
    command = [sys.executable, "-c", DRIVE, str(group), str(steps.folder), steps.mark, json.dumps(settings)]
    done = subprocess.run(command, env=os.environ | {"PYTHONPATH": paths}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


@pytest.mark.fault("A9", "E7")
def test_an_item_that_needs_more_than_there_is_fails_alone(steps: Steps, group: Path) -> None:
    """The driver lives on, in the same cgroup; its workers go first."""
    facts = run(steps, group, script("if '00007' in names: eat(1 << 30)", before=EATS), files=20, workers=3)
    assert facts["rows"] == [one for one in numbered((0, 20)) if one != "00007"]
    (entry,) = facts["failed"]
    assert (entry["kind"], entry["error_type"], entry["signal"]) == ("memory", "OutOfMemoryError", 9)
    assert "was killed by the kernel because memory ran out, peak memory " in entry["message"]
    assert entry["message"].endswith(", items 7 to 7")
    assert facts["oom_deaths"] == facts["deaths"] >= 3
    # The mini-batch has cost one worker, once, however often it was tried.
    fewer = [notice for notice in facts["notices"] if "going on with" in notice]
    assert len(fewer) == 1
    assert fewer[0].endswith("; going on with 2 workers")


@pytest.mark.fault("A9")
def test_workers_that_need_too_much_together_are_made_fewer(steps: Steps, group: Path) -> None:
    """Each mini-batch fits alone, three do not: nothing fails."""
    body = "eat(110 << 20)\n(FOLDER / f'ate-{context.mini_batch_index}-{context.attempt}').touch()\n"
    body += "deadline = time.monotonic() + 2\n"
    body += "while len(list(FOLDER.glob('ate-*'))) < 3 and time.monotonic() < deadline: time.sleep(0.01)\nHELD.clear()"
    facts = run(steps, group, script(body, before=EATS), files=12, mini_batch_size=1, workers=4, run_max_try=9)
    assert facts["rows"] == numbered((0, 12))
    assert facts["failed"] == []
    assert facts["oom_deaths"] == facts["deaths"] >= 1
    assert any("because memory ran out" in notice and "going on with" in notice for notice in facts["notices"])


@pytest.mark.fault("A9")
def test_a_kill_by_somebody_else_is_no_lack_of_memory(steps: Steps, group: Path) -> None:
    body = "if '00007' in names: os.kill(os.getpid(), 9)"
    facts = run(steps, group, script(body), files=15, run_max_try=1, isolate_failures=False)
    assert {entry["kind"] for entry in facts["failed"]} == {"died"}
    assert (facts["deaths"], facts["oom_deaths"]) == (1, 0)
