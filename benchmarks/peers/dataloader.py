"""``torch.utils.data.DataLoader`` whose dataset calls ``run()``, with persistent workers that come back in order.

The keys of the map-style dataset are the mini-batches themselves, given by a sampler, so that the workers can be up
before anything is listed; ``batch_size`` bundles several in a message.  torch holds each worker to one thread.
"""

from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator

from torch.utils.data import DataLoader, Dataset, Sampler

from benchmarks.peers.base import Setting, call, load

PREFETCH_FACTOR = 16
"""Messages under way for each worker: measured faster than 2, the default, where ``run()`` is short; more is not."""


class Results(Dataset[list[str]]):
    def __getitem__(self, mini_batch: list[str]) -> list[str]:
        return call(mini_batch) if mini_batch else []


class Feed(Sampler[list[str]]):
    """Empty mini-batches, one for each worker, until there are real ones."""

    def __init__(self, workers: int) -> None:
        self.mini_batches: Iterable[list[str]] = [[]] * workers

    def __iter__(self) -> Iterator[list[str]]:
        return iter(self.mini_batches)


class Peer:
    def __init__(self, setting: Setting) -> None:
        self._setting = setting
        self._chunk = int(setting.chunk or 1)

    def start(self) -> None:
        setting = self._setting
        self._feed = Feed(setting.workers * self._chunk)
        self._loader = DataLoader(
            Results(),
            batch_size=self._chunk,
            sampler=self._feed,
            collate_fn=list,
            num_workers=setting.workers,
            worker_init_fn=lambda number: load(setting.script, setting.arguments),
            persistent_workers=True,
            prefetch_factor=PREFETCH_FACTOR,
            multiprocessing_context="fork",
        )
        for _ in self._loader:  # the workers take turns: each has answered when this ends
            pass

    def results(self, mini_batches: Iterable[list[str]], count: int) -> Iterator[list[str]]:
        self._feed.mini_batches = mini_batches
        for message in self._loader:
            yield from message

    def close(self) -> None:
        del self._loader
        gc.collect()  # the workers end with their loader
