"""``batchflow.Pool``: a reusable pool of workers with the face of ``concurrent.futures.Executor``.

Unlike ``ProcessPoolExecutor`` it survives the death of a worker: only the call that was running is tried again.
"""

from __future__ import annotations

import contextlib
import itertools
import pickle
import queue
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from typing import Any, TypeVar

from batchflow.errors import BatchflowError, UsageError
from batchflow.parallel.calls import Caller, pickled_function

Result = TypeVar("Result")


class _Engine:
    """The thread that drives the workers; holds no reference to the ``Pool``, so that can be collected."""

    def __init__(self, caller: Caller) -> None:
        self.caller = caller
        self.lock = threading.Lock()
        self.incoming: queue.SimpleQueue[tuple[int, bytes]] = queue.SimpleQueue()
        self.futures: dict[int, Future[Any]] = {}
        self.closing = False
        self.broken: BatchflowError | None = None
        self.thread = threading.Thread(target=self.drive, name="batchflow-pool", daemon=True)

    def drive(self) -> None:
        try:
            while not (self.closing and self.incoming.empty() and not self.caller.outstanding):
                self.take_in()
                for outcome in self.caller.pump(0.1):
                    future = self.futures.pop(outcome.index)
                    if outcome.value is None:
                        future.set_exception(outcome.error)
                    else:
                        self.deliver(future, outcome.value)
            self.caller.stop()
        except BatchflowError as error:
            self.fail_all(error)
        except BaseException as error:
            self.fail_all(BatchflowError(f"the pool's thread ended: {type(error).__name__}: {error}"))
            raise
        finally:
            self.caller.close()

    def take_in(self) -> None:
        with contextlib.suppress(queue.Empty):
            while True:
                index, payload = self.incoming.get_nowait()
                if self.futures[index].set_running_or_notify_cancel():
                    self.caller.submit(index, payload)
                else:
                    del self.futures[index]

    @staticmethod
    def deliver(future: Future[Any], value: bytes) -> None:
        try:
            result = pickle.loads(value)
        except Exception as error:
            future.set_exception(error)
        else:
            future.set_result(result)

    def fail_all(self, error: BatchflowError) -> None:
        with self.lock:
            self.broken = error
            futures, self.futures = list(self.futures.values()), {}
        for future in futures:
            if not future.done():
                future.set_exception(error)

    def close(self, wait: bool) -> None:
        self.closing = True
        self.caller.wake()
        if wait and self.thread.is_alive() and self.thread is not threading.current_thread():
            self.thread.join()


class Pool(Executor):
    """``with Pool(workers=8, init=load) as pool: pool.submit(…); pool.map(…); pool.map_batches(…)``.

    ``init`` is called once in each worker; ``timeout_s`` is for one call; a call whose worker dies or takes too long is
    tried ``attempts`` times in all, then its future raises ``WorkerDiedError`` and the pool goes on.
    Functions and arguments travel as references where they can be imported, else by value (cloudpickle).
    """

    def __init__(
        self,
        workers: int | None = None,
        *,
        init: Callable[[], object] | None = None,
        timeout_s: float | None = None,
        attempts: int = 3,
    ) -> None:
        self._engine = _Engine(Caller(workers=workers, init=init, timeout_s=timeout_s, attempts=attempts))
        self._indices = itertools.count()
        self._started = False
        self._finalizer = weakref.finalize(self, _Engine.close, self._engine, True)

    @property
    def worker_count(self) -> int:
        return self._engine.caller.worker_count

    def _start(self) -> None:
        if not self._started:
            self._started = True
            self._engine.caller.start()
            self._engine.thread.start()

    def submit(self, fn: Callable[..., Result], /, *args: object, **kwargs: object) -> Future[Result]:
        """Call ``fn(*args, **kwargs)`` in a worker.  Raises ``RuntimeError`` after ``shutdown``."""
        return self._send(pickled_function(fn), args, kwargs)

    def _send(self, function: bytes, args: tuple[object, ...], kwargs: dict[str, object]) -> Future[Any]:
        import cloudpickle

        payload = cloudpickle.dumps((function, args, kwargs))
        engine = self._engine
        with engine.lock:
            if engine.closing:
                raise RuntimeError("cannot schedule new futures after shutdown")
            if engine.broken is not None:
                raise engine.broken
            self._start()
            index = next(self._indices)
            future: Future[Any] = Future()
            engine.futures[index] = future
            engine.incoming.put((index, payload))
        engine.caller.wake()
        return future

    def map(
        self, fn: Callable[..., Result], *iterables: Iterable[Any], timeout: float | None = None, chunksize: int = 1
    ) -> Iterator[Result]:
        """As ``Executor.map``; ``chunksize`` calls travel together."""
        if chunksize < 1:
            raise UsageError(f"expected at least one call in a chunk, chunksize={chunksize}")
        arguments = zip(*iterables, strict=False)
        chunks = iter(lambda: list(itertools.islice(arguments, chunksize)), [])
        pieces = super().map(_Chunk(fn), chunks, timeout=timeout)
        return itertools.chain.from_iterable(pieces)

    def map_batches(
        self, function: Callable[[list[Any]], Iterable[Result]], items: Iterable[Any], *, mini_batch_size: int = 10
    ) -> Iterator[Result]:
        """As ``batchflow.map``, in this pool: ``function`` gets lists; ``items`` is read only a little ahead."""
        if mini_batch_size < 1:
            raise UsageError(f"expected at least one item in a mini-batch, mini_batch_size={mini_batch_size}")
        return self._map_batches(pickled_function(function), iter(items), mini_batch_size)

    def _map_batches(self, function: bytes, items: Iterator[Any], mini_batch_size: int) -> Iterator[Any]:
        from batchflow.parallel.mapping import checked_results

        pending: deque[tuple[int, Future[Any]]] = deque()
        try:
            while True:
                while len(pending) < 16 * self.worker_count and (
                    mini_batch := list(itertools.islice(items, mini_batch_size))
                ):
                    pending.append((len(mini_batch), self._send(function, (mini_batch,), {})))
                if not pending:
                    return
                item_count, future = pending.popleft()
                yield from checked_results(future.result(), item_count)
        finally:
            for _, future in pending:
                future.cancel()

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the workers once the calls submitted are done; with ``cancel_futures``, those not begun are cancelled."""
        engine = self._engine
        with engine.lock:
            engine.closing = True
            if cancel_futures:
                for future in list(engine.futures.values()):
                    future.cancel()
        if self._started:
            engine.close(wait)
        self._finalizer.detach()


class _Chunk:
    """Several calls of one function in one."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def __call__(self, arguments: list[tuple[Any, ...]]) -> list[Any]:
        return [self._function(*one) for one in arguments]
