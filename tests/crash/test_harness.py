"""The machine itself: the shim against a small program, scenarios as text, and a handful of real crash states."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.crash.campaign import Totals, gather, play, sample
from tests.crash.control import Control, Kind, environment, read_log
from tests.crash.crew import ROOT, Crew, Task, shim_is_missing
from tests.crash.mutants.bugs import load_bugs
from tests.crash.scenario import Event, Scenario, parse_event
from tests.crash.workloads import LINGERING, WORKLOADS

pytestmark = [
    pytest.mark.crash,
    pytest.mark.skipif(shim_is_missing() is not None, reason=f"no shim: {shim_is_missing()}"),
]

PROGRAM = """
import os, sys
from pathlib import Path
from tests.crash.control import Control
control = Control(Path(os.environ["CRASH_SHIM_CONTROL"]))
control.check()
root = Path(sys.argv[1])
if sys.argv[2] == "log":
    control.block.log_fd = os.open(sys.argv[3], os.O_WRONLY | os.O_CREAT)
control.block.active_pid = os.getpid()
(root / "d").mkdir()
fd = os.open(root / "d" / "a", os.O_RDWR | os.O_CREAT)
os.pwrite(fd, b"x" * 1000, 4)
os.writev(fd, [b"head", b""])
os.ftruncate(fd, 900)
os.fsync(fd)
copy = os.open("b", os.O_WRONLY | os.O_CREAT, dir_fd=os.open(root / "d", os.O_RDONLY))
os.copy_file_range(fd, copy, 100, 0, 0)
os.close(copy)
(root / "d" / "b").rename(root / "c")
(root / "d" / "a").unlink()
print(os.stat(root / "c").st_ino)
"""
STEPS = [
    "1 mkdir d",
    "2 create d/a",
    "3 write d/a 1000 at 4",
    "4 write d/a 4 at 0",
    "5 truncate d/a",
    "6 sync d/a",
    "7 open d",
    "8 create d/b",
    "9 write d/b 100 at 0",
    "10 close d/b",
    "11 rename d/b -> c",
    "12 unlink d/a",
]


def run(tmp_path, arm=lambda block: None, mode="run"):
    """The program, steered; its process, the control block and the root."""
    root = tmp_path / "root"
    root.mkdir()
    control = Control(tmp_path / "control")
    control.watch(root)
    arm(control.block)
    variables = os.environ | environment(control.path) | {"PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-c", PROGRAM, str(root), mode, str(tmp_path / "log")]
    done = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=60, check=False)
    return done, control, root


def test_every_operation_is_counted_and_logged(tmp_path):
    done, control, root = run(tmp_path, mode="log")
    assert done.returncode == 0, done.stderr
    entries = list(read_log((tmp_path / "log").read_bytes(), root))
    assert [one.describe() for one in entries] == STEPS
    assert control.block.op_count == len(STEPS)
    assert [one.data for one in entries if one.kind is Kind.WRITE] == [b"x" * 1000, b"head", b"head" + b"x" * 96]


@pytest.mark.parametrize(("number", "names"), [(1, []), (2, ["d"]), (11, ["d", "d/a", "d/b"]), (12, ["c", "d", "d/a"])])
def test_the_process_is_killed_before_an_operation(tmp_path, number, names):
    def arm(block):
        block.kill_at, block.kill_mode = number, 1

    done, control, root = run(tmp_path, arm)
    assert done.returncode == -9
    assert control.hit == STEPS[number - 1].split(" ", 1)[1].split(" -> ")[0]
    assert sorted(str(one.relative_to(root)) for one in root.rglob("*")) == names


def test_the_process_is_killed_in_the_middle_of_a_write(tmp_path):
    def arm(block):
        block.kill_at, block.kill_mode, block.kill_permille = 3, 3, 250

    done, _, root = run(tmp_path, arm)
    assert done.returncode == -9
    assert (root / "d" / "a").read_bytes() == bytes(4) + b"x" * 250


def test_an_operation_fails_once_and_another_is_short(tmp_path):
    def arm(block):
        block.fail_at, block.fail_errno = 9, 28

    done, control, root = run(tmp_path, arm)
    assert done.returncode == 1
    assert "OSError: [Errno 28]" in done.stderr
    assert control.block.fault_count == 1
    (tmp_path / "second").mkdir()

    def arm_short(block):
        block.fail_at, block.fail_short = 3, 1

    done, control, root = run(tmp_path / "second", arm_short)
    assert done.returncode == 0
    assert (root / "c").read_bytes() == b"head" + b"x" * 96
    assert control.block.fault_count == 1


def test_the_program_is_told_another_inode_number(tmp_path):
    done, _, root = run(tmp_path)
    real = int(done.stdout)
    assert real == (root / "c").stat().st_ino
    (tmp_path / "second").mkdir()
    control = Control(tmp_path / "second" / "control")
    control.show_inodes({})
    assert control.block.inode_count == 0


@pytest.mark.parametrize(
    "text",
    [
        "text kill@41",
        "csv#1 kill@9/500 kill@12",
        "text fail@41=EIO fail@3=ENOSPC+ short@4 short@5+ short@6=ENOSPC read@7=EIO",
        "text cut@57=r3,2 cut@9=size,0 exit",
    ],
)
def test_a_scenario_is_its_text(text):
    assert str(Scenario.parse(text)) == text


def test_an_event_that_is_none_is_refused():
    with pytest.raises(ValueError, match="not an event: 'burn@3'"):
        parse_event("burn@3")
    assert parse_event("kill@3/10") == Event("kill", 3, 10)


def test_a_sample_keeps_the_order():
    assert sample(list("abcdef"), 3, 1) == sorted(sample(list("abcdef"), 3, 1))
    assert sample(list("abc"), 3, 1) == list("abc")


@pytest.mark.parametrize("bug", load_bugs(), ids=lambda bug: bug.name)
def test_a_bug_still_fits_the_product(bug):
    for name, text in bug.sources(ROOT).items():
        compile(text, name, "exec")
    assert bug.edits
    assert set(bug.workloads) <= set(WORKLOADS)


def test_every_workload_ends_as_it_must_when_nothing_happens():
    totals = Totals("test", "quick", 0)
    with Crew(1) as crew:
        play(crew, totals, "clean", [*WORKLOADS, LINGERING.name], "replay")
    assert totals.counts["clean"] == len(WORKLOADS) + 1
    assert totals.violations == 0


def test_a_few_states_of_each_layer_hold():
    """Enough to see that the machine runs; ``make crash`` has the rest."""
    totals = Totals("test", "quick", 0)
    with Crew(1) as crew:
        one = {"workload": "text-spill", "phase": 0}
        kills, faults = gather(crew, [Task(f"explore:{name}", one) for name in ("list_kills", "list_faults")])
        (cuts,) = gather(crew, [Task("power:list_cuts", {**one, "seeds": 1})])
        (exits,) = gather(crew, [Task("power:list_exits", {**one, "seeds": 1})])
        assert len(kills) > 300
        assert len(faults) > 800
        assert len(cuts) > 500
        assert len(exits) > 1
        for kind, scenarios in (("kills", kills), ("faults", faults), ("cuts", cuts), ("exits", exits)):
            play(crew, totals, kind, sample(scenarios, 6, 0), "replay")
    assert totals.counts["kills"] == totals.counts["faults"] == totals.counts["cuts"] == 6
    assert totals.violations == totals.missed == 0
