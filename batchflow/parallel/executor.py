"""``batchflow.Pool``: a reusable pool of workers with the face of ``concurrent.futures.Executor``.

Unlike ``ProcessPoolExecutor`` it survives the death of a worker: only the call that was running is tried again.
"""

from __future__ import annotations

import itertools
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from typing import Any, TypeVar, cast

from batchflow.parallel.call_setup import call_setup, positive
from batchflow.parallel.engine import CallFuture, Engine

Result = TypeVar("Result")

BATCHES_AHEAD = 16
"""Mini-batches of ``map_batches`` that are out, for each worker."""


class _Dumped:
    """A function that has been pickled, for many calls."""

    def __init__(self, function: Callable[..., Any]) -> None:
        from batchflow.worker.travel import dump_function

        self.pickled = dump_function(function)


class Pool(Executor):
    """``with Pool(workers=8, init=load) as pool: pool.submit(…); pool.map(…); pool.map_batches(…)``.

    ``init`` is called once in each worker; ``timeout_s`` is for one call; a call whose worker dies or takes too long is
    tried ``attempts`` times in all, then its future raises ``WorkerDiedError`` and the pool goes on.
    Functions and arguments travel as references where they can be imported, else by value (cloudpickle).

    Workers are started with the calls that need them.  Any thread may use it, but no process forked from this one.
    """

    def __init__(
        self,
        workers: int | None = None,
        *,
        init: Callable[[], object] | None = None,
        timeout_s: float | None = None,
        attempts: int = 3,
    ) -> None:
        self._engine = Engine(call_setup(workers=workers, init=init, timeout_s=timeout_s, attempts=attempts))
        # A pool that is collected ends once its calls are done; nobody waits for it.
        weakref.finalize(self, self._engine.close).atexit = False

    @property
    def worker_count(self) -> int:
        return self._engine.worker_count

    def submit(self, fn: Callable[..., Result], /, *args: object, **kwargs: object) -> Future[Result]:
        """Call ``fn(*args, **kwargs)`` in a worker.

        Raises ``RuntimeError`` after ``shutdown``, ``BrokenPoolError`` (one too) when no workers can be had.  What
        cannot be pickled is the future's exception.
        """
        self._engine.start()
        from batchflow.worker.travel import dump_call, dump_function

        future = CallFuture(self._engine)
        try:
            payload = dump_call(fn.pickled if isinstance(fn, _Dumped) else dump_function(fn), args, kwargs)
        except Exception as error:
            future.set_running_or_notify_cancel()
            future.set_exception(error)
        else:
            self._engine.submit(future, payload)
        return future

    def map(
        self, fn: Callable[..., Result], *iterables: Iterable[Any], timeout: float | None = None, chunksize: int = 1
    ) -> Iterator[Result]:
        """As ``Executor.map``; ``chunksize`` calls travel together."""
        size = positive("chunksize", chunksize)
        if size == 1:
            return super().map(cast(Callable[..., Result], _Dumped(fn)), *iterables, timeout=timeout)
        from batchflow.worker.travel import Chunk

        arguments = zip(*iterables, strict=False)
        chunks = iter(lambda: list(itertools.islice(arguments, size)), [])
        return _flatten(super().map(cast(Callable[..., list[Result]], _Dumped(Chunk(fn))), chunks, timeout=timeout))

    def map_batches(
        self, function: Callable[[list[Any]], Iterable[Result]], items: Iterable[Any], *, mini_batch_size: int = 10
    ) -> Iterator[Result]:
        """As ``batchflow.map``, in this pool: ``function`` gets lists; ``items`` is read only a little ahead."""
        size = positive("mini_batch_size", mini_batch_size)
        self._engine.check()
        from batchflow.worker.travel import Batch

        return self._map_batches(cast(Callable[..., Any], _Dumped(Batch(function))), iter(items), size)

    def _map_batches(self, function: Callable[..., Any], items: Iterator[Any], size: int) -> Iterator[Any]:
        pending: deque[Future[Any]] = deque()
        trouble: Exception | None = None
        more = True
        try:
            while True:
                try:
                    while more and len(pending) < BATCHES_AHEAD * self.worker_count:
                        mini_batch = list(itertools.islice(items, size))
                        more = len(mini_batch) == size
                        if mini_batch:
                            pending.append(self.submit(function, mini_batch))
                except Exception as error:  # of the items: raised after the results of those before
                    trouble, more = error, False
                if not pending:
                    break
                yield from pending.popleft().result()
            if trouble is not None:
                raise trouble
        finally:
            for future in pending:
                future.cancel()

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the workers once the calls submitted are done; with ``cancel_futures``, those not begun are cancelled."""
        self._engine.close(wait=wait, cancel=cancel_futures)


def _flatten(chunks: Iterator[list[Result]]) -> Iterator[Result]:
    for chunk in chunks:
        chunk.reverse()
        while chunk:  # a result that was given away is not held
            yield chunk.pop()
