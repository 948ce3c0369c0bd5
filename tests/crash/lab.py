"""One laboratory: a folder in which a workload's command is run again and again, killed, starved, logged and resumed.

Lives in a process that the shim was loaded into and that has imported the product; every run of a command is a fork of
it, so that a state costs milliseconds.  The command is the product's own ``WorkflowRun`` with the product's own
parallel runner: journal, committer, ordering, publication and records are real, only the workers are played.
"""

from __future__ import annotations

import contextlib
import errno
import gc
import importlib
import json
import mmap
import os
import shutil
import signal
import struct
import sys
import time
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.crash.checker import Expectation, check_finished, check_unfinished
from tests.crash.control import Control, Entry, KillMode, Kind, read_log
from tests.crash.disk import File, Folder, Tree
from tests.crash.product import Command
from tests.crash.workloads import Workload

RUN_LIMIT_S = 9
"""A run, a matter of milliseconds, that takes longer hangs: it is ended by SIGALRM."""
_MADE_S = 1_000_000_000
"""When all inputs were made: disks that are remembered belong to them, also after another workload had its turn."""
_SPACE_KINDS = (Kind.WRITE, Kind.CREATE, Kind.MKDIR, Kind.ALLOCATE)
_EVERY_KIND = tuple(kind for kind in Kind if kind < Kind.CLOSE)


@dataclass(frozen=True)
class Arming:
    """What shall happen to one run.  Numbers of operations count from 1; 0: nothing."""

    kill_at: int = 0
    permille: int | None = None
    """Kill in the middle of a write that has so far written so much; None: before the operation."""
    fail_at: int = 0
    fail_read_at: int = 0
    error: str = ""
    """Name of the errno; empty: a short write."""
    short_first: bool = False
    for_ever: bool = False
    log: bool = False
    boot: str = ""
    """A boot id other than the machine's."""


@dataclass
class Outcome:
    """How one run ended."""

    exit_code: int | None
    """None: it was killed."""
    signal: int = 0
    error: str = ""
    report: Mapping[str, Any] = field(default_factory=dict)
    op_count: int = 0
    read_count: int = 0
    hit: str = ""
    """The operation that was killed or failed."""
    fault_count: int = 0
    log: list[Entry] = field(default_factory=list)
    done: int = 0
    """Items that it had reported as succeeded, those of earlier runs included."""
    executed: int = 0
    """Different items for which it had ``run()`` succeed."""

    def describe(self) -> str:
        ended = f"signal {self.signal}" if self.exit_code is None else f"exit {self.exit_code}"
        return f"{ended} {self.hit} {self.error}".strip()


class Shared:
    """A page that a run writes and that outlives it: items reported as done, and which ``run()`` succeeded for."""

    def __init__(self, item_count_max: int = 4000) -> None:
        self._memory = mmap.mmap(-1, 8 + item_count_max)

    def clear(self) -> None:
        self._memory[:] = bytes(len(self._memory))

    @property
    def done(self) -> int:
        return int(struct.unpack_from("<q", self._memory)[0])

    @done.setter
    def done(self, count: int) -> None:
        struct.pack_into("<q", self._memory, 0, count)

    def execute(self, start: int, count: int) -> None:
        self._memory[8 + start : 8 + start + count] = b"\1" * count

    @property
    def executed(self) -> int:
        return self._memory[8:].count(1)


class Lab:
    """The folder ``base``: ``items`` and ``score.py`` stay, ``flow`` is what is crashed."""

    def __init__(self, base: Path, control: Control) -> None:
        self.base = base
        self.flow = base / "flow"
        self.control = control
        self.shared = Shared()
        self._workload: Workload | None = None
        self._commands: list[Command] = []
        self._warm: set[bool] = set()
        """Whether what text needs has been imported, and what typed outputs need."""
        base.mkdir(parents=True, exist_ok=True)
        (base / "boot").write_text("00000000-0000-0000-0000-000000000000\n")
        self.shown: dict[int, int] = {}
        """Inode number → the one that the product is told instead."""
        control.watch(self.flow)
        control.disarm()

    def set_up(self, workload: Workload) -> None:
        """Make the inputs of a workload, and read its workflow files."""
        if self._workload is workload:
            return
        self._workload = workload
        shutil.rmtree(self.base / "items", ignore_errors=True)
        (self.base / "items").mkdir()
        for index in range(workload.item_count):
            (self.base / "items" / workload.item(index)).write_bytes(b"")
        (self.base / "score.py").write_text("def run(mini_batch):\n    return mini_batch\n")
        for path in (self.base / "score.py", *(self.base / "items").iterdir()):
            os.utime(path, (_MADE_S, _MADE_S))
        self._commands = []
        self.clear()
        for phase in workload.phases:
            (self.flow / "workflow.toml").write_text(workload.workflow_text(phase))
            self._commands.append(Command(workload, phase, self.flow / "workflow.toml", self.shared))
        self._warm_up()

    def _warm_up(self) -> None:
        """Import what the run of a command imports, so that no fork has to do it again."""
        assert self._workload is not None
        if self._workload.is_typed not in self._warm:
            for name in self.run(0).report.get("imported", ()):
                with contextlib.suppress(ImportError):
                    importlib.import_module(name)
            gc.collect()
            gc.freeze()
            self._warm.add(self._workload.is_typed)
            self.clear()

    def clear(self) -> None:
        """Back to before the first run."""
        self._show({})
        shutil.rmtree(self.flow, ignore_errors=True)
        self.flow.mkdir()

    def tree(self) -> Tree:
        """Everything below the workflow's folder as it is now, the workflow file excepted: every run writes it anew."""
        found: dict[str, File | Folder] = {}
        for folder, folders, names in os.walk(self.flow):
            below = os.path.relpath(folder, self.flow)
            prefix = "" if below == "." else below + "/"
            found |= {prefix + name: Folder(os.stat(os.path.join(folder, name)).st_ino) for name in folders}
            for name in names:
                path = os.path.join(folder, name)
                status = os.stat(path)
                with open(path, "rb") as file:
                    found[prefix + name] = File(status.st_ino, file.read(), status.st_mtime_ns)
        found.pop("workflow.toml", None)
        return dict(sorted(found.items()))

    def restore(self, tree: Tree) -> None:
        """Let the folder hold this tree, and let the product see its inode numbers."""
        self.clear()
        shown = {}
        for path, one in tree.items():
            place = os.path.join(self.flow, path)
            if isinstance(one, Folder):
                os.mkdir(place, 0o700)
            else:
                with open(place, "wb") as made:
                    made.write(one.content)
                os.utime(place, ns=(one.mtime_ns, one.mtime_ns))
                os.chmod(place, 0o600)
            shown[os.stat(place).st_ino] = one.inode
        self._show(shown)

    def _show(self, shown: dict[int, int]) -> None:
        self.shown = shown
        self.control.show_inodes(shown)

    def expectation(self, phase_index: int) -> Expectation:
        assert self._workload is not None
        return self._workload.expectation(phase_index, self.base)

    def run(self, phase_index: int, arming: Arming = Arming()) -> Outcome:
        """Give the phase's command once, in a fork that is armed."""
        assert self._workload is not None
        (self.flow / "workflow.toml").write_text(self._workload.workflow_text(self._workload.phases[phase_index]))
        self.shared.clear()
        self._arm(arming)
        log_fd = os.memfd_create("log") if arming.log else -1
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            self._be_the_run(phase_index, writer, log_fd)
        os.close(writer)
        with os.fdopen(reader, "rb") as pipe:
            report = pipe.read()
        _, status = os.waitpid(pid, 0)
        outcome = self._outcome(status, report)
        if arming.log:
            outcome.log = list(read_log(_content(log_fd), self.flow))
            os.close(log_fd)
        self.control.disarm()
        return outcome

    def _arm(self, arming: Arming) -> None:
        block = self.control.block
        self.control.disarm()
        block.kill_at = arming.kill_at
        if arming.kill_at:
            block.kill_mode = KillMode.BEFORE if arming.permille is None else KillMode.MID
            block.kill_permille = arming.permille or 0
        block.fail_at = arming.fail_at
        block.fail_read_at = arming.fail_read_at
        block.fail_errno = getattr(errno, arming.error) if arming.error else 0
        block.fail_short = arming.short_first
        block.fail_for_ever = arming.for_ever
        kinds = _SPACE_KINDS if arming.error in ("ENOSPC", "EDQUOT", "") else _EVERY_KIND
        block.fail_kinds = sum(1 << kind for kind in kinds)
        if arming.boot:
            (self.base / "boot").write_text(arming.boot + "\n")
        block.boot_path = os.fsencode(self.base / "boot") if arming.boot else b""

    def _be_the_run(self, phase_index: int, writer: int, log_fd: int) -> None:
        """The child: run the command, report, end without any clean-up of Python's."""
        report: dict[str, Any] = {}
        try:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(RUN_LIMIT_S)
            command = self._commands[phase_index]
            self.control.block.log_fd = log_fd
            known = set(sys.modules)
            self.control.block.active_pid = os.getpid()
            report = command.run(lambda: self.control.block.op_count)
            self.control.block.active_pid = 0
            report["imported"] = sorted(set(sys.modules) - known)
        except BaseException:
            self.control.block.active_pid = 0
            report = {"exit_code": 70, "error": traceback.format_exc()}
        with os.fdopen(writer, "wb") as pipe:
            pipe.write(json.dumps(report).encode())
        os._exit(0)

    def _outcome(self, status: int, content: bytes) -> Outcome:
        block = self.control.block
        report = json.loads(content) if content else {}
        return Outcome(
            exit_code=report.get("exit_code") if os.WIFEXITED(status) else None,
            signal=os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0,
            error=report.get("error", ""),
            report=report,
            op_count=block.op_count,
            read_count=block.read_count,
            hit=self.control.hit,
            fault_count=block.fault_count,
            done=self.shared.done,
            executed=self.shared.executed,
        )

    def finished(self, phase_index: int) -> list[str]:
        """Violations when the phase has ended as it must."""
        assert self._workload is not None
        expected = self.expectation(phase_index)
        if self._workload.phases[phase_index].exit_code == 0:
            return check_finished(expected)
        return check_unfinished(expected)

    def unfinished(self, phase_index: int) -> list[str]:
        return check_unfinished(self.expectation(phase_index))


def _content(fd: int) -> bytes:
    size = os.fstat(fd).st_size
    return os.pread(fd, size, 0) if size else b""


def home() -> Path:
    """Where laboratories are built: in memory, where a sync costs nothing and inode numbers never come back."""
    return Path("/dev/shm") if os.access("/dev/shm", os.W_OK) else Path(os.environ.get("TMPDIR", "/tmp"))


@contextlib.contextmanager
def laboratory(control: Control) -> Iterator[Lab]:
    """A laboratory of its own, removed at the end; what killed ones have left is removed at once."""
    for left in home().glob("batchflow-crash-*"):
        if not Path(f"/proc/{left.name.split('-')[2]}").exists():
            shutil.rmtree(left, ignore_errors=True)
    base = home() / f"batchflow-crash-{os.getpid()}-{time.monotonic_ns()}"
    try:
        yield Lab(base, control)
    finally:
        shutil.rmtree(base, ignore_errors=True)
