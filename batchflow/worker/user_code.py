"""The user's code, whichever way it comes: an entry script, or a function for ``map`` and ``Pool``.

What is pickled comes from the caller's own memory.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import pickle
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batchflow.worker import later
from batchflow.worker.spec import WorkerSpec
from batchflow.worker.travel import innermost

if TYPE_CHECKING:
    from batchflow.worker.entry_script import EntryScript


class UserCode:
    """What zygote and workers call, in this order: ``init_shared`` (zygote), ``init``, then work, ``shutdown``."""

    def __init__(
        self,
        *,
        script: EntryScript | None = None,
        function: Callable[..., Any] | None = None,
        init: Callable[[], object] | None = None,
    ) -> None:
        self.script = script
        self.function = function
        self._init = script.init if script else init
        self._init_shared = script.init_shared if script else None
        self._shutdown = script.shutdown if script else None
        self._init_module: str | None = None
        self._assigned: dict[str, Any] = {}

    def init_shared(self) -> bool:
        """Whether there is one."""
        if self._init_shared is None:
            return False
        self._init_shared()
        return True

    def init(self) -> None:
        if self._init is None:
            return
        names = _globals_of(self._init)
        before = dict(names)
        self._init()
        if self.script is None:
            self._init_module = names.get("__name__")
            self._assigned = {name: value for name, value in names.items() if before.get(name, self) is not value}

    def share_globals(self, function: Callable[..., Any]) -> None:
        """Let a function that came by value see the globals that ``init()`` assigned in the module of both."""
        names = _globals_of(function)
        if names.get("__name__") == self._init_module:
            names.update(self._assigned)

    def shutdown(self) -> None:
        if self._shutdown is not None:
            self._shutdown()


def _globals_of(function: Callable[..., Any]) -> dict[str, Any]:
    return getattr(innermost(function), "__globals__", {})


def _import_ahead(spec: WorkerSpec) -> None:
    """Import what the workers use later: once the user's folders are on the path, a file there could take its place.

    Calls of functions come soon, and most of them need little: the rest is promised to them.
    """

    if spec.cores // spec.worker_count > 1:
        import threadpoolctl  # type: ignore[import-untyped]  # noqa: F401
    if spec.kind == "script":
        import batchflow.worker.context
        import batchflow.worker.results  # noqa: F401

        if spec.frame is not None:
            from batchflow.tables.reading import import_ahead

            import_ahead(spec.frame)
    else:
        later.promise("cloudpickle", "linecache", "tokenize", "traceback")


IMPORT_THRESHOLD = 50_000
"""New objects before the youngest are searched for garbage while modules are imported, instead of some hundreds."""


@contextlib.contextmanager
def _few_collections() -> Iterator[None]:
    """Imports make hundreds of thousands of objects that stay, and to search them again and again finds nothing:
    a quarter of the time that TensorFlow takes.  What the user's code sets itself stays."""
    before, *others = gc.get_threshold()
    gc.set_threshold(IMPORT_THRESHOLD)
    try:
        yield
    finally:
        if gc.get_threshold() == (IMPORT_THRESHOLD, *others):
            gc.set_threshold(before)


@_few_collections()
def load_user_code(spec: WorkerSpec, pickled: bytes) -> UserCode:
    """Execute the entry script, or import or unpickle the functions; raises whatever that raises."""
    _import_ahead(spec)
    if spec.kind == "script":
        from batchflow.worker.entry_script import load_entry_script

        source = None if spec.source is None else spec.source.encode("latin-1")
        script = load_entry_script(Path(spec.script), Path(spec.source_directory), spec.arguments, source)
        return UserCode(script=script)
    function = init = None
    sys.path[:] = list(dict.fromkeys([*spec.paths, *sys.path]))
    if pickled:
        function, init = pickle.loads(pickled)
    return UserCode(
        function=function if spec.function is None else resolve(spec.function),
        init=init if spec.init is None else resolve(spec.init),
    )


def resolve(reference: str) -> Callable[..., Any]:
    """The function that ``module:qualified.name`` names."""
    module_name, _, qualified_name = reference.partition(":")
    found: Any = importlib.import_module(module_name)
    for part in qualified_name.split("."):
        found = getattr(found, part)
    if not callable(found):
        raise TypeError(f"{reference} is not a function but {type(found).__name__}")
    return found  # type: ignore[no-any-return]
