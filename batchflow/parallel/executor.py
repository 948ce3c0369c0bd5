"""``batchflow.Pool``: a reusable pool of workers with the face of ``concurrent.futures.Executor``.

Unlike ``ProcessPoolExecutor`` it survives the death of a worker: only the call that was running is tried again.

Invariant: every future handed out gets a result, an exception or a cancellation, unless the process ends.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import BrokenExecutor, Executor, Future, InvalidStateError
from typing import TYPE_CHECKING, Any, TypeVar, cast

from batchflow.errors import BatchflowError, InternalError
from batchflow.parallel.call_setup import CallSetup, call_setup, positive
from batchflow.pool.zygote_client import ZygoteClient

if TYPE_CHECKING:
    from batchflow.parallel.calls import Caller, Outcome

Result = TypeVar("Result")

TICK_S = 0.1
IDLE_S = 30.0
"""How long the engine sleeps with nothing to do; every call wakes it."""
BATCHES_AHEAD = 16
"""Mini-batches of ``map_batches`` that are out, for each worker."""


class BrokenPoolError(BatchflowError, BrokenExecutor):
    """The pool takes no more calls: its workers cannot be started, or keep dying.  The cause says why."""

    exit_code = 1


class _Engine:
    """The thread that drives the workers; holds no reference to the ``Pool``, so that can be collected.

    The lock is reentrant: the collector may end a pool at any moment, in any thread.
    """

    def __init__(self, setup: CallSetup) -> None:
        self.pid = os.getpid()
        self.worker_count = setup.spec.worker_count
        self._setup = setup
        self._started: Caller | None = None
        self._lock = threading.RLock()
        self._indices = itertools.count()
        self._incoming: deque[tuple[int, bytes]] = deque()
        self._futures: dict[int, Future[Any]] = {}
        self._closing = self._cancelling = self._ended = False
        self._broken: BaseException | None = None
        self._thread: threading.Thread | None = None

    # In any thread

    def check(self) -> None:
        """Raises ``RuntimeError`` if no call can be submitted."""
        if self.pid != os.getpid():
            raise RuntimeError("a pool works in the process that made it, not in one forked from that")
        if self._broken is not None:
            raise BrokenPoolError(f"the pool is broken: {self._broken}") from self._broken
        if self._closing:
            raise RuntimeError("cannot schedule new futures after shutdown")
        if _exiting:
            raise RuntimeError("cannot schedule new futures after interpreter shutdown")

    def submit(self, future: Future[Any], payload: bytes) -> None:
        with self._lock:
            self.check()
            index = next(self._indices)
            self._futures[index] = future
            self._incoming.append((index, payload))
            if len(self._incoming) == 1 and not self._ended:  # otherwise it has been woken
                self._caller.wake()

    def start(self) -> None:
        """Unless it was started.  What is needed to drive the workers is imported while their zygote starts."""
        with self._lock:
            self.check()
            if self._thread is not None:
                return
            self._thread = threading.Thread(target=self._drive, name="batchflow-pool", daemon=True)
            zygote = ZygoteClient(self._setup.spec, self._setup.pickled, None)
            try:
                zygote.start()
                from batchflow.parallel.calls import Caller

                self._started = Caller(self._setup, zygote=zygote, accept=self._accept)
                self._caller.start()
                self._thread.start()
                _engines.add(self)
            except BaseException as error:
                self._broken, self._ended = error, True
                if self._started is not None:
                    self._started.close()
                zygote.close()
                raise

    @property
    def _caller(self) -> Caller:
        if self._started is None:
            raise ValueError("the engine has not been started")
        return self._started

    def close(self, *, wait: bool = False, cancel: bool = False) -> None:
        """No more calls; ``wait`` until those submitted are done and the workers have ended."""
        if self.pid != os.getpid():
            return
        with self._lock:
            self._closing = True
            futures = list(self._futures.values()) if cancel else []
        for future in futures:  # without the lock: this runs the callbacks of futures
            future.cancel()
        with self._lock:
            self._cancelling = self._cancelling or cancel
            started = self._thread is not None and not self._ended
            if started:
                self._caller.wake()
        if wait and self._thread is not None and self._thread is not threading.current_thread():
            with contextlib.suppress(RuntimeError):  # it could not be started
                self._thread.join()

    # In the thread of its own

    def _drive(self) -> None:
        error: BaseException | None = None
        try:
            while self._goes_on():
                self._work()
            self._caller.stop()
        except BaseException as caught:
            error = caught
        with self._lock:
            self._ended = True  # from here on nobody wakes it
        try:
            self._caller.close()
        finally:
            if error is not None:
                self._fail_all(error)
            _engines.discard(self)
        if error is not None and not isinstance(error, BatchflowError):
            raise error

    def _work(self) -> None:
        """One round.  A function of its own, so that between two rounds no result is held."""
        for outcome in self._caller.pump(TICK_S if self._caller.outstanding else IDLE_S):
            self._settle(outcome)

    def _goes_on(self) -> bool:
        """Take in what was submitted; False when all is done and no more will come."""
        with self._lock:
            while self._incoming:
                self._caller.submit(*self._incoming.popleft())
            cancelling, self._cancelling = self._cancelling, False
            closing = self._closing
        if cancelling:
            self._caller.drop_refused()
        return not closing or self._caller.outstanding > 0

    def _accept(self, index: int) -> bool:
        """May this call be sent?  Tells those who wait for its future if it was cancelled."""
        future = self._futures[index]
        if future.running() or future.set_running_or_notify_cancel():
            return True
        self._take(index)
        return False

    def _take(self, index: int) -> Future[Any]:
        with self._lock:
            return self._futures.pop(index)

    def _settle(self, outcome: Outcome) -> None:
        future = self._take(outcome.call_index)
        if outcome.value is None:
            _finish(future, None, outcome.error)
            return
        import pickle  # the caller has

        try:
            result = pickle.loads(outcome.value)
        except BaseException as error:
            _finish(future, None, error)
        else:
            _finish(future, result, None)

    def _fail_all(self, error: BaseException) -> None:
        if isinstance(error, BatchflowError):
            error.__traceback__ = None  # only our frames, and they hold the memory of the rings
        else:
            cause = InternalError(f"the pool's thread ended: {type(error).__name__}: {error}")
            cause.__cause__, error = error, cause
        with self._lock:
            self._broken = error
            futures, self._futures = list(self._futures.values()), {}
            self._incoming.clear()
        for future in futures:
            if future.running() or future.set_running_or_notify_cancel():
                _finish(future, None, error)


def _finish(future: Future[Any], result: object, error: BaseException | None) -> None:
    """Set result or error, whatever the future's callbacks do."""
    try:
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(error)
    except InvalidStateError:  # somebody else has set it
        pass
    except BaseException:  # a callback that calls sys.exit() shall not end the engine
        logging.getLogger("concurrent.futures").exception("exception calling callback for %r", future)


_engines: set[_Engine] = set()
_exiting = False


def _finish_engines() -> None:
    """What was submitted is done before the interpreter ends, as ``concurrent.futures`` does it."""
    global _exiting
    _exiting = True
    for engine in list(_engines):
        engine.close(wait=True)


with contextlib.suppress(RuntimeError):  # the interpreter is ending already
    threading._register_atexit(_finish_engines)  # type: ignore[attr-defined]


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
        self._engine = _Engine(call_setup(workers=workers, init=init, timeout_s=timeout_s, attempts=attempts))
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

        future: Future[Result] = Future()
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
