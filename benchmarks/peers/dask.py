"""Dask: a ``LocalCluster`` of processes with one thread each, ``client.map`` over bundles, ``client.gather``.

Its best practices advise against many small tasks: a task is a bundle of mini-batches.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator

from distributed import Client, LocalCluster

from benchmarks.peers.base import Setting, bundles, call_all, load


class Peer:
    def __init__(self, setting: Setting) -> None:
        self._setting = setting
        self._chunk = int(setting.chunk or 1)

    def start(self) -> None:
        setting = self._setting
        self._cluster = LocalCluster(
            n_workers=setting.workers,
            threads_per_worker=1,
            processes=True,
            dashboard_address=None,
            silence_logs=logging.ERROR,
        )
        self._client = Client(self._cluster)
        self._client.wait_for_workers(setting.workers)
        self._client.run(load, setting.script, setting.arguments)

    def results(self, mini_batches: Iterable[list[str]], count: int) -> Iterator[list[str]]:
        futures = self._client.map(call_all, list(bundles(mini_batches, self._chunk)), pure=False)
        for bundle in self._client.gather(futures):
            yield from bundle

    def close(self) -> None:
        self._client.close()
        self._cluster.close()
