"""The child that looks into tables: what becomes of it, and of the run, when one of them ends."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from system.parallel.steps import wait_until

from batchflow.control import StopLevel, StopRequest
from batchflow.errors import DatasetError, InterruptedRunError, NoRoomError, ResourceError
from batchflow.parallel import scouting
from batchflow.parallel.scouting import Scout
from batchflow.tables.options import TableOptions


def job(folder: Path, **options: Any) -> dict[str, Any]:
    path = folder / "a.csv"
    path.write_text("id,x\n1,2.5\n")
    values = TableOptions("csv", **options).as_json()
    return {"options": values, "paths": [str(path)], "size": 100, "rows": 0}


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A program in the place of the real one."""

    def use(body: str) -> None:
        program = tmp_path / "program.py"
        program.write_text(body)
        monkeypatch.setattr(scouting.scout_child, "__file__", str(program))

    return use


@contextlib.contextmanager
def started(folder: Path, work: dict[str, Any] | None = None) -> Iterator[Scout]:
    with contextlib.closing(Scout(work or job(folder), folder / "scout.log")) as scout:
        yield scout
    assert scout._process.returncode is not None


def test_it_tells_the_schema(tmp_path: Path) -> None:
    with started(tmp_path) as scout:
        found = scout.result(StopRequest())
    assert [(one["name"], one["type"]) for one in found["schema"]["columns"]] == [("id", "int64"), ("x", "double")]
    assert (found["pieces"], found["warnings"]) == ([], [])


def test_what_is_wrong_with_the_tables_is_told(tmp_path: Path) -> None:
    with started(tmp_path, job(tmp_path, columns=("nn",))) as scout, pytest.raises(DatasetError, match="'nn'"):
        scout.result(StopRequest())


@pytest.mark.fault("J14")
@pytest.mark.parametrize(
    ("body", "kind", "message"),
    [
        (
            'import os\nprint(\'{"path": "/d/x.csv"}\', flush=True)\nos.kill(os.getpid(), 11)',
            DatasetError,
            "the tables cannot be read: the process that looks into them ended at /d/x.csv, signal 11",
        ),
        (
            "import sys\nsys.exit('no such thing')",
            DatasetError,
            "the process that looks into them ended, exit code 1\nits last output:\nno such thing",
        ),
        ("import os\nos.kill(os.getpid(), 9)", ResourceError, "was killed, signal 9: perhaps memory ran out"),
        (
            'print(\'{"result": {"error": "full", "hint": "h", "kind": "NoRoomError"}}\')',
            NoRoomError,
            "full",
        ),
    ],
)
def test_its_end_is_told_in_words(body: str, kind: Any, message: str, tmp_path: Path, stand_in: Any) -> None:
    stand_in(body)
    with started(tmp_path) as scout, pytest.raises(kind) as caught:
        scout.result(StopRequest())
    assert message in caught.value.message


def test_a_run_that_is_stopped_does_not_wait_for_it(tmp_path: Path, stand_in: Any) -> None:
    stand_in("import time\ntime.sleep(1000)")
    stop = StopRequest()
    stop.request(StopLevel.DRAIN)
    with started(tmp_path) as scout, pytest.raises(InterruptedRunError, match="stopped while looking into the tables"):
        scout.result(stop)


DRIVER = """\
import sys, time
from pathlib import Path
from batchflow.parallel import scouting
from batchflow.worker import scout_child
folder = Path(sys.argv[1])
real = Path(scout_child.__file__).read_text()
(folder / "child.py").write_text(real.replace(
    "    result = work(job, say)",
    "    open(%r, 'w').write(str(os.getpid()))\\n    import time\\n    time.sleep(1000)" % str(folder / "pid"),
).replace('__file__.rpartition("/")[0].rpartition("/")[0]', repr(str(Path(scout_child.__file__).parents[1]))))
scouting.scout_child.__file__ = str(folder / "child.py")
scout = scouting.Scout({"options": {}, "paths": []}, folder / "log")
time.sleep(1000)
"""


def test_it_ends_with_its_driver(tmp_path: Path) -> None:
    driver = subprocess.Popen([sys.executable, "-c", DRIVER, str(tmp_path)])
    pid_file = tmp_path / "pid"
    wait_until(lambda: pid_file.exists() and pid_file.read_text() != "")
    child = os.pidfd_open(int(pid_file.read_text()))
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    poll = select.poll()
    poll.register(child, select.POLLIN)
    assert poll.poll(30_000)
    os.close(child)
