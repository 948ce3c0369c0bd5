"""``mpire.WorkerPool.imap`` on forked workers that stay alive between calls, with ``worker_init`` and ``chunk_size``.

mpire spreads an argument that is a list over the parameters of the function, so each mini-batch goes in a tuple.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial

from mpire import WorkerPool

from benchmarks.peers.base import Setting, call, let_all_meet, load


class Peer:
    def __init__(self, setting: Setting) -> None:
        self._setting = setting
        self._chunk = int(setting.chunk or 1)
        self._init = partial(load, setting.script, setting.arguments)

    def start(self) -> None:
        self._pool = WorkerPool(self._setting.workers, start_method="fork", keep_alive=True)
        let_all_meet(
            lambda function, arguments: self._pool.map(function, arguments, chunk_size=1, worker_init=self._init),
            self._setting.workers,
        )

    def results(self, mini_batches: Iterable[list[str]], count: int) -> Iterator[list[str]]:
        results: Iterator[list[str]] = self._pool.imap(
            call,
            ((mini_batch,) for mini_batch in mini_batches),
            iterable_len=count,
            chunk_size=self._chunk,
            worker_init=self._init,
        )
        return results

    def close(self) -> None:
        self._pool.stop_and_join()
