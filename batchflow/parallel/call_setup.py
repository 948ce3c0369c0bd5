"""From functions to the spec of a pool that calls them.  Pure, but for reading this process's own state.

Imported before the zygote is started, so it imports little.
"""

from __future__ import annotations

import operator
import os
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

from batchflow.cpus import available_cpus
from batchflow.errors import UsageError
from batchflow.worker.spec import WorkerSpec
from batchflow.worker.variables import THREAD_VARIABLES


class CallSetup(NamedTuple):
    """What calls need, checked: ``pickled`` are the functions that must travel by value, if any."""

    spec: WorkerSpec
    pickled: bytes | None
    timeout_s: float | None
    attempts: int


def call_setup(
    *,
    workers: int | None,
    function: Callable[..., Any] | None = None,
    init: Callable[[], object] | None = None,
    timeout_s: float | None = None,
    attempts: int = 3,
) -> CallSetup:
    """Raises ``UsageError``."""
    attempts = positive("attempts", attempts)
    if timeout_s is not None and not timeout_s > 0:
        raise UsageError(f"expected a positive time, timeout_s={timeout_s}")
    return CallSetup(*call_spec(workers, function, init), timeout_s, attempts)


def call_spec(
    workers: int | None, function: Callable[..., Any] | None, init: Callable[[], object] | None
) -> tuple[WorkerSpec, bytes | None]:
    """The spec of a pool for calls, and the functions that must travel by value, pickled, if any."""
    for one in (function, init):
        if one is not None and not callable(one):
            raise UsageError(f"expected a function, got {type(one).__name__}")
    cores = available_cpus()
    references: tuple[str | None, ...] = (None, None)
    pickled = None
    if function is not None or init is not None:
        references, pickled = _packed(function, init)
    return WorkerSpec(
        kind="function",
        worker_count=cores if workers is None else positive("workers", workers),
        cores=cores,
        function=references[0],
        init=references[1],
        calls_pickled=function is None,
        thread_environment={name: os.environ[name] for name in THREAD_VARIABLES if name in os.environ},
        paths=tuple(os.path.join(os.getcwd(), path) for path in sys.path if isinstance(path, str)),  # noqa: PTH109, PTH118
    ), pickled


def _packed(*functions: Callable[..., Any] | None) -> tuple[tuple[str | None, ...], bytes | None]:
    """By which names the functions can be imported, and those pickled that cannot."""
    from batchflow.worker.travel import dumps_by_value, reference_of, unimportable_modules

    references = tuple(map(reference_of, functions))
    by_value = tuple(
        None if reference is not None else one for one, reference in zip(functions, references, strict=True)
    )
    if not any(one is not None for one in by_value):
        return references, None
    try:
        return references, dumps_by_value(by_value, unimportable_modules(*by_value))
    except Exception as error:
        raise UsageError(
            f"the function cannot be sent to the workers: {type(error).__name__}: {error}",
            hint="open files, locks, connections and models are made in init(), in each worker",
        ) from error


def positive(name: str, value: int) -> int:
    """``value`` if it is an integer of at least 1, else ``UsageError``."""
    try:
        number = operator.index(value)
    except TypeError:
        raise UsageError(f"expected a positive integer, {name}={value!r}") from None
    if number < 1:
        raise UsageError(f"expected a positive integer, {name}={number}")
    return number
