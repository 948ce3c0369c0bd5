"""``batchflow.map``: a function over mini-batches of any iterable, results in input order, no file anywhere."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, TypeVar

from batchflow.errors import EntryScriptError, UsageError
from batchflow.parallel.calls import Caller

Item = TypeVar("Item")
Result = TypeVar("Result")

AHEAD_COUNT = 4096
"""Mini-batches that may be out or waiting for an earlier one."""
AHEAD_SIZE = 64 << 20
"""Bytes of results that may wait for an earlier one."""


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
    ``WorkerDiedError`` is raised.  An exception of ``function`` is raised as it is.  ``items`` is read as needed.

    The processes end with the iterator, also when it is closed early or collected.
    """
    if mini_batch_size < 1:
        raise UsageError(f"expected at least one item in a mini-batch, mini_batch_size={mini_batch_size}")
    caller = Caller(workers=workers, function=function, init=init, timeout_s=timeout_s, attempts=attempts)
    return _results(caller, iter(items), mini_batch_size)


def _results(caller: Caller, items: Iterator[Item], mini_batch_size: int) -> Iterator[Any]:
    waiting: dict[int, bytes] = {}
    sizes: dict[int, int] = {}
    waiting_size = submitted = delivered = 0
    more = True
    try:
        caller.start()
        while more or delivered < submitted:
            while more and waiting_size < AHEAD_SIZE and submitted - delivered < _ahead(caller, submitted):
                mini_batch = list(islice(items, mini_batch_size))
                more = len(mini_batch) == mini_batch_size
                if mini_batch:
                    sizes[submitted] = len(mini_batch)
                    caller.submit(submitted, pickle.dumps((None, (mini_batch,), {}), 5))
                    submitted += 1
            if delivered not in waiting and delivered < submitted:
                for outcome in caller.pump(0.1):
                    if outcome.value is None:
                        raise outcome.error or EntryScriptError("a call ended without a value")
                    waiting[outcome.index] = outcome.value
                    waiting_size += len(outcome.value)
            while delivered in waiting:
                value = waiting.pop(delivered)
                waiting_size -= len(value)
                yield from checked_results(pickle.loads(value), sizes.pop(delivered))
                delivered += 1
        caller.stop()
    finally:
        caller.close()


def _ahead(caller: Caller, submitted: int) -> int:
    """Read little of the input ahead at first: an early error shall be early."""
    return min(AHEAD_COUNT, max(4 * caller.worker_count, submitted))


def checked_results(value: object, item_count: int) -> Sequence[Any]:
    """What a function returned for one mini-batch, as a sequence of ``item_count`` results."""
    if not isinstance(value, Iterable) or isinstance(value, (str, bytes, dict)):
        raise EntryScriptError(f"the function must return one result for each item, got {type(value).__name__}")
    results = value if isinstance(value, (list, tuple)) else list(value)
    if len(results) != item_count:
        raise EntryScriptError(f"the function returned {len(results)} results for {item_count} items")
    return results
