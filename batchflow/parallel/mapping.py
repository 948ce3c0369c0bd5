"""``batchflow.map``: a function over mini-batches of any iterable, results in input order, no file anywhere.

Invariant: whatever is raised is raised in its place: after the results of all items before it.
"""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any, TypeVar

from batchflow.parallel.call_setup import call_setup, positive
from batchflow.parallel.calls import Caller
from batchflow.worker.travel import dumps

Item = TypeVar("Item")
Result = TypeVar("Result")

AHEAD_SIZE = 64 << 20
"""Bytes of items that may be out, and of results that may wait for an earlier one."""
TICK_S = 0.1
PUMP_S = 0.002
"""How often workers are looked after while the results at hand are consumed."""


def map(
    function: Callable[[list[Item]], Iterable[Result]],
    items: Iterable[Item],
    *,
    init: Callable[[], object] | None = None,
    mini_batch_size: int = 10,
    workers: int | None = None,
    timeout_s: float | None = None,
    attempts: int = 3,
) -> Iterator[Result]:
    """Call ``function`` with lists of ``mini_batch_size`` items in a pool of processes; yield its results one by one.

    ``function`` gets a list and returns as many results, in the same order; results come in input order.  ``init`` is
    called once in each worker.  ``workers``: default all CPUs this process may use.  ``timeout_s`` is for one call.
    A worker that dies or takes too long is replaced and its call tried again, ``attempts`` times in all; then
    ``WorkerDiedError`` is raised.  An exception of ``function`` is raised as it is, one of ``items`` too, each after
    the results of all mini-batches before it.  ``items`` is read as needed.

    The processes start with the first result asked for and end with the iterator, also when it is closed early or
    collected.
    """
    size = positive("mini_batch_size", mini_batch_size)
    source = iter(items)
    setup = call_setup(workers=workers, function=function, init=init, timeout_s=timeout_s, attempts=attempts)
    caller = Caller(setup)
    return _results(caller, source, size)


def _results(caller: Caller, items: Iterator[Any], mini_batch_size: int) -> Iterator[Any]:
    window = _Window(caller, items, mini_batch_size)
    loads, monotonic = pickle.loads, time.monotonic
    try:
        window.read()
        if window.submitted:
            caller.start()
        while (value := window.take()) is not None:
            yield from loads(value)
            if monotonic() > window.pump_s:
                window.pump(0)
        if window.trouble is not None:
            raise window.trouble
        if window.submitted:
            caller.stop()
    finally:
        caller.close()


class _Window:
    """Mini-batches read and submitted; results wait in the caller for their turn."""

    def __init__(self, caller: Caller, items: Iterator[Any], mini_batch_size: int) -> None:
        self._caller = caller
        self._items = items
        self._mini_batch_size = mini_batch_size
        self._more = True
        self._delivered = 0
        self._delivered_size = 0
        self.submitted = 0
        self.pump_s = 0.0
        """When to look after the workers again."""
        self.trouble: Exception | None = None
        """What reading the items raised."""

    def read(self) -> None:
        """Submit what the workers will need; little before the first result, so that an early error comes early."""
        caller, items, size = self._caller, self._items, self._mini_batch_size
        limit = self._delivered + (caller.ahead_count if self._delivered else 4 * caller.worker_count)
        waiting_size = caller.values_size - self._delivered_size
        submit, submitted = caller.submit, self.submitted
        try:
            while self._more and submitted < limit and waiting_size + caller.outstanding_size < AHEAD_SIZE:
                mini_batch = list(islice(items, size))
                self._more = len(mini_batch) == size
                if mini_batch:
                    submit(submitted, dumps(mini_batch))
                    self.submitted = submitted = submitted + 1
        except Exception as error:
            self.trouble = error
            self._more = False

    def take(self) -> bytes | None:
        """The next mini-batch's results, pickled, in input order; waits for them.  None: there are no more.

        Raises what its call raised.
        """
        while (value := self._caller.values.pop(self._delivered, None)) is None:
            if (error := self._caller.errors.pop(self._delivered, None)) is not None:
                raise error
            if self._delivered == self.submitted:
                self.read()
            if self._delivered == self.submitted:
                return None
            self.pump(TICK_S)
        self._delivered += 1
        self._delivered_size += len(value)
        return value

    def pump(self, timeout_s: float) -> None:
        """Look after the workers, take what they have done, give them more."""
        self._caller.pump(timeout_s)
        if self._caller.errors:
            self._more = False  # nothing behind a failure is ever delivered
        self.read()
        self.pump_s = time.monotonic() + PUMP_S
