"""No dispatch at all: each process is given its share of the mini-batches before it starts to work.

The ideal for equal mini-batches; what it cannot do is even out unequal ones.  The rows come back as one message.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterable, Iterator
from multiprocessing.connection import Connection

from benchmarks.peers.base import Setting, call, load


def work(setting: Setting, pipe: Connection) -> None:
    """Load, say so, take the share, send all results."""
    load(setting.script, setting.arguments)
    pipe.send(None)
    share: list[list[str]] = pipe.recv()
    pipe.send([call(mini_batch) for mini_batch in share])


class Peer:
    def __init__(self, setting: Setting) -> None:
        self._setting = setting

    def start(self) -> None:
        self._processes = []
        self._pipes = []
        for _ in range(self._setting.workers):
            ours, theirs = multiprocessing.Pipe()
            process = multiprocessing.Process(target=work, args=(self._setting, theirs))
            process.start()
            theirs.close()
            self._processes.append(process)
            self._pipes.append(ours)
        for pipe in self._pipes:
            pipe.recv()

    def results(self, mini_batches: Iterable[list[str]], count: int) -> Iterator[list[str]]:
        everything = list(mini_batches)
        bounds = [count * number // len(self._pipes) for number in range(len(self._pipes) + 1)]
        for pipe, start, stop in zip(self._pipes, bounds, bounds[1:], strict=False):
            pipe.send(everything[start:stop])
        for pipe in self._pipes:
            yield from pipe.recv()

    def close(self) -> None:
        for process in self._processes:
            process.join()
