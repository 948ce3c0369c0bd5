"""``joblib.Parallel`` on its loky processes, results as an ordered generator; ``batch_size`` is the chunk."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from joblib import Parallel, delayed
from joblib.externals.loky import get_reusable_executor

from benchmarks.peers.base import Setting, call, let_all_meet, load


class Peer:
    def __init__(self, setting: Setting) -> None:
        self._setting = setting

    def start(self) -> None:
        let_all_meet(
            lambda function, arguments: self._parallel(1)(delayed(function)(*one) for one in arguments),
            self._setting.workers,
        )

    def results(self, mini_batches: Iterable[list[str]], count: int) -> Iterator[list[str]]:
        parallel = self._parallel(self._setting.chunk or 1, "generator")
        results: Iterator[list[str]] = parallel(delayed(call)(mini_batch) for mini_batch in mini_batches)
        return results

    def close(self) -> None:
        get_reusable_executor().shutdown(wait=True)

    def _parallel(self, batch_size: int | str, return_as: str = "list") -> Parallel:
        setting = self._setting
        return Parallel(
            n_jobs=setting.workers,
            backend="loky",
            batch_size=batch_size,
            return_as=return_as,
            initializer=load,
            initargs=(setting.script, setting.arguments),
        )
