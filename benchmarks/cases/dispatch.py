"""*dispatch*: from a listed dataset to the output file, with a ``run()`` that does next to nothing."""

from __future__ import annotations

from benchmarks.cases import noop
from benchmarks.cases.common import Outcome, list_names, run_to_file
from benchmarks.options import Options
from benchmarks.values import Scenario, Task

LABEL = "dispatch"
EXPLANATION = (
    "The clock starts when the listing is ready and every worker initialised (batchflow: packed in shared memory; "
    "peers: a Python list) and ends with the last byte of the output file; `run()` gets 10 path strings and returns "
    "their last 12 characters. The mini-batches of 10,000 split the cost into a · items + b · mini-batches."
)
METRICS = [("dispatch", "time")]


def setup(options: Options) -> list[Scenario]:
    sizes = (10, 10_000) if options.mini_batches >= 2_000 else (10,)
    return [
        noop.scenario(
            options, LABEL, "listed dataset → output file", EXPLANATION, metrics=[("dispatch", "time")], size=size
        )
        for size in sizes
    ]


def run(task: Task) -> Outcome:
    if task.peer == "batchflow":
        from benchmarks.peers import batchflow

        return batchflow.run_step(task)
    return run_to_file(task, list_names)
