"""batchflow itself: the parallel step as ``batchflow run`` runs it, and ``batchflow.map``.

Not of the other peers' shape: listing, dispatch and output are what batchflow does itself.
"""

from __future__ import annotations

import time
from pathlib import Path

from batchflow.control import StopRequest
from batchflow.cpus import available_cpus
from batchflow.data import list_files
from batchflow.parallel.runner import run_parallel_step
from batchflow.parallel.values import ParallelJob
from batchflow.workflow.values import ParallelSettings
from benchmarks.cases.common import Outcome, own_cpu_s
from benchmarks.peers.base import entry_function, load
from benchmarks.values import Task


def run_step(task: Task, *, manifest: bool = False) -> Outcome:
    """The folder's files through the entry script into the output file; the phases are the step's own timings.

    ``manifest``: record size and modification time of every file first, as ``batchflow run`` does before a step.
    """
    job = make_job(task)
    cpu_s = own_cpu_s()
    begin = time.perf_counter()
    if manifest:
        list_files(job.patterns, stat=True)
    receipt = run_parallel_step(job, on_event=lambda event: None, stop=StopRequest())
    whole = time.perf_counter() - begin
    return Outcome({**receipt.details["timings"], "whole": whole}, own_cpu_s() - cpu_s)


def make_job(task: Task) -> ParallelJob:
    script, state_folder = Path(task.script), Path(task.scratch) / "state"
    state_folder.mkdir()
    settings = ParallelSettings(
        entry_script=script,
        source_directory=script.parent,
        over="items",
        mini_batch_size=task.mini_batch_size,
        append_row_to="rows",
        output_format=task.output_format,
        arguments=task.arguments,
        workers=task.workers,
    )
    return ParallelJob(
        step=task.case,
        run_id="benchmark",
        settings=settings,
        arguments=task.arguments,
        patterns=(f"{task.folder}/",),
        folder=Path(task.scratch),
        state_folder=state_folder,
        output_path=Path(task.output),
        output_name=task.output,
        output_folder=None,
        workers=task.workers,
        cores=available_cpus(),
    )


def run_map(task: Task, items: list[str]) -> tuple[Outcome, list[str]]:
    """``batchflow.map`` with the entry script's ``run`` as the function; its results as one list."""
    import batchflow

    load(task.script, task.arguments)
    function = entry_function()
    cpu_s = own_cpu_s()
    begin = time.perf_counter()
    results = list(batchflow.map(function, items, mini_batch_size=task.mini_batch_size, workers=task.workers))
    whole = time.perf_counter() - begin
    return Outcome({"whole": whole}, own_cpu_s() - cpu_s), results
