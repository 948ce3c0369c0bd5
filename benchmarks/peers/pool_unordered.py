"""``multiprocessing.Pool`` with ``imap_unordered``: as ``pool``, but the rows come in the order they are ready."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from benchmarks.peers import pool
from benchmarks.peers.base import call


class Peer(pool.Peer):
    def results(self, mini_batches: Iterable[list[str]], count: int) -> Iterator[list[str]]:
        return self._pool.imap_unordered(call, mini_batches, self._chunk)
