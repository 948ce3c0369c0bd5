"""A small project on disk, and the real command that works on it: for the layers that kill real processes."""

from __future__ import annotations

import contextlib
import io
import os
import re
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.crash.checker import Expectation, check_finished, check_unfinished

TABLES = 3
"""Files of a project over tables."""
LEFTOVERS_S = 2.0
"""How long processes of a run may outlive its driver."""
ROOT = Path(__file__).parents[2]
MARK = "BATCHFLOW_TEST_RUN"
SCRIPT = """
import os, random, signal, sys, time

def run(mini_batch, context):
    rows = []
    for path in mini_batch:
        name = os.path.basename(path)
        time.sleep({pause})
        {misbehave}
        rows.append({{"name": name, "length": len(name) * 7}})
    return rows
"""
WORKFLOW = """
schema = 1
[datasets.files]
files = "in/*"
[steps.score]
inputs = {{ files = "${{datasets.files}}" }}
outputs = {{ rows = "out/{output}" }}
[steps.score.parallel]
entry_script = "score.py"
mini_batch_size = {size}
append_row_to = "rows"
error_threshold = -1
workers = 2
run_invocation_timeout = "5 s"
{more}
"""


class Project:
    """A folder with a workflow of one parallel step over ``count`` files, scored into a CSV or a parquet file."""

    def __init__(
        self, folder: Path, *, count: int, pause: float, misbehave: str = "pass", size: int = 10, is_typed: bool = False
    ) -> None:
        self.folder = folder
        self.is_typed = is_typed
        self.output = folder / "out" / ("rows.parquet" if is_typed else "rows.csv")
        self.mark = uuid.uuid4().hex
        self.names = [f"{number:06}" for number in range(count)]
        (folder / "in").mkdir(parents=True)
        self.make_input()
        self.write_script(pause, misbehave)
        (folder / "workflow.toml").write_text(self.workflow(size))

    def make_input(self) -> None:
        folder = self.folder
        for number, name in enumerate(self.names):  # links are quick to make; a file system allows 65,000 for a file
            if number % 30_000 == 0:
                source = folder / "in" / name
                source.touch()
            else:
                os.link(source, folder / "in" / name)

    def workflow(self, size: int) -> str:
        return WORKFLOW.format(output=self.output.name, size=size, more="")

    def write_script(self, pause: float, misbehave: str = "pass") -> None:
        (self.folder / "score.py").write_text(SCRIPT.format(pause=pause, misbehave=misbehave))

    def item(self, number: int) -> str:
        """How the failed list names it."""
        return f"{self.folder}/in/{self.names[number]}"

    @property
    def partial(self) -> Path:
        return self.output.with_name(f"{self.output.name}.partial")

    def start(self, *, before: Sequence[str] = (), verb: str = "run") -> subprocess.Popen[bytes]:
        """The command, in a session of its own; its words are kept in ``said``."""
        environment = os.environ | {MARK: self.mark}
        with (self.folder / "said").open("ab") as said:
            return subprocess.Popen(
                [*before, sys.executable, "-m", "batchflow", verb, str(self.folder / "workflow.toml")],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,
            )

    def finish(self, timeout_s: float = 120) -> int:
        """The command once more, to its end; returns the exit code."""
        process = self.start()
        try:
            return process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            return -1

    def expectation(self, failed: Sequence[str] = ()) -> Expectation:
        """By the input alone."""
        items = tuple(self.item(number) for number in range(len(self.names)))
        bad = frozenset(item for item, name in zip(items, self.names, strict=True) if name in failed)
        state = self.folder / ".batchflow/workflow/steps/score"
        named = zip(items, self.names, strict=True)
        rows = {item: (f"{name},{len(name) * 7}",) for item, name in named if item not in bad}
        content = "name,length\n" + "".join(f"{lines[0]}\n" for lines in rows.values())
        return Expectation(
            items=items,
            rows=None if self.is_typed else rows,
            failed=bad,
            header="" if self.is_typed else "name,length",
            output=self.output,
            reference=_typed_file([lines[0] for lines in rows.values()]) if self.is_typed else content.encode(),
            row_count=len(rows) if self.is_typed else None,
            failed_list=state / "failed.jsonl",
            receipt=state / "receipt.json",
            folders={self.folder / "out": re.escape(self.output.name)},
        )

    def check(self, failed: Sequence[str] = ()) -> list[str]:
        """After exit 0."""
        return check_finished(self.expectation(failed)) + self.leftovers()

    def check_killed(self, failed: Sequence[str] = ()) -> list[str]:
        """After a kill."""
        return check_unfinished(self.expectation(failed)) + self.leftovers()

    def processes(self) -> list[int]:
        """The living processes of all runs of this project."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with contextlib.suppress(OSError):
                    is_dead = (entry / "stat").read_bytes().rpartition(b")")[2].split()[0] in (b"Z", b"X")
                    if not is_dead and self.mark.encode() in (entry / "environ").read_bytes():
                        found.append(int(entry.name))
        return found

    def leftovers(self) -> list[str]:
        deadline_s = time.monotonic() + LEFTOVERS_S
        while left := self.processes():
            if time.monotonic() > deadline_s:
                told = [f"{pid} {_state_of(pid)}" for pid in left]
                for pid in left:
                    with contextlib.suppress(OSError):
                        os.kill(pid, signal.SIGKILL)
                return [f"I5: {LEFTOVERS_S} s after the driver ended there are still alive: {', '.join(told)}"]
            time.sleep(0.01)
        return []

    def committed_size(self) -> int:
        """Bytes of rows on disk so far."""
        for path in (self.partial, self.output):
            with contextlib.suppress(OSError):
                return path.stat().st_size
        return 0


class TableProject(Project):
    """The same with rows of three tables in the place of files."""

    def make_input(self) -> None:
        for file in range(TABLES):
            lines = [f'{name},"note of\n{name}"\n' for name in self.names[file::TABLES]]
            (self.folder / f"in/{file}.csv").write_text("name,note\n" + "".join(lines))
        self.names = [name for file in range(TABLES) for name in self.names[file::TABLES]]

    def workflow(self, size: int) -> str:
        text = super().workflow(size).replace('files = "in/*"', 'table = "in/*.csv"')
        return text.replace(f"mini_batch_size = {size}", f'mini_batch_size = "{size} rows"')

    def write_script(self, pause: float, misbehave: str = "pass") -> None:
        text = SCRIPT.format(pause=pause, misbehave=misbehave)
        text = text.replace("for path in mini_batch:", 'for name in mini_batch["name"]:')
        (self.folder / "score.py").write_text(text.replace("        name = os.path.basename(path)\n", ""))

    def item(self, number: int) -> str:
        first = 0
        for file in range(TABLES):
            count = len(range(file, len(self.names), TABLES))
            if number < first + count:
                break
            first += count
        return f"{self.folder}/in/{file}.csv#{number - first}"


def _typed_file(rows: Sequence[str]) -> bytes:
    """A parquet file of these rows as Arrow writes it, with nothing of batchflow's."""
    import pyarrow
    from pyarrow import parquet

    names, lengths = zip(*(row.split(",") for row in rows), strict=True)
    buffer = io.BytesIO()
    parquet.write_table(pyarrow.table({"name": names, "length": list(map(int, lengths))}), buffer)
    return buffer.getvalue()


def _state_of(pid: int) -> str:
    """Its name and the letter of its state, as in ``(batchflow-guard) T``."""
    try:
        return " ".join(Path(f"/proc/{pid}/stat").read_text(errors="replace").split()[1:3])
    except OSError:
        return "ended meanwhile"


@contextlib.contextmanager
def ended(process: subprocess.Popen[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    """The process does not outlive the block."""
    try:
        yield process
    finally:
        process.kill()
        process.wait()
