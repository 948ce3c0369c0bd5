"""*growth*: time and the driver's memory against the number of items, mini-batches, workers, steps, and result size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks import data, process
from benchmarks.cases.common import Outcome
from benchmarks.commands import batchflow_command, timed, write_shell_steps
from benchmarks.entry import noop, sized
from benchmarks.options import Options
from benchmarks.values import Metric, Scenario, Task, Variant

LABEL = "growth"
WHOLE = Metric("whole", "time", "s", 1, 1.0)
EACH = Metric("each", "time of one item", "µs", 1, 1e6)
DRIVER = Metric("driver_memory", "driver's memory", "MiB", 1, 2.0**-20)
PLAN = Metric("plan", "plan alone", "s", 1, 1.0)
BYTES_MAX = 100_000_000
"""Of all results of one run, where the size of a result grows."""
ROW_SIZE = noop.NAME_LENGTH + 1
ROWS = "A parallel step with a `run()` that does next to nothing, from the folder to the output file. "
EXPLANATIONS = {
    "items": ROWS + "Mini-batches of 100.",
    "mini-batches": ROWS + "The same files in smaller and smaller mini-batches.",
    "bytes a result": ROWS + "One item a mini-batch; together at most 100 MB.",
    "workers": ROWS + "Mini-batches of 10.",
    "steps": "`batchflow run` as a command on shell steps that each wait for the one before, and the same with `-n`.",
}


def setup(options: Options) -> list[Scenario]:
    quick = options.quick
    counts = [1_000, 10_000] if quick else [1_000, 10_000, 100_000, 1_000_000]
    counts += [10_000_000] if options.big else []
    many = 10_000 if quick else 200_000
    sizes = [1_000, 10] if quick else [10_000, 1_000, 100, 10, 1]
    most = 1_000 if quick else 10_000
    row_sizes = [10, 10_000] if quick else [10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000]
    worker_counts = [1, 2] if quick else [1, 2, 4, 8]
    step_counts = [1, 10] if quick else [1, 3, 10, 30, 100, 300]
    files = options.data
    return [
        scenario(options, "items", [point(files, count, count, 100) for count in counts], (WHOLE, DRIVER)),
        scenario(options, "mini-batches", [point(files, many // size, many, size) for size in sizes], (WHOLE, DRIVER)),
        scenario(
            options,
            "bytes a result",
            [point(files, size, min(most, BYTES_MAX // size), 1, row_size=size) for size in row_sizes],
            (EACH, DRIVER),
        ),
        scenario(
            options,
            "workers",
            [point(files, count, many, 10, workers=count) for count in worker_counts],
            (WHOLE, DRIVER),
        ),
        scenario(options, "steps", [(count, {"steps": count}) for count in step_counts], (WHOLE, PLAN)),
    ]


def point(
    files: Path, place: int, items: int, size: int, *, row_size: int = 0, workers: int = 0
) -> tuple[int, dict[str, Any]]:
    """A place on the axis, and what is measured there; ``workers`` 0: as many as asked for on the command line."""
    folder = str(data.numbered_files(files, items))
    return place, {"folder": folder, "items": items, "size": size, "row_size": row_size, "workers": workers}


def scenario(
    options: Options, axis: str, points: Sequence[tuple[int, dict[str, Any]]], metrics: tuple[Metric, ...]
) -> Scenario:
    return Scenario(
        case=LABEL,
        title=axis,
        explanation=EXPLANATIONS[axis],
        metrics=metrics,
        workers=0 if axis in ("workers", "steps") else options.workers,
        shows_costs=False,
        axis=axis,
        variants=tuple(
            Variant("batchflow", label=f"{place:,}", settings=settings, place=place) for place, settings in points
        ),
        settings={"workers": options.workers},
    )


def run(task: Task) -> Outcome:
    settings = task.settings
    return run_commands(task) if "steps" in settings else run_step(task)


def run_step(task: Task) -> Outcome:
    from benchmarks.peers import batchflow

    settings = task.settings
    row_size = settings["row_size"]
    task = replace(
        task,
        folder=settings["folder"],
        item_count=settings["items"],
        mini_batch_size=settings["size"],
        script=str((sized if row_size else noop).__file__),
        arguments=("--size", str(row_size)) if row_size else (),
        workers=settings["workers"] or task.workers,
    )
    data.warm(Path(task.folder), contents=False)
    process.reset_peak()
    outcome = batchflow.run_step(task)
    expected = task.item_count * (row_size or ROW_SIZE)
    size = Path(task.output).stat().st_size
    return Outcome(
        outcome.seconds | {"each": outcome.seconds["dispatch"] / task.item_count},
        outcome.driver_cpu_s,
        figures={"driver_memory": process.peak()},
        complaint="" if size == expected else f"expected {expected} bytes, got {size}",
    )


def run_commands(task: Task) -> Outcome:
    folder, count = Path(task.scratch), task.settings["steps"]
    write_shell_steps(folder, count)
    plan_s = timed(batchflow_command(folder, "run", "-n", "workflow.toml"), folder).wall_s
    whole_s = timed(batchflow_command(folder, "run", "workflow.toml"), folder).wall_s
    made = sorted(path.read_text() for path in (folder / "out").iterdir())
    right = made == sorted(f"{number}\n" for number in range(count))
    return Outcome({"whole": whole_s, "plan": plan_s}, complaint="" if right else "wrong outputs")
