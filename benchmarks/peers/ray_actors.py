"""Ray actors: one for each worker, kept busy by ``ray.util.ActorPool.map``, which gives results in input order.

The pool gives an actor one call at a time; each actor is in it several times, so that the next call is there already
when one ends (Ray's pattern of pipelining).  A call is a bundle of mini-batches, as Ray advises against small tasks.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from typing import Any

import ray
from ray.util import ActorPool

from benchmarks.peers.base import Setting, bundles, call_all, load

CALLS_UNDER_WAY = 4
"""For each actor."""
OBJECT_STORE_BYTES = 256 << 20


class Worker:
    def __init__(self, script: str, arguments: tuple[str, ...]) -> None:
        load(script, arguments)

    def ready(self) -> None:
        """Answers when ``init()`` has returned."""

    def call_all(self, mini_batches: list[list[str]]) -> list[list[str]]:
        return call_all(mini_batches)


def start_ray(workers: int) -> str:
    """Start Ray on this machine, alone and quiet; returns the folder of its files."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    folder = tempfile.mkdtemp(prefix="ray")
    ray.init(
        num_cpus=workers,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="error",
        object_store_memory=OBJECT_STORE_BYTES,
        _temp_dir=folder,
    )
    return folder


def stop_ray(folder: str) -> None:
    ray.shutdown()
    shutil.rmtree(folder, ignore_errors=True)


class Peer:
    def __init__(self, setting: Setting) -> None:
        self._setting = setting
        self._chunk = int(setting.chunk or 1)

    def start(self) -> None:
        setting = self._setting
        self._folder = start_ray(setting.workers)
        remote: Any = ray.remote(num_cpus=1)(Worker)
        self._actors = [remote.remote(setting.script, setting.arguments) for _ in range(setting.workers)]
        ray.get([actor.ready.remote() for actor in self._actors])

    def results(self, mini_batches: Iterable[list[str]], count: int) -> Iterator[list[str]]:
        pool = ActorPool(self._actors * CALLS_UNDER_WAY)
        for bundle in pool.map(lambda actor, one: actor.call_all.remote(one), bundles(mini_batches, self._chunk)):
            yield from bundle

    def close(self) -> None:
        stop_ray(self._folder)
