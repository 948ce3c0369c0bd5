"""Modules that are imported late, if ever, but from where they were found early.

Once the user's folders are on ``sys.path``, a file there could take the place of a module that we use.  To import
everything before is safe and slow: what most processes never need is only promised here.  While such a module is
executed ``sys.path`` is as it was then, so that what it imports itself comes from there, too.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any


def promise(*names: str) -> None:
    """From now on these top-level modules are found along the ``sys.path`` of this moment."""
    sys.meta_path.insert(0, _Finder(frozenset(names), [*sys.path], [*sys.meta_path]))


class _Finder:
    """Asks the other finders, as they were, for the modules that were promised."""

    def __init__(self, names: frozenset[str], path: list[str], finders: list[Any]) -> None:
        self._names = names
        self._path = path
        self._finders = finders

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name not in self._names:
            return None
        before, sys.path = sys.path, [*self._path]
        try:
            found = (finder.find_spec(name, path, target) for finder in self._finders)
            spec: ModuleSpec | None = next((one for one in found if one is not None), None)
        finally:
            sys.path = before
        if spec is None:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        if spec.loader is not None:
            loader: Any = _Loader(spec.loader, self._path)
            spec.loader = loader
        return spec


class _Loader:
    """A loader that executes its module under another ``sys.path``; all else is the loader's own."""

    def __init__(self, loader: Any, path: list[str]) -> None:  # noqa: ANN401
        self._loader = loader
        self._path = path

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        return getattr(self._loader, name)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        created: ModuleType | None = self._loader.create_module(spec)
        return created

    def exec_module(self, module: ModuleType) -> None:
        module.__loader__ = self._loader
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        before, sys.path = sys.path, [*self._path]
        try:
            self._loader.exec_module(module)
        finally:
            sys.path = before
