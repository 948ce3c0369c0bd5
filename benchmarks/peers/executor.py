"""``concurrent.futures.ProcessPoolExecutor.map`` with an initializer and ``chunksize``: results in input order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor

from benchmarks.peers.base import Setting, call, let_all_meet, load


class Peer:
    def __init__(self, setting: Setting) -> None:
        self._setting = setting
        self._chunk = int(setting.chunk or 1)

    def start(self) -> None:
        setting = self._setting
        self._executor = ProcessPoolExecutor(
            setting.workers, initializer=load, initargs=(setting.script, setting.arguments)
        )
        let_all_meet(
            lambda function, arguments: list(self._executor.map(function, *zip(*arguments, strict=True))),
            setting.workers,
        )

    def results(self, mini_batches: Iterable[list[str]], count: int) -> Iterator[list[str]]:
        return self._executor.map(call, mini_batches, chunksize=self._chunk)

    def close(self) -> None:
        self._executor.shutdown()
