"""*mnist*: images as PNG files scored by a TensorFlow model: decode, predict, one row for each image.

Ratios are only ever taken within one model, and the table names it.
"""

from __future__ import annotations

from dataclasses import replace

from benchmarks import models
from benchmarks.cases.common import Outcome, list_names, run_to_file
from benchmarks.options import Options
from benchmarks.peers import HEAVY
from benchmarks.values import Expectation, Metric, Scenario, Task, Variant

LABEL = "mnist"
EXPLANATION = (
    "Steady state: from the first mini-batch handed out, every worker initialised, to the last byte of the output "
    "file. Whole command: from the start of the process to its end, importing TensorFlow included. Same images, same "
    "model, same `run()` on every side; `static` gives each process its half before it starts and dispatches nothing."
)
TUNED_EXPLANATION = (
    "What the same answers cost at least: images decoded without Pillow, the network as three matrix products of "
    "NumPy, no TensorFlow. Beside it one process with the tutorials' `run()`, which calls the session for each image."
)
FORMS = {"together": "one call of the model a mini-batch", "one by one": "one call of the model an image"}
BASE = ("loop", "static", "pool", "batchflow")
"""Measured at every size; the other peers only where ``CHUNKS`` has the size, the heavy ones only *together*."""
ONE_BY_ONE = ("loop", "static", "pool", "executor", "joblib", "mpire", "batchflow")
TUNED = ("loop", "static", "pool", "joblib", "mpire", "batchflow")
TOGETHER = ("loop", "static", "pool", "executor", "joblib", "mpire", *HEAVY, "batchflow")
SIZES = (5, 10, 25, 100, 500)
CHUNKS = {10: (4, 16, 64), 100: (2, 8)}
QUICK = ("static", "batchflow")
TUNED_SIZE = 100


def setup(options: Options) -> list[Scenario]:
    """Both forms at every size, and the tuned example where its network is the model; quick: one form at one size."""
    material = models.material(options)
    if options.quick:
        found = [scenario(options, material, "together", 100)]
    else:
        found = [scenario(options, material, form, size) for form in FORMS for size in SIZES]
    weights = models.weights(options)
    return found if weights is None else [*found, tuned(options, material, weights)]


def scenario(options: Options, material: models.Material, form: str, size: int) -> Scenario:
    """All images in mini-batches of ``size``; ``form`` is one of ``FORMS``."""
    peers = {"together": TOGETHER, "one by one": ONE_BY_ONE}[form] if size in CHUNKS else BASE
    if options.quick and options.peers is None:
        peers = QUICK
    if form == "one by one":
        material = one_by_one(material)
    return _scenario(options, material, size, FORMS[form], peers)


def one_by_one(material: models.Material) -> models.Material:
    """The same model, called as the tutorials call it."""
    return replace(material, script=models.ONE_BY_ONE_SCRIPT, arguments=(str(material.script), *material.arguments))


def tuned(options: Options, material: models.Material, weights: str) -> Scenario:
    """The tutorials' network without TensorFlow, beside the tutorials' own loop in one process."""
    tutorial = one_by_one(material)
    fast = replace(material, script=models.TUNED_SCRIPT, arguments=(weights,))
    plain = Variant(
        "loop",
        label="the tutorials' run()",
        settings={"script": str(tutorial.script), "arguments": list(tutorial.arguments)},
    )
    return replace(
        _scenario(options, fast, TUNED_SIZE, "tuned", TUNED),
        explanation=f"{EXPLANATION} {TUNED_EXPLANATION}",
        variants=(plain,),
    )


def _scenario(options: Options, material: models.Material, size: int, form: str, peers: tuple[str, ...]) -> Scenario:
    count = len(material.labels)
    chunks = tuple(chunk for chunk in CHUNKS.get(size, ()) if chunk * options.workers * size <= count)
    return Scenario(
        case=LABEL,
        title=f"{count:,} images, mini-batches of {size:,}, {form}, {material.model}",
        explanation=EXPLANATION,
        folder=str(material.folder),
        item_count=count,
        mini_batch_size=size,
        script=str(material.script),
        arguments=material.arguments,
        output_format=material.output_format,
        workers=options.workers,
        peers=options.chosen(peers),
        chunks=chunks[:1] if options.quick else chunks,
        metrics=(
            Metric("dispatch", "steady state", "µs per image", count, 1e6),
            Metric("command", "whole command", "s", 1, 1.0),
        ),
        expectation=Expectation(count, labels=material.labels, correct_min=material.correct_min),
        model=material.model,
        tuning_key=f"{material.model} {form} {size}",
    )


def run(task: Task) -> Outcome:
    if "script" in task.settings:
        task = replace(task, script=task.settings["script"], arguments=tuple(task.settings["arguments"]))
    if task.peer == "batchflow":
        from benchmarks.peers import batchflow

        return batchflow.run_step(task)
    return run_to_file(task, list_names)
