"""The working directory that every mini-batch begins in: the workflow's folder, wherever the one before has gone.

Going back is a system call, which costs as much as a small mini-batch.  So the core goes back after every mini-batch
that takes a while (``Port.keep_home``), and here it is noticed where Python code changes the directory in a short one.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable

_fchdir = os.fchdir
_changes: list[str] = []


def watch() -> None:
    """Notice from now on when ``os.chdir`` or ``os.fchdir`` is called.  Before user code is imported."""
    for name in ("chdir", "fchdir"):
        setattr(os, name, _noticed(getattr(os, name)))


def _noticed(function: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(function)
    def notice(*arguments: object, **keywords: object) -> None:
        _changes.append(function.__name__)
        function(*arguments, **keywords)

    return notice


class Home:
    """The directory that this process is in when the object is made."""

    def __init__(self) -> None:
        self.folder = os.open(".", os.O_PATH)
        self.changes = _changes
        """True while somebody may be elsewhere; always the same list."""

    def go_back(self) -> None:
        """Raises ``OSError`` if the descriptor was closed."""
        _fchdir(self.folder)
        self.changes.clear()
