"""What stands behind ``batchflow.Pool``: the thread that drives its workers, and the futures of their calls.

While that thread sleeps, the only call there is goes by no thread: who submits it sends it, who waits for it looks for
the answer.

Invariant: every future handed out gets a result, an exception or a cancellation, unless the process ends.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Future, InvalidStateError
from typing import TYPE_CHECKING, Any

from batchflow.errors import BatchflowError, InternalError
from batchflow.parallel.call_setup import CallSetup
from batchflow.pool.zygote_client import ZygoteClient

if TYPE_CHECKING:
    from batchflow._core import Channel
    from batchflow.parallel.calls import Caller

TICK_S = 0.1
IDLE_S = 30.0
"""How long the engine sleeps with nothing to do; every call wakes it."""


class BrokenPoolError(BatchflowError, BrokenExecutor):
    """The pool takes no more calls: its workers cannot be started, or keep dying.  The cause says why."""

    exit_code = 1


class CallFuture(Future[Any]):
    """A future whose waiter looks for the answer itself, where that is quicker than to be woken."""

    def __init__(self, engine: Engine) -> None:
        super().__init__()
        self.engine = engine
        self.is_watched = False
        """Somebody's function is to be called when it is done: by the engine, not by a thread that waits."""

    def add_done_callback(self, fn: Callable[[Future[Any]], object]) -> None:
        with self.engine.lock:
            self.is_watched = True
        super().add_done_callback(fn)

    def result(self, timeout: float | None = None) -> Any:  # noqa: ANN401
        if timeout is None or timeout > 0:
            self.engine.look_for(self)
        return super().result(timeout)


class _Turn:
    """The right to use the caller: the engine's, but while that sleeps.  With it, the engine's sleep."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.is_free = False

    def __enter__(self) -> None:
        self.is_free = True
        self.lock.release()

    def __exit__(self, *_: object) -> None:
        self.lock.acquire()
        self.is_free = False


class Engine:
    """The thread that drives the workers; holds no reference to the ``Pool``, so that can be collected.

    It sees to processes, to deaths, and to whatever takes longer.  While it sleeps, a thread that submits the only call
    there is sends it itself, and one that waits for it looks for the answer: no thread is woken on the way.

    The locks are reentrant: the collector may end a pool at any moment, in any thread.
    """

    def __init__(self, setup: CallSetup) -> None:
        self.pid = os.getpid()
        self.worker_count = setup.spec.worker_count
        self._setup = setup
        self._started: Caller | None = None
        self.lock = threading.RLock()
        self._turn = _Turn()
        self._alone: tuple[CallFuture, int, Channel] | None = None
        """A call that was sent at once, and where."""
        self._is_used = self._sleeps_long = self._is_rung = self._is_looked_for = False
        self._indices = itertools.count()
        self._incoming: deque[tuple[int, bytes]] = deque()
        self._futures: dict[int, CallFuture] = {}
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

    def submit(self, future: CallFuture, payload: bytes) -> None:
        with self.lock:
            self.check()
            index = next(self._indices)
            self._futures[index] = future
            self._incoming.append((index, payload))
            is_only = self._turn.is_free and not self._caller.outstanding and len(self._incoming) == 1
        if is_only and self._send(future, index):
            return
        with self.lock:
            if self._incoming and not self._is_rung and not self._ended:
                self._caller.wake()
                self._is_rung = True

    def _send(self, future: CallFuture, index: int) -> bool:
        """Send the only call there is, if a worker is idle; True if it is on its way, or cancelled already."""
        with self._turn.lock:
            channel = self._caller.idle_channel()
            if channel is None or len(self._incoming) != 1 or self._incoming[0][0] != index:
                return False
            if not self._accept(index):
                self._incoming.clear()
                return True
            self._is_used = True
            if self._sleeps_long:  # from now on it looks often, whatever becomes of this thread
                self._caller.wake()
            self._caller.call_at_once(self._incoming, channel, is_awaited=self._is_looked_for)
            if self._alone is not None:  # nobody looked for the last one
                self._is_looked_for = False
            self._alone = future, index, channel
        return True

    def look_for(self, future: CallFuture) -> None:
        """Look for the answer to the only call there is, as long as that costs less than to sleep.

        Whatever else has come is the engine's.  A signal's handler may end this at any line: then it all is.
        """
        alone = self._alone
        if alone is None or alone[0] is not future or not self._turn.is_free or self.pid != os.getpid():
            return
        self._alone, self._is_looked_for = None, True
        _, index, channel = alone
        caller = self._caller
        channel.get_up()
        try:
            if caller.look(channel):
                with self._turn.lock:
                    caller.read_at_once(channel)
                self._give(future, index)
        finally:
            if not channel.go_to_sleep() or caller.has_news:
                self.wake()

    def _give(self, future: CallFuture, index: int) -> None:
        """Its value for a future whose waiter this is, unless functions of somebody's would be called here."""
        value = self._caller.values.get(index)
        if value is None:
            return
        result, error = _load(value, Exception)
        with self.lock:
            if future.is_watched or index not in self._futures:
                return
            if error is None:  # and only then it goes from the books: until then it is the engine's, too
                future.set_result(result)
            else:
                future.set_exception(error)
            del self._futures[index]
        self._caller.values.pop(index, None)

    def wake(self) -> None:
        with self.lock:
            if not self._ended:
                self._caller.wake()

    def start(self) -> None:
        """Unless it was started.  What is needed to drive the workers is imported while their zygote starts."""
        with self.lock:
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
        with self.lock:
            self._closing = True
            futures = list(self._futures.values()) if cancel else []
        for future in futures:  # without the lock: this runs the callbacks of futures
            future.cancel()
        with self.lock:
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
            while self._work():
                pass
            self._caller.stop()
        except BaseException as caught:
            error = caught
        with self.lock:
            self._ended = True  # from here on nobody wakes it
        try:
            with self._turn.lock:
                self._caller.close()
                self._alone = None  # it would hold the memory of the rings
        finally:
            if error is not None:
                self._fail_all(error)
            _engines.discard(self)
        if error is not None and not isinstance(error, BatchflowError):
            raise error

    def _work(self) -> bool:
        """One round; False when all is done.  A function of its own, so that between two rounds no result is held."""
        caller = self._caller
        with self._turn.lock:
            if not self._goes_on():
                return False
            is_used, self._is_used = self._is_used or caller.outstanding > 0, False
            self._sleeps_long = not is_used
            caller.pump(TICK_S if is_used else IDLE_S, self._turn)
            values, errors = caller.take()
        while errors:
            index, error = errors.popitem()
            self._settle(index, None, error)
        for index in list(values):
            self._settle(index, *_load(values.pop(index), BaseException))
        return True

    def _goes_on(self) -> bool:
        """Take in what was submitted; False when all is done and no more will come."""
        with self.lock:
            self._is_rung = False
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

    def _take(self, index: int) -> CallFuture | None:
        with self.lock:
            return self._futures.pop(index, None)

    def _settle(self, index: int, result: object, error: BaseException | None) -> None:
        future = self._take(index)
        if future is not None:  # otherwise its waiter was quicker
            _finish(future, result, error)

    def _fail_all(self, error: BaseException) -> None:
        if isinstance(error, BatchflowError):
            error.__traceback__ = None  # only our frames, and they hold the memory of the rings
        else:
            cause = InternalError(f"the pool's thread ended: {type(error).__name__}: {error}")
            cause.__cause__, error = error, cause
        with self.lock:
            self._broken = error
            futures, self._futures = list(self._futures.values()), {}
            self._incoming.clear()
        for future in futures:
            if future.running() or future.set_running_or_notify_cancel():
                _finish(future, None, error)


def _load(value: bytes, caught: type[BaseException]) -> tuple[object, BaseException | None]:
    """What a call returned, or why that cannot be read."""
    import pickle  # the caller has

    try:
        return pickle.loads(value), None
    except caught as error:
        return None, error


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


_engines: set[Engine] = set()
_exiting = False


def _finish_engines() -> None:
    """What was submitted is done before the interpreter ends, as ``concurrent.futures`` does it."""
    global _exiting
    _exiting = True
    for engine in list(_engines):
        engine.close(wait=True)


with contextlib.suppress(RuntimeError):  # the interpreter is ending already
    threading._register_atexit(_finish_engines)  # type: ignore[attr-defined]
