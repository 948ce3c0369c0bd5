"""*directory*: from a folder to the output file, listing included, with a ``run()`` that does next to nothing."""

from __future__ import annotations

from benchmarks.cases import noop
from benchmarks.cases.common import Outcome, list_manifest, run_to_file
from benchmarks.options import Options
from benchmarks.values import Scenario, Task

LABEL = "directory"
EXPLANATION = (
    "The whole: workers started, the folder listed with size and mtime of every file recorded, every mini-batch "
    "called, the output file written, the workers gone. Peers list with `os.scandir` and `DirEntry.stat`."
)
METRICS = [("whole", "whole call")]


def setup(options: Options) -> list[Scenario]:
    return [
        noop.scenario(
            options, LABEL, "directory → output file", EXPLANATION, metrics=[("whole", "whole call")], size=10
        )
    ]


def run(task: Task) -> Outcome:
    if task.peer == "batchflow":
        from benchmarks.peers import batchflow

        return batchflow.run_step(task)
    return run_to_file(task, lambda folder: list_manifest(folder)[0])
