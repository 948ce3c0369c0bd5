"""*memory*: lists in, lists out, with a function that does next to nothing; ``batchflow.map`` against the peers."""

from __future__ import annotations

import time
from pathlib import Path

from benchmarks.cases import noop
from benchmarks.cases.common import Outcome, list_names, make_peer, own_cpu_s, partition
from benchmarks.options import Options
from benchmarks.values import Scenario, Task

LABEL = "memory"
EXPLANATION = (
    "A Python list of paths in, a Python list of results out, nothing on disk. Steady state: from the pool warm "
    "(`batchflow.map`, which is one call: from the first result, before which a few mini-batches have been called) to "
    "the last result. Whole call: workers started and ended too."
)


def setup(options: Options) -> list[Scenario]:
    metrics = (("dispatch", "steady state"), ("whole", "whole call"))
    return [noop.scenario(options, LABEL, "lists in, lists out", EXPLANATION, metrics=metrics, size=10)]


def run(task: Task) -> Outcome:
    items = list_names(task.folder)
    if task.peer == "batchflow":
        from benchmarks.peers import batchflow

        outcome, results = batchflow.run_map(task, items)
    else:
        outcome, results = run_peer(task, items)
    Path(task.output).write_text("".join(f"{result}\n" for result in results))
    return outcome


def run_peer(task: Task, items: list[str]) -> tuple[Outcome, list[str]]:
    """The results are gathered on the clock and written down, to be checked, after it."""
    peer = make_peer(task)
    begin = time.perf_counter()
    cpu_s = own_cpu_s()
    peer.start()
    started = time.perf_counter()
    results: list[str] = []
    for rows in peer.results(partition(items, task.mini_batch_size), -(-len(items) // task.mini_batch_size)):
        results.extend(rows)
    dispatched = time.perf_counter()
    peer.close()
    end = time.perf_counter()
    seconds = {"start": started - begin, "dispatch": dispatched - started, "whole": end - begin}
    return Outcome(seconds, own_cpu_s() - cpu_s), results
