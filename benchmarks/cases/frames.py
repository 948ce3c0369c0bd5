"""*frames*: DataFrames that are ready in the workers into one csv file of the driver's."""

from __future__ import annotations

import io
import mmap
import multiprocessing
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks import data
from benchmarks.cases.common import Outcome, own_cpu_s
from benchmarks.entry import frames
from benchmarks.entry.megabyte import have_memory
from benchmarks.options import Options
from benchmarks.values import Metric, Scenario, Task, Variant

LABEL = "frames"
TITLES = {"plain": "integers and strings without quotes", "numbers": "floats, truth and quotes, too"}
EXPLANATION = (
    "Each item's result is a DataFrame, a megabyte of csv, that is ready in the worker. The clock starts when every "
    "worker is initialised and ends when the file is complete. batchflow writes the bytes of `to_csv`, in its workers, "
    "with journal and commits. The other sides write no journal: `write_csv` is pyarrow's, which quotes every string "
    "and writes numbers its own way, `to_csv` pandas'; in the workers, whose bytes lie in shared memory that the "
    "parent writes from, or in the parent, to which the frames come pickled, or as Arrow in shared memory."
)
OURS = ("process", "full")
SLOT_SIZE = 8 << 20
SLOTS = 2
"""For each worker."""


def setup(options: Options) -> list[Scenario]:
    count = 30 if options.quick else 400
    ours = tuple(Variant("batchflow", label=label, settings={"durability": label}) for label in OURS)
    return [
        Scenario(
            case=LABEL,
            title=title,
            explanation=EXPLANATION,
            metrics=(Metric("gather", "time", "ms per frame", count, 1e3),),
            workers=options.workers,
            folder=str(data.numbered_files(options.data, count)),
            item_count=count,
            script=frames.__file__,
            arguments=(kind,),
            output_format="csv",
            variants=(*ours, *(Variant(way) for way in WAYS)),
            settings={"kind": kind},
        )
        for kind, title in TITLES.items()
    ]


def run(task: Task) -> Outcome:
    output, kind = Path(task.output), task.settings["kind"]
    frame = frames.make(kind)
    if task.peer == "batchflow":
        from benchmarks.peers import batchflow

        memory = task.scratch, str(-(-task.item_count // task.workers))
        outcome = batchflow.run_step(replace(task, arguments=(kind, *memory)))
        seconds = outcome.seconds["dispatch"] + outcome.seconds["finish"]
        outcome = Outcome(outcome.seconds | {"gather": seconds}, outcome.driver_cpu_s)
        complaint = bytes_complaint(output, frame, task.item_count)
    else:
        before_s = own_cpu_s()
        outcome = Outcome({"gather": WAYS[task.peer](task)}, own_cpu_s() - before_s)
        complaint = rows_complaint(output, len(frame) * task.item_count)
    return Outcome(outcome.seconds, outcome.driver_cpu_s, complaint=complaint)


def bytes_complaint(output: Path, frame: Any, count: int) -> str:
    """Why the file is not what ``to_csv`` writes; empty where it is."""
    rows = frame.to_csv(index=False, header=False).encode()
    with output.open("rb") as file:
        header = file.readline()
        right = header + rows == frame.to_csv(index=False).encode()
        right = right and all(file.read(len(rows)) == rows for _ in range(count)) and not file.read(1)
    return "" if right else "it is not what to_csv writes"


def rows_complaint(output: Path, count: int) -> str:
    """Why the file is not ``count`` lines; empty where it is."""
    with output.open("rb") as file:
        found = sum(line.endswith(b"\n") for line in file)
    return "" if found == count else f"expected {count} rows, got {found}"


# What is made of a frame


def to_csv(frame: Any) -> bytes:
    return bytes(frame.to_csv(index=False, header=False).encode())


def write_csv(frame: Any) -> bytes:
    import pyarrow
    from pyarrow import csv

    table = frame if isinstance(frame, pyarrow.Table) else pyarrow.Table.from_pandas(frame, preserve_index=False)
    buffer = io.BytesIO()
    csv.write_csv(table, buffer, csv.WriteOptions(include_header=False))
    return buffer.getvalue()


def to_arrow(frame: Any) -> bytes:
    import pyarrow

    table = pyarrow.Table.from_pandas(frame, preserve_index=False)
    buffer = io.BytesIO()
    with pyarrow.ipc.new_stream(buffer, table.schema) as stream:
        stream.write_table(table)
    return buffer.getvalue()


def arrow_to_csv(content: memoryview) -> bytes:
    import pyarrow

    with pyarrow.ipc.open_stream(pyarrow.py_buffer(content)) as stream:
        return write_csv(stream.read_all())


# How it comes to the parent


def by_pool(task: Task, write: Callable[[Any], bytes]) -> float:
    """The frames come pickled."""
    sys.argv = ["frames", task.settings["kind"]]
    context = multiprocessing.get_context("fork")
    with context.Pool(task.workers, frames.init) as pool, Path(task.output).open("wb", buffering=0) as file:
        pool.map(len, ["x"] * task.workers, 1)
        have_memory(Path(task.scratch), task.item_count)
        since_s = time.perf_counter()
        for frame in pool.imap(frames.run, [[str(number)] for number in range(task.item_count)]):
            file.write(write(frame))
        return time.perf_counter() - since_s


def by_shared_memory(task: Task, make: Callable[[Any], bytes], write: Callable[[memoryview], Any]) -> float:
    """Each worker has some slots of shared memory; the parent takes them in the order of the items."""
    context = multiprocessing.get_context("fork")
    memory = [mmap.mmap(-1, SLOT_SIZE * SLOTS) for _ in range(task.workers)]
    sizes = [context.Array("q", SLOTS, lock=False) for _ in memory]
    free = [context.Semaphore(SLOTS) for _ in memory]
    full = [context.Semaphore(0) for _ in memory]
    begin = context.Barrier(task.workers + 1)

    def work(worker: int) -> None:
        frame = frames.make(task.settings["kind"])
        make(frame)  # imports what it needs
        begin.wait()
        for turn in range(len(range(worker, task.item_count, task.workers))):
            free[worker].acquire()
            content, slot = make(frame), turn % SLOTS
            memory[worker][slot * SLOT_SIZE : slot * SLOT_SIZE + len(content)] = content
            sizes[worker][slot] = len(content)
            full[worker].release()

    workers = [context.Process(target=work, args=(worker,)) for worker in range(task.workers)]
    for process in workers:
        process.start()
    with Path(task.output).open("wb", buffering=0) as file:
        have_memory(Path(task.scratch), task.item_count)
        begin.wait()
        since_s = time.perf_counter()
        for number in range(task.item_count):
            worker, slot = number % task.workers, number // task.workers % SLOTS
            full[worker].acquire()
            start = slot * SLOT_SIZE
            with memoryview(memory[worker])[start : start + sizes[worker][slot]] as content:
                file.write(write(content))
            free[worker].release()
        seconds = time.perf_counter() - since_s
    for process in workers:
        process.join()
    return seconds


WAYS: dict[str, Callable[[Task], float]] = {
    "write_csv in the workers": lambda task: by_shared_memory(task, write_csv, lambda content: content),
    "to_csv in the workers": lambda task: by_shared_memory(task, to_csv, lambda content: content),
    "Arrow, write_csv in the parent": lambda task: by_shared_memory(task, to_arrow, arrow_to_csv),
    "Pool, write_csv in the parent": lambda task: by_pool(task, write_csv),
    "Pool, to_csv in the parent": lambda task: by_pool(task, to_csv),
}
