"""The product, as a command that a laboratory runs: imported once, run in forks."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from batchflow.clock import FakeClock
from batchflow.errors import BatchflowError
from batchflow.model import Event, Notice, StepProgress
from batchflow.output import ordering, typed, typed_child, typed_file
from batchflow.parallel import books, committer, feeder, pace
from batchflow.parallel import runner as parallel_runner
from batchflow.runner.values import RunOptions
from batchflow.runner.workflow_run import WorkflowRun
from batchflow.worker.results import make_encoder
from batchflow.workflow import load_workflow
from tests.crash.played import Answer, Cast, PlayedPool, Request
from tests.crash.workloads import GROUP_ROWS, Phase, Workload

if TYPE_CHECKING:
    from tests.crash.lab import Shared


def _stage(workload: Workload, cast: Cast, clock: FakeClock) -> None:
    """Put the played workers and the played time in their places, and make what is large small.

    This is done in a process of its own, which ends after one run.
    """
    vars(parallel_runner)["WorkerPool"] = functools.partial(PlayedPool, cast, clock)
    vars(books)["time"] = SimpleNamespace(sleep=clock.advance)
    books.SPILL_FULL_S = -1.0  # a window that is full is given up at once
    books.WINDOW_SIZE = workload.window_size
    feeder.WINDOW_SIZE = 2 * workload.window_size
    pace.QUEUE_NS = 0  # how much a worker is given in advance shall not depend on how fast this machine is
    ordering._BLOCK = 1024  # the ordered copy is written in several pieces
    committer.VERIFY_ALL_SIZE = workload.verify_all_size
    vars(books)["make_typed"] = _make_typed
    typed_file.GROUP_ROWS = GROUP_ROWS
    typed_file._BLOCK = 1024


def _make_typed(job: typed.TypedJob, _: Callable[[], bool]) -> typed.Written:
    """What the process that makes the file does, in this one: its operations on files are crashed like all others."""
    answer = typed_child.answer(job.as_json())
    return typed._answer(job, json.dumps(answer).encode(), 0, b"")


class Command:
    """``batchflow run`` of one phase of a workload, without its command line."""

    def __init__(self, workload: Workload, phase: Phase, path: Path, shared: Shared) -> None:
        self._workload = workload
        self._phase = phase
        self._shared = shared
        self._workflow = load_workflow(path)
        self._options = RunOptions(**phase.options)

    def run(self, op_count: Callable[[], int]) -> dict[str, Any]:
        """Once, in this process; returns exit code, error and what was reported, all plain JSON."""
        clock = FakeClock()
        cast = Cast(self._answer, self._dawdles, self._succeeded, self._workload.lingers_s)
        reported: list[tuple[int, int]] = []
        notices: list[str] = []

        def on_event(event: Event) -> None:
            if isinstance(event, StepProgress):
                self._shared.done = event.done
                reported.append((op_count(), event.done))
            elif isinstance(event, Notice):
                notices.append(event.message)

        def run_parallel(job: Any, **keys: Any) -> Any:
            return parallel_runner.run_parallel_step(job, clock=clock, **keys)

        _stage(self._workload, cast, clock)
        run = WorkflowRun(self._workflow, self._options, on_event, run_parallel=run_parallel)
        try:
            exit_code = run.run().exit_code
            error = run.first_error
        except BatchflowError as refused:
            exit_code, error = refused.exit_code, refused
        return {
            "exit_code": exit_code,
            "error": "" if error is None else f"{type(error).__name__}: {error.message}\n{error.hint or ''}".strip(),
            "reported": reported,
            "notices": notices,
        }

    def _answer(self, request: Request) -> Answer:
        workload, phase = self._workload, self._phase
        indices = range(request.start, request.start + request.count)
        if not phase.healed:
            if any(index in workload.killers for index in indices):
                return Answer(dies=True)
            bad = [index for index in indices if index in workload.poison]
            if bad:
                return Answer(exception=f"bad item {bad[0]}")
        rows = workload.rows(request.start, request.count, phase)
        if workload.format is None:
            return Answer(len(rows))
        if workload.is_typed:
            names = workload.columns.split(",")
            encoder = make_encoder(output_format="parquet")
            encoded = encoder.encode([dict(zip(names, row.split(","), strict=True)) for row in rows], len(rows))
            return Answer(*encoded)
        header = f"{workload.columns}\n" if workload.columns else ""
        return Answer(len(rows), header.encode(), "".join(row + "\n" for row in rows).encode())

    def _dawdles(self, request: Request, worker: int) -> int:
        return self._workload.dawdling.get(request.start, 0) if request.attempt == 1 else 0

    def _succeeded(self, request: Request) -> None:
        self._shared.execute(request.start, request.count)
