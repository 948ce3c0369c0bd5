"""*gather*: megabytes that are ready in the workers into one file of the driver's."""

from __future__ import annotations

import multiprocessing
import os
import time
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
    "pickled to a parent that writes them. Before each run as many bytes are written and removed, so that every side "
    "finds memory for its pages that the machine has at hand."
)
ROW_SIZE = len(megabyte.ROW) + 1
OURS = (
    ("process", "process", "input"),
    ("process, as they come", "process", "completion"),
    ("full", "full", "input"),
    ("full, as they come", "full", "completion"),
)
WAYS = ("write() only", "write() and fdatasync", "Pool, pickled")


def setup(options: Options) -> list[Scenario]:
    count = 100 if options.quick else 1_000
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
    warm_memory(output, task.item_count)
    if task.peer == "batchflow":
        from benchmarks.peers import batchflow

        outcome = batchflow.run_step(task)
        seconds = outcome.seconds["dispatch"] + outcome.seconds["finish"]
        outcome = Outcome(outcome.seconds | {"gather": seconds}, outcome.driver_cpu_s)
    else:
        before_s = own_cpu_s()
        seconds = gather_by_pool(task) if task.peer == "Pool" else write_only(task, sync="fdatasync" in task.peer)
        outcome = Outcome({"gather": seconds}, own_cpu_s() - before_s)
    return Outcome(outcome.seconds, outcome.driver_cpu_s, complaint=complaint(output, task.item_count))


def warm_memory(output: Path, count: int) -> None:
    """Have as much memory for pages of files as the output will take.

    A virtual machine gives free memory back to its host after some seconds, and to fetch a page again takes several
    times as long as to write it: without this the sides would be measured by how long ago the one before them ended.
    """
    with output.open("wb", buffering=0) as file:
        for _ in range(count):
            file.write((megabyte.ROW + "\n").encode())
    output.unlink()


def write_only(task: Task, *, sync: bool) -> float:
    row = (megabyte.ROW + "\n").encode()
    with Path(task.output).open("wb", buffering=0) as file:
        since_s = time.perf_counter()
        for _ in range(task.item_count):
            file.write(row)
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
    row = (megabyte.ROW + "\n").encode()
    with output.open("rb") as file:
        wrong = sum(file.read(ROW_SIZE) != row for _ in range(count))
    return f"{wrong} rows are not the expected ones" if wrong else ""
