"""Which import started a thread?  A process with more than one thread must not be forked from."""

from __future__ import annotations

import importlib.machinery
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any


def thread_count() -> int:
    """How many threads this process has, those of C libraries included."""
    return sum(1 for _ in Path("/proc/self/task").iterdir())


class ThreadWatch:
    """While it is entered, notes the first module after whose execution there were more threads than before."""

    def __init__(self) -> None:
        self.culprit: str | None = None
        self._undo: list[tuple[type[Any], Callable[..., Any]]] = []

    def __enter__(self) -> ThreadWatch:
        before = thread_count()

        def watched(original: Callable[..., Any]) -> Callable[..., Any]:
            def exec_module(loader: object, module: ModuleType) -> object:
                result = original(loader, module)
                # The link count of the folder is the thread count plus two, at the price of one system call.
                if self.culprit is None and Path("/proc/self/task").stat().st_nlink - 2 > before:
                    self.culprit = module.__name__
                return result

            return exec_module

        for loader in (importlib.machinery.SourceFileLoader, importlib.machinery.ExtensionFileLoader):
            original = loader.exec_module
            self._undo.append((loader, original))
            loader.exec_module = watched(original)  # type: ignore[method-assign]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for loader, original in self._undo:
            loader.exec_module = original
        self._undo.clear()
