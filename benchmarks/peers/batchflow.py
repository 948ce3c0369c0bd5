"""batchflow itself: the parallel step as ``batchflow run`` runs it, and ``batchflow.map``.

Not of the other peers' shape: listing, dispatch and output are what batchflow does itself.
"""

from __future__ import annotations

import time
from pathlib import Path

from batchflow.control import StopRequest
from batchflow.cpus import available_cpus
from batchflow.parallel.runner import run_parallel_step
from batchflow.parallel.values import OverInput, ParallelJob
from batchflow.workflow.values import ParallelSettings
from benchmarks.cases.common import Outcome, own_cpu_s
from benchmarks.values import Task


def run_step(task: Task) -> Outcome:
    """The folder's files through the entry script into the output file; the phases are the step's own timings.

    Its listing records the size and modification time of every file.
    """
    job = make_job(task)
    clock = CpuClock() if task.watched else None
    begin = time.perf_counter()
    receipt = run_parallel_step(job, on_event=lambda event: None, stop=StopRequest(), clock=clock)
    whole = time.perf_counter() - begin
    timings = receipt.details["timings"]
    cpu_s = clock.cpu_s(timings["list"] + timings["start"], timings["dispatch"]) if clock is not None else 0.0
    return Outcome({**timings, "whole": whole}, cpu_s)


class CpuClock:
    """The machine's clock, which notes what CPU time this process had used at every look; too dear for timed runs."""

    def __init__(self) -> None:
        self._looks: list[tuple[float, float]] = []

    def monotonic(self) -> float:
        now_s = time.monotonic()
        self._looks.append((now_s, own_cpu_s()))
        return now_s

    def cpu_s(self, after_s: float, length_s: float) -> float:
        """CPU time used in the ``length_s`` that began ``after_s`` past the first look, to the nearest looks."""
        begin_s = self._looks[0][0] + after_s
        inside = [cpu for now_s, cpu in self._looks if begin_s - 1e-6 <= now_s <= begin_s + length_s + 1e-6]
        return inside[-1] - inside[0]


def make_job(task: Task) -> ParallelJob:
    script, state_folder = Path(task.script), Path(task.scratch) / "state"
    state_folder.mkdir()
    settings = ParallelSettings(
        entry_script=script,
        source_directory=script.parent,
        over=("items",),
        mini_batch_size=task.mini_batch_size,
        append_row_to="rows",
        output_format=task.output_format,
        arguments=task.arguments,
        workers=task.workers,
        durability=task.settings.get("durability", "full"),
        order=task.settings.get("order", "input"),
    )
    return ParallelJob(
        step=task.case,
        run_id="benchmark",
        settings=settings,
        arguments=task.arguments,
        inputs=(OverInput("items", (f"{task.folder}/",)),),
        folder=Path(task.scratch),
        state_folder=state_folder,
        output_path=Path(task.output),
        output_name=task.output,
        output_folder=None,
        workers=task.workers,
        cores=available_cpus(),
    )


def run_map(task: Task, items: list[str]) -> tuple[Outcome, list[str]]:
    """``batchflow.map`` with the no-op as the function; its results as one list.

    ``start`` lasts until the first result: at most a few mini-batches have been called by then.
    """
    import batchflow
    from benchmarks.entry import noop

    cpu_s = own_cpu_s()
    begin = time.perf_counter()
    results = batchflow.map(noop.run, items, mini_batch_size=task.mini_batch_size, workers=task.workers)
    everything = [next(results)]
    started = time.perf_counter()
    everything.extend(results)
    end = time.perf_counter()
    seconds = {"start": started - begin, "dispatch": end - started, "whole": end - begin}
    return Outcome(seconds, own_cpu_s() - cpu_s), everything
