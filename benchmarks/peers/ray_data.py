"""Ray Data: ``map_batches`` with a class, which runs in a pool of actors; a batch is a mini-batch.

A block, the unit that Ray schedules, is a bundle of mini-batches.  The actors start with the execution: they wait for
each other, and the clock starts when the last one is ready.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow
import ray.data

from benchmarks.peers.base import Setting, bundles, call, load, meet, pack, unpack
from benchmarks.peers.ray_actors import start_ray, stop_ray

TASKS_UNDER_WAY = 4
"""For each actor."""


class Scorer:
    def __init__(self, setting: Setting, folder: str) -> None:
        self._format = setting.output_format
        load(setting.script, setting.arguments)
        number = meet(folder, setting.workers)
        Path(folder, f"{number}").write_text(repr(time.perf_counter()))

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[str]]:
        return {"row": pack(call(batch["path"].tolist()), self._format)}


class Peer:
    def __init__(self, setting: Setting) -> None:
        self._setting = setting
        self._chunk = int(setting.chunk or 1)
        self._meeting = tempfile.TemporaryDirectory()

    @property
    def ready_s(self) -> float:
        return max(float(path.read_text()) for path in Path(self._meeting.name).iterdir())

    def start(self) -> None:
        self._folder = start_ray(self._setting.workers)
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        context.execution_options.preserve_order = True

    def results(self, mini_batches: Iterable[list[str]], count: int) -> Iterator[list[Any]]:
        setting = self._setting
        everything = list(mini_batches)
        blocks = [
            pyarrow.table({"path": list(chain.from_iterable(bundle))}) for bundle in bundles(everything, self._chunk)
        ]
        dataset = ray.data.from_arrow(blocks).map_batches(
            Scorer,
            batch_size=len(everything[0]),
            compute=ray.data.ActorPoolStrategy(size=setting.workers, max_tasks_in_flight_per_actor=TASKS_UNDER_WAY),
            fn_constructor_args=(setting, self._meeting.name),
            num_cpus=1,
        )
        for rows in dataset.iter_batches(batch_size=None, batch_format="pyarrow"):
            yield unpack(rows["row"].to_pylist(), setting.output_format)

    def close(self) -> None:
        stop_ray(self._folder)
        self._meeting.cleanup()
