"""Parallel steps with real processes, and what is left of them.

``Steps.run`` runs one step to its end and gives an ``Outcome``; unless told otherwise it holds the outcome against an
oracle that reads nothing but the input list, the output file and ``failed.jsonl``.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from system.runner.processes import alive, descendants, wait_until

from batchflow.control import StopRequest
from batchflow.errors import BatchflowError
from batchflow.model import Event, Notice, Receipt
from batchflow.parallel.runner import run_parallel_step
from batchflow.parallel.values import OverInput, ParallelJob
from batchflow.workflow.values import ParallelSettings, Threshold

MARK = "BATCHFLOW_TEST_MARK"
"""The environment variable by which the processes of one test are known."""
ALL = Threshold(count=-1)
"""Any number of failures is tolerated."""
SOON_S = 8.0
"""Less than any time of grace (10 s): whoever ends within it was ended, by nobody who waited."""

PROLOGUE = """\
import ctypes, itertools, json, os, signal, sys, time
from pathlib import Path


def name(path):
    return os.path.basename(path)


def wait_for(path):
    while not os.path.exists(path):
        time.sleep(0.005)


"""
NAMES = "    return [name(path) for path in mini_batch]\n"


def script(body: str, *, before: str = "") -> str:
    """An entry script whose ``run()`` does ``body`` first, then returns the file names."""
    lines = "".join(f"    {line}\n" for line in body.splitlines())
    head = "def run(mini_batch, context):\n    names = [name(path) for path in mini_batch]\n"
    return f"{PROLOGUE}{before}\n\n{head}{lines}{NAMES}"


@dataclass
class Outcome:
    """What one step left behind."""

    folder: Path
    items: list[str]
    receipt: Receipt | None = None
    error: BatchflowError | None = None
    events: list[Event] = field(default_factory=list)

    @property
    def content(self) -> bytes:
        return (self.folder / "rows.partial").read_bytes()

    @property
    def rows(self) -> list[str]:
        return self.content.decode().splitlines()

    @property
    def failed(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.folder / "state/failed.jsonl").read_text().splitlines()]

    @property
    def failed_names(self) -> list[str]:
        return [os.path.basename(entry["item"]) for entry in self.failed]

    @property
    def notices(self) -> list[str]:
        return [event.message for event in self.events if isinstance(event, Notice)]

    def log(self, name: str = "worker-0") -> str:
        return (self.folder / f"state/logs/{name}.log").read_text()

    def done(self) -> Receipt:
        """The receipt of a step that must have come to its end."""
        if self.error is not None:
            raise AssertionError(f"the step failed: {self.error}")
        assert self.receipt is not None
        return self.receipt

    def message(self, kind: type[BatchflowError]) -> str:
        """The error's text; the step must have failed with an error of this type."""
        assert type(self.error) is kind, self.error
        return self.error.message


def account_for(outcome: Outcome, *, complete: bool) -> None:
    """Every item is exactly once in the output or in the failed list; if the step was cut short, at most once."""
    names = {os.path.basename(item) for item in outcome.items}
    seen = Counter(outcome.rows)
    short: set[str] = set()
    for entry in outcome.failed:
        if entry["kind"] == "shortfall":
            candidates = {os.path.basename(item) for item in entry["candidates"]}
            assert sum(seen[one] for one in candidates) + entry["missing_count"] == len(candidates), entry
            short |= candidates
        else:
            seen[os.path.basename(entry["item"])] += 1
    assert set(seen) <= names, f"rows of nobody: {set(seen) - names}"
    assert not [one for one, count in seen.items() if count > 1], f"more than once: {seen}"
    if complete:
        assert set(seen) | short == names, f"lost: {names - short - set(seen)}"


def processes_with(mark: str) -> list[int]:
    """The living processes that carry ``mark`` in their environment."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError):
                if mark.encode() in (folder / "environ").read_bytes() and alive(int(folder.name)):
                    found.append(int(folder.name))
    return found


def parent_of(pid: int) -> int:
    """The pid of a living process's parent; 0 if it has just ended."""
    with contextlib.suppress(OSError):
        return int(Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[1])
    return 0


def peak_kib() -> int:
    """The most memory this process has held since its exec: ``ru_maxrss`` would count what its parent held, too."""
    return int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0])


def open_descriptors() -> int:
    gc.collect()
    return len(os.listdir("/proc/self/fd"))


class Steps:
    """Runs steps below one folder; ``check`` sees that nothing of theirs is left."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.mark = uuid.uuid4().hex
        self.latest: Outcome | None = None
        self._descriptors = open_descriptors()
        self._threads = threading.active_count()

    def make_items(self, items: int | Iterable[str | bytes]) -> list[str]:
        """Empty files named ``00000`` and so on, or as given; returns their paths, sorted as they are listed."""
        folder = os.fsencode(self.folder / "in")
        os.makedirs(folder, exist_ok=True)
        names = [f"{number:05}" for number in range(items)] if isinstance(items, int) else list(items)
        paths = [os.path.join(folder, os.fsencode(one)) for one in names]
        for path in paths:  # links are made many times faster than files
            if os.path.lexists(path):
                continue
            if path == paths[0]:
                os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600))
            else:
                os.link(paths[0], path)
        return [os.fsdecode(path) for path in sorted(paths)]

    def job(self, source: str, *, workers: int = 2, cores: int = 2, **settings: Any) -> ParallelJob:
        """The job of an entry script with this source; ``settings`` as in ``ParallelSettings``, 5 items at a time."""
        self.folder.mkdir(exist_ok=True)
        entry_script = settings.pop("entry_script", self.folder / "score.py")
        entry_script.write_text(source)
        variables = {MARK: self.mark} | settings.pop("environment_variables", {})
        defaults: dict[str, Any] = {"mini_batch_size": 5, "append_row_to": "rows", "output_format": "text"}
        values = ParallelSettings(
            entry_script, self.folder, ("files",), environment_variables=variables, **(defaults | settings)
        )
        summary_only = values.output_action == "summary_only"
        return ParallelJob(
            step="score",
            run_id="run-1",
            settings=values,
            arguments=values.arguments,
            inputs=(OverInput("files", (f"{self.folder}/in/",)),),
            folder=self.folder,
            state_folder=self.folder / "state",
            output_path=None if summary_only else self.folder / "rows.partial",
            output_name=None if summary_only else f"{self.folder}/rows",
            output_folder=self.folder / "files" if summary_only else None,
            folders={"files": self.folder / "files"} if summary_only else {},
            workers=workers,
            cores=cores,
        )

    def run(
        self,
        source: str,
        *,
        files: int | Iterable[str | bytes] = 15,
        stop: StopRequest | None = None,
        meanwhile: Callable[[], None] | None = None,
        on_event: Callable[[Event], None] = lambda event: None,
        oracle: bool = True,
        **settings: Any,
    ) -> Outcome:
        """Run one step to its end, whatever that is; ``meanwhile`` runs in a thread beside it, ``on_event`` in it."""
        outcome = self.latest = Outcome(self.folder, self.make_items(files))
        job = self.job(source, **settings)

        def take(event: Event) -> None:
            outcome.events.append(event)
            on_event(event)

        with beside(meanwhile):
            try:
                outcome.receipt = run_parallel_step(job, on_event=take, stop=stop or StopRequest())
            except BatchflowError as error:
                # Its frames would keep descriptors of the step open.
                outcome.error = error.with_traceback(None)
                outcome.error.__context__ = None
        if outcome.receipt is not None:
            check_receipt(outcome)
        if oracle and job.output_path is not None and job.output_path.exists():
            account_for(outcome, complete=outcome.receipt is not None)
        return outcome

    def noticed(self, piece: str) -> bool:
        """Whether the step that runs now has given a notice with these words."""
        return self.latest is not None and any(piece in notice for notice in self.latest.notices)

    def guard(self, driver: int | None = None) -> int:
        """The guard of the step that runs now: the child of the driver (default: this process)."""
        (guard,) = [pid for pid in processes_with(self.mark) if parent_of(pid) == (driver or os.getpid())]
        return guard

    def zygote(self, driver: int | None = None) -> int:
        """The process that workers are forked from: the first child of the guard."""
        guard = self.guard(driver)
        return min(pid for pid in processes_with(self.mark) if parent_of(pid) == guard)

    def check(self) -> None:
        """Nothing is left: no process, no descriptor, no thread, no scratch folder."""
        since = time.monotonic()
        wait_until(lambda: not processes_with(self.mark))
        assert time.monotonic() - since < SOON_S
        assert descendants(os.getpid()) == []
        assert open_descriptors() == self._descriptors
        assert threading.active_count() == self._threads
        assert not (self.folder / "state/scratch").exists()


def check_receipt(outcome: Outcome) -> None:
    """What the receipt says holds for what lies on disk."""
    receipt = outcome.done()
    failed = outcome.failed
    assert receipt.items_in == receipt.succeeded + receipt.failed == len(outcome.items)
    assert receipt.failed == sum(entry.get("missing_count", 1) for entry in failed)
    assert receipt.failed_mini_batches == len({entry["mini_batch"] for entry in failed})
    assert json.loads((outcome.folder / "state/receipt.json").read_text()) == receipt.as_dict()
    if receipt.output is not None:
        assert receipt.output_size == len(outcome.content)


@contextlib.contextmanager
def beside(function: Callable[[], None] | None) -> Iterator[None]:
    """Run ``function`` in a thread while the block runs; what it raises is raised here."""
    errors: list[BaseException] = []

    def guarded() -> None:
        try:
            if function is not None:
                function()
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=guarded)
    thread.start()
    try:
        yield
    finally:
        thread.join()
    if errors:
        raise errors[0]


def without(names: Sequence[str], left_out: Iterable[str]) -> list[str]:
    gone = set(left_out)
    return [one for one in names if one not in gone]


def numbered(*ranges: tuple[int, int]) -> list[str]:
    """``00000`` and so on, for half-open ranges."""
    return [f"{number:05}" for start, stop in ranges for number in range(start, stop)]
