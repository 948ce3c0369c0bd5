"""``multiprocessing.Pool`` with an initializer and ``imap``: results in input order."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterable, Iterator

from benchmarks.peers.base import Setting, call, let_all_meet, load


class Peer:
    def __init__(self, setting: Setting) -> None:
        self._setting = setting
        self._chunk = int(setting.chunk or 1)

    def start(self) -> None:
        setting = self._setting
        self._pool = multiprocessing.Pool(setting.workers, load, (setting.script, setting.arguments))
        let_all_meet(lambda function, arguments: self._pool.starmap(function, arguments, 1), setting.workers)

    def results(self, mini_batches: Iterable[list[str]], count: int) -> Iterator[list[str]]:
        return self._pool.imap(call, mini_batches, self._chunk)

    def close(self) -> None:
        self._pool.close()
        self._pool.join()
