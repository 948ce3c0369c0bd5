"""*gather*: megabytes that are ready in the workers into one file of the driver's."""

from __future__ import annotations

import multiprocessing
import os
import time
from dataclasses import replace
from pathlib import Path

from benchmarks import data
from benchmarks.cases.common import Outcome, own_cpu_s
from benchmarks.entry import megabyte
from benchmarks.options import Options
from benchmarks.values import Metric, Scenario, Task, Variant

LABEL = "gather"
EXPLANATION = (
    "Each item's result is a row of 1 MB that is ready in the worker. The clock starts when every worker is "
    "initialised and ends when the file is complete: batchflow with its journal and commits, `process` (kept when "
    "processes die) and `full` (synced, kept when the machine dies, too), its workers ended; rows in the order of the "
    "items, or as they come. `write() only` is one process that writes the same bytes: the limit. Pool sends them "
    "pickled to a parent that writes them. At the last moment before the clock starts as many bytes are written and "
    "removed (batchflow: by `init()`), so that every side finds memory for its pages that the machine has at hand."
)
ROW_SIZE = len(megabyte.BYTES)
COUNT = 400
"""Megabytes: some virtual machines give memory back at once when a gigabyte of it is free."""
OURS = (
    ("process", "process", "input"),
    ("process, as they come", "process", "completion"),
    ("full", "full", "input"),
    ("full, as they come", "full", "completion"),
)
WAYS = ("write() only", "write() and fdatasync", "Pool, pickled")


def setup(options: Options) -> list[Scenario]:
    count = 100 if options.quick else COUNT
    ours = tuple(
        Variant("batchflow", label=label, settings={"durability": durability, "order": order})
        for label, durability, order in OURS
    )
    return [
        Scenario(
            case=LABEL,
            title="results of 1 MB into one file",
            explanation=EXPLANATION,
            metrics=(Metric("gather", "time", "ms per MB", count, 1e3),),
            workers=options.workers,
            folder=str(data.numbered_files(options.data, count)),
            item_count=count,
            script=megabyte.__file__,
            variants=(*ours, *(Variant(way.partition(", ")[0], label=way.partition(", ")[2]) for way in WAYS)),
        )
    ]


def run(task: Task) -> Outcome:
    output = Path(task.output)
    if task.peer == "batchflow":
        from benchmarks.peers import batchflow

        outcome = batchflow.run_step(replace(task, arguments=(task.scratch, str(-(-task.item_count // task.workers)))))
        seconds = outcome.seconds["dispatch"] + outcome.seconds["finish"]
        outcome = Outcome(outcome.seconds | {"gather": seconds}, outcome.driver_cpu_s)
    else:
        before_s = own_cpu_s()
        seconds = gather_by_pool(task) if task.peer == "Pool" else write_only(task, sync="fdatasync" in task.peer)
        outcome = Outcome({"gather": seconds}, own_cpu_s() - before_s)
    return Outcome(outcome.seconds, outcome.driver_cpu_s, complaint=complaint(output, task.item_count))


def write_only(task: Task, *, sync: bool) -> float:
    with Path(task.output).open("wb", buffering=0) as file:
        megabyte.have_memory(Path(task.scratch), task.item_count)
        since_s = time.perf_counter()
        for _ in range(task.item_count):
            file.write(megabyte.BYTES)
        if sync:
            os.fdatasync(file.fileno())
        return time.perf_counter() - since_s


def gather_by_pool(task: Task) -> float:
    items = [[str(number)] for number in range(task.item_count)]
    with (
        multiprocessing.get_context("fork").Pool(task.workers) as pool,
        Path(task.output).open("wb", buffering=0) as file,
    ):
        pool.map(len, ["x"] * task.workers, 1)
        megabyte.have_memory(Path(task.scratch), task.item_count)
        since_s = time.perf_counter()
        for rows in pool.imap(ready_bytes, items):
            file.write(rows)
        return time.perf_counter() - since_s


def ready_bytes(mini_batch: list[str]) -> bytes:
    return "\n".join([*megabyte.run(mini_batch), ""]).encode()


def complaint(output: Path, count: int) -> str:
    """Why the file is not ``count`` rows; empty where it is."""
    size = output.stat().st_size
    if size != count * ROW_SIZE:
        return f"expected {count * ROW_SIZE} bytes, got {size}"
    with output.open("rb") as file:
        wrong = sum(file.read(ROW_SIZE) != megabyte.BYTES for _ in range(count))
    return f"{wrong} rows are not the expected ones" if wrong else ""
