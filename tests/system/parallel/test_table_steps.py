"""Steps over tables in this process: what is left behind when they end, well or badly."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any

import pytest
from system.parallel.steps import Steps

from batchflow.control import StopLevel, StopRequest
from batchflow.errors import DatasetError, InterruptedRunError
from batchflow.model import Event, StepProgress
from batchflow.parallel.runner import run_parallel_step
from batchflow.parallel.values import OverInput, ParallelJob
from batchflow.tables.options import TableOptions

SCRIPT = "def run(mini_batch):\n    return [f'{row} {len(mini_batch)}' for row in mini_batch['id']]\n"


def table_job(steps: Steps, source: str = SCRIPT, **settings: Any) -> ParallelJob:
    folder = steps.folder / "tables"
    folder.mkdir(parents=True, exist_ok=True)
    for file in range(3):
        (folder / f"{file}.csv").write_text("id,k\n" + "".join(f"{100 * file + row},{row % 2}\n" for row in range(50)))
    keys: dict[str, Any] = {"mini_batch_size": 20, "mini_batch_unit": "rows"} | settings
    over = OverInput("rows", (f"{folder}/*.csv",), table=TableOptions("csv"))
    return replace(steps.job(source, **keys), inputs=(over,))


def ignore(event: Event) -> None:
    """Nothing is to be known."""


def test_a_step_over_a_table_leaves_its_rows_and_nothing_else(steps: Steps) -> None:
    receipt = run_parallel_step(table_job(steps), on_event=ignore, stop=StopRequest())
    assert (receipt.items_in, receipt.mini_batches, receipt.rows_out) == (150, 9, 150)
    sizes = [20] * 40 + [10] * 10
    rows = [f"{100 * file + row} {sizes[row]}" for file in range(3) for row in range(50)]
    assert (steps.folder / "rows.partial").read_text().splitlines() == rows


def test_so_does_one_by_keys(steps: Steps) -> None:
    job = table_job(steps, partition_keys=("k",), items="any")
    receipt = run_parallel_step(job, on_event=ignore, stop=StopRequest())
    assert (receipt.items_in, receipt.mini_batches) == (150, 2)
    assert not list((steps.folder / "state").glob("*.keys"))


def test_a_table_that_is_refused_leaves_nothing(steps: Steps) -> None:
    job = table_job(steps)
    (steps.folder / "tables/1.csv").write_text("id,other\n1,2\n")
    with pytest.raises(DatasetError, match=r"1\.csv has another header"):
        run_parallel_step(job, on_event=ignore, stop=StopRequest())


@pytest.mark.parametrize("note", ["finding rows", "sorting rows by their keys"])
def test_a_run_that_is_stopped_while_rows_are_looked_for_ends_at_once(steps: Steps, note: str) -> None:
    job = table_job(steps, partition_keys=("k",), items="any")
    stop, told = StopRequest(), threading.Event()

    def stop_then(event: Event) -> None:
        if isinstance(event, StepProgress) and event.note == note:
            stop.request(StopLevel.DRAIN)
            told.set()

    with pytest.raises(InterruptedRunError, match=r"^stopped while looking "):
        run_parallel_step(job, on_event=stop_then, stop=stop)
    assert told.is_set()
