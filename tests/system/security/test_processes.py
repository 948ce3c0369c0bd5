"""The processes of a run, looked at from outside: nothing to connect to or to overhear, no descriptor too many."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from system.runner.processes import descendants
from system.security.runs import PARALLEL, WAITING, batchflow, make, processes_of, running

import batchflow as package

STEPS = """
[steps.shell]
run = "ls /proc/self/fd > ${outputs.list}"
outputs = { list = "build/shell.txt" }
[steps.call]
call = "look:main"
outputs = { list = "build/call.txt" }
"""
LOOK = """
import os, subprocess

def main(inputs, outputs, args):
    with open(outputs["list"], "w") as file:
        file.write(subprocess.run(["ls", "/proc/self/fd"], close_fds=False, capture_output=True, text=True).stdout)
"""
CHILD = """
import os, subprocess, sys

def run(mini_batch):
    mine = {name: os.readlink(f"/proc/self/fd/{name}") for name in os.listdir("/proc/self/fd")
            if os.path.exists(f"/proc/self/fd/{name}")}
    command = [sys.executable, "-c", "import os; print(sorted(map(int, os.listdir('/proc/self/fd'))))"]
    theirs = subprocess.run(command, close_fds=False, capture_output=True, text=True).stdout.strip()
    inheritable = [int(name) for name in mine if os.get_inheritable(int(name))]
    return [repr((sorted(mine.values()), theirs, inheritable))]
"""


def sockets_of(pids: list[int]) -> set[str]:
    """The inodes of the sockets that these processes have."""
    found = set()
    for pid in pids:
        for link in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):  # closed meanwhile
                target = os.readlink(link)
                if target.startswith("socket:["):
                    found.add(target[8:-1])
    return found


def network_tables() -> Iterator[tuple[str, list[str]]]:
    """(protocol, columns) of every socket of this network namespace."""
    for protocol in ("tcp", "tcp6", "udp", "udp6", "udplite", "raw", "raw6", "icmp", "unix", "packet", "netlink"):
        path = Path("/proc/net", protocol)
        if path.exists():
            for line in path.read_text().splitlines()[1:]:
                yield protocol, line.split()


def inode_column(protocol: str) -> int:
    return {"unix": 6, "packet": 8, "netlink": 9}.get(protocol, 9)


@pytest.mark.fault("S9", "S11", "S22")
def test_nobody_can_connect_to_a_run_or_open_its_memory_by_name(tmp_path: Path) -> None:
    folder = make(tmp_path, {"workflow.toml": PARALLEL, "score.py": WAITING})
    shared = set(os.listdir("/dev/shm"))
    with running(folder) as process:
        pids = processes_of(process)
        mine = sockets_of(pids)
        rows = [(protocol, row) for protocol, row in network_tables() if row[inode_column(protocol)] in mine]
        mappings = {line.split()[-1] for pid in pids for line in Path(f"/proc/{pid}/maps").read_text().splitlines()}
        commands = [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in pids]
        assert set(os.listdir("/dev/shm")) <= shared
    assert len(pids) >= 4  # the driver, a guard, the zygote, workers
    assert mine
    for protocol, row in rows:
        # Num RefCount Protocol Flags Type St Inode [Path]: no path, flag 10000 would be "listens", state 3 is a pair.
        assert (protocol, row[3], row[5], row[7:]) == ("unix", "00000000", "03", [])
    assert {row[6] for _, row in rows} == mine
    assert not any(mapping.startswith(("/dev/shm", "/SYSV")) for mapping in mappings)
    assert all(str(folder).encode() not in command for command in commands[1:])


@pytest.mark.fault("S36")
def test_what_a_script_starts_inherits_no_descriptor_of_ours(tmp_path: Path) -> None:
    folder = make(tmp_path, {"workflow.toml": PARALLEL, "score.py": CHILD}, item_count=1)
    leak = os.open(os.devnull, os.O_RDONLY)
    os.set_inheritable(leak, True)  # as a careless caller's
    try:
        done = batchflow(folder, "run")
    finally:
        os.close(leak)
    assert done.returncode == 0, done.stderr
    (text,) = (folder / "build/rows.csv").read_text().splitlines()[1:]
    mine, theirs, inheritable = eval(text.strip('"').replace('""', '"'))
    assert theirs == "[0, 1, 2, 3]"  # 3: the listing itself
    assert inheritable == [0, 1, 2]
    # A worker's own: its streams, its folder, the list of files, the wake-up of the driver; no database, lock or ring.
    log = str(folder / ".batchflow/workflow/steps/predict/logs/worker-0.log")
    listing = "/memfd:batchflow-listing (deleted)"
    assert {*mine} == {"/dev/null", "anon_inode:[eventfd]", str(folder), log, listing}


@pytest.mark.fault("S36")
def test_commands_and_functions_get_their_streams_and_nothing_else(tmp_path: Path) -> None:
    folder = make(tmp_path, {"workflow.toml": "schema = 1\n" + STEPS, "look.py": LOOK})
    done = batchflow(folder, "run")
    assert done.returncode == 0, done.stderr
    assert (folder / "build/shell.txt").read_text().split() == ["0", "1", "2", "3"]  # 3: the listing itself
    assert (folder / "build/call.txt").read_text().split() == ["0", "1", "2", "3"]


@pytest.mark.fault("S22")
def test_what_is_between_the_driver_and_the_users_code_has_nothing_of_it_in_its_arguments(tmp_path: Path) -> None:
    text = PARALLEL + 'arguments = ["--argument", "kolibri"]\nenvironment_variables = { X = "kolibri" }\n'
    folder = make(tmp_path, {"workflow.toml": text, "score.py": WAITING})
    with running(folder) as process:
        commands = {pid: Path(f"/proc/{pid}/cmdline").read_bytes() for pid in descendants(process.pid)}
    home = str(Path(package.__file__).parent).encode()
    assert len(commands) >= 3
    assert all(home in command for command in commands.values()), commands
    assert not any(b"kolibri" in command for command in commands.values())
