"""From functions to the spec of a pool that calls them.  Pure, but for reading this process's own state."""

from __future__ import annotations

import operator
import os
import sys
from collections.abc import Callable
from typing import Any

from batchflow.cpus import available_cpus
from batchflow.errors import UsageError
from batchflow.worker.spec import WorkerSpec
from batchflow.worker.travel import dumps_by_value, reference_of, unimportable_modules
from batchflow.worker.variables import THREAD_VARIABLES


def call_spec(
    workers: int | None, function: Callable[..., Any] | None, init: Callable[[], object] | None
) -> tuple[WorkerSpec, bytes | None]:
    """The spec of a pool for calls, and the functions that must travel by value, pickled, if any."""
    for one in (function, init):
        if one is not None and not callable(one):
            raise UsageError(f"expected a function, got {type(one).__name__}")
    cores = available_cpus()
    references = reference_of(function), reference_of(init)
    by_value = tuple(
        None if reference is not None else one for one, reference in zip((function, init), references, strict=True)
    )
    spec = WorkerSpec(
        kind="function",
        worker_count=cores if workers is None else positive("workers", workers),
        cores=cores,
        function=references[0],
        init=references[1],
        calls_pickled=function is None,
        thread_environment={name: os.environ[name] for name in THREAD_VARIABLES if name in os.environ},
        paths=tuple(os.path.join(os.getcwd(), path) for path in sys.path if isinstance(path, str)),  # noqa: PTH109, PTH118
    )
    if by_value == (None, None):
        return spec, None
    try:
        return spec, dumps_by_value(by_value, unimportable_modules(*by_value))
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
