"""The function called in a plain loop in this process: no other process, the limit of one core."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from benchmarks.peers.base import Setting, entry_function, load


class Peer:
    def __init__(self, setting: Setting) -> None:
        self._setting = setting

    def start(self) -> None:
        load(self._setting.script, self._setting.arguments)

    def results(self, mini_batches: Iterable[list[str]], count: int) -> Iterator[list[str]]:
        return map(entry_function(), mini_batches)

    def close(self) -> None:
        """Nothing was started."""
