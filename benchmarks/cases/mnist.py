"""*mnist*: images as PNG files scored by a TensorFlow model: decode, predict, one row for each image.

Ratios are only ever taken within one model, and the table names it.
"""

from __future__ import annotations

from benchmarks import models
from benchmarks.cases.common import Outcome, list_names, run_to_file
from benchmarks.options import Options
from benchmarks.values import Expectation, Metric, Scenario, Task

LABEL = "mnist"
EXPLANATION = (
    "Steady state: from the first mini-batch handed out, every worker initialised, to the last byte of the output "
    "file. Whole command: from the start of the process to its end, importing TensorFlow included. Same images, same "
    "model, same `run()` on every side; `static` gives each process its half before it starts and dispatches nothing."
)
PEERS = ("loop", "static", "pool", "executor", "joblib", "batchflow")
CHUNKS = {10: (4, 16, 64), 100: (2, 8)}


def setup(options: Options) -> list[Scenario]:
    material = models.material(options)
    return [scenario(options, material, size) for size in CHUNKS]


def scenario(options: Options, material: models.Material, size: int) -> Scenario:
    """All images in mini-batches of ``size``."""
    count = len(material.labels)
    chunks = tuple(chunk for chunk in CHUNKS[size] if chunk * options.workers * size <= count)
    return Scenario(
        case=LABEL,
        title=f"{count:,} images, mini-batches of {size:,}, {material.model}",
        explanation=EXPLANATION,
        folder=str(material.folder),
        item_count=count,
        mini_batch_size=size,
        script=str(material.script),
        arguments=material.arguments,
        output_format=material.output_format,
        workers=options.workers,
        peers=options.chosen(PEERS),
        chunks=chunks[:1] if options.quick else chunks,
        metrics=(
            Metric("dispatch", "steady state", "µs per image", count, 1e6),
            Metric("command", "whole command", "s", 1, 1.0),
        ),
        expectation=Expectation(count, labels=material.labels, correct_min=material.correct_min),
        model=material.model,
        tuning_key=f"{material.model} {size}",
    )


def run(task: Task) -> Outcome:
    if task.peer == "batchflow":
        from benchmarks.peers import batchflow

        return batchflow.run_step(task)
    return run_to_file(task, list_names)
