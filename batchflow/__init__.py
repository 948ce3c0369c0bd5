"""batchflow: score a very large pile of files with your own Python function; every answer exactly once.

The layers, lowest first; imports go strictly downward, and tests/unit/test_tidy.py enforces it:

    0  errors clock control cpus text _core  import nothing of ours; _core is the compiled one
    1  model                               frozen values
    2  worker plan workflow data           the child's side; pure decisions; the workflow file; listings
    3  pool journal output                 touch the world: processes, records, files
    4  parallel                            one parallel step; map and Pool
    5  runner                              the workflow: what is stale, step after step
    7  cli __main__                        the only rooms that print or exit

Nothing heavy is imported before it is used, so the public names below are looked up when first asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from batchflow.errors import (
        BatchflowError,
        DatasetError,
        EntryScriptError,
        InternalError,
        InterruptedRunError,
        JournalError,
        RefusedError,
        ResourceError,
        RunAbortedError,
        StepFailedError,
        UsageError,
        WorkerDiedError,
        WorkflowError,
    )
    from batchflow.parallel.executor import Pool
    from batchflow.parallel.mapping import map
    from batchflow.runner.face import run

__version__ = "0.1.0"

__all__ = [
    "BatchflowError",
    "DatasetError",
    "EntryScriptError",
    "InternalError",
    "InterruptedRunError",
    "JournalError",
    "Pool",
    "RefusedError",
    "ResourceError",
    "RunAbortedError",
    "StepFailedError",
    "UsageError",
    "WorkerDiedError",
    "WorkflowError",
    "map",
    "run",
]

_HOMES = {"Pool": "batchflow.parallel.executor", "map": "batchflow.parallel.mapping", "run": "batchflow.runner.face"}


def __getattr__(name: str) -> Any:  # noqa: ANN401
    if name not in __all__:
        raise AttributeError(f"module 'batchflow' has no attribute {name!r}")
    from importlib import import_module

    if name in _HOMES:
        require_core()
    value = globals()[name] = getattr(import_module(_HOMES.get(name, "batchflow.errors")), name)
    return value


def require_core() -> None:
    """Raise ``ImportError``, with the cure, in a source folder whose extension has not been built."""
    from importlib.util import find_spec

    if find_spec("batchflow._core") is None:
        raise ImportError(
            f"the compiled core is not in {__path__[0]}, a source folder: "
            "run from another folder, or build it there with: python -m pip install -e ."
        )


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
