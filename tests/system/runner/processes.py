"""Looking at processes from outside, and waiting for what must happen."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

_PATIENCE_S = 60.0


def wait_until(condition: Callable[[], object]) -> None:
    """Return as soon as ``condition()`` holds; fail if it does not for very long."""
    deadline = time.monotonic() + _PATIENCE_S
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError("waited in vain")
        time.sleep(0.01)


def descendants(pid: int) -> list[int]:
    """The processes below ``pid``, those that have ended but were not yet collected included."""
    parents = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                parents[int(folder.name)] = int((folder / "stat").read_bytes().rpartition(b")")[2].split()[1])
            except OSError:
                continue
    found = [one for one, parent in parents.items() if parent == pid]
    return found + [below for one in found for below in descendants(one)]


def alive(pid: int) -> bool:
    """Whether the process runs: one that has ended and waits to be collected does not."""
    try:
        return (Path("/proc") / str(pid) / "stat").read_bytes().rpartition(b")")[2].split()[0] != b"Z"
    except OSError:
        return False
