"""What belongs to a process and not to a library it uses.  Runs inside the processes that the tests start."""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import locale
import logging
import os
import resource
import signal
import sys
import threading
import time
import warnings
from typing import Any


def shared_memory() -> list[str]:
    """Names of ours in the folder of shared memory; the crash machine may have its laboratories there meanwhile."""
    names = os.listdir("/dev/shm")
    return sorted(name for name in names if "batchflow" in name and not name.startswith("batchflow-crash-"))


ENDING_S = 30.0


ENDING_S = 30.0


def take(before: dict[str, Any] | None = None) -> dict[str, Any]:
    """A picture of this process, to be compared with a later one; ``before``: the earlier one.

    A thread is gone for Python a moment before it is for the kernel: those that were not there before may end first.
    """
    gc.collect()
    since = time.monotonic()
    while before and set(_threads()) - set(before["threads"]) and time.monotonic() - since < ENDING_S:
        time.sleep(0.001)
    umask = os.umask(0o77)
    os.umask(umask)
    loggers = [logging.root, *logging.root.manager.loggerDict.values()]
    picture: dict[str, Any] = {
        "signal handlers": {number: signal.getsignal(number) for number in signal.valid_signals()},
        "signal mask": signal.pthread_sigmask(signal.SIG_BLOCK, ()),
        "working directory": os.getcwd(),
        "umask": umask,
        "environment": dict(os.environ),
        "sys.path": list(sys.path),
        "sys.argv": list(sys.argv),
        "sys.meta_path": list(sys.meta_path),
        "__main__": sys.modules["__main__"],
        "standard streams": (sys.stdin, sys.stdout, sys.stderr),
        "hooks": (sys.excepthook, sys.unraisablehook, threading.excepthook, sys.displayhook),
        "logging": [(logger, logger.level, list(logger.handlers)) for logger in loggers if _is_set_up(logger)],
        "logging off": logging.root.manager.disable,
        "warnings": (list(warnings.filters), warnings.showwarning),
        "collector": (gc.isenabled(), gc.get_threshold(), gc.get_freeze_count()),
        "limits": [resource.getrlimit(number) for number in range(16)],
        "locale": locale.setlocale(locale.LC_ALL),
        "interpreter": (sys.getrecursionlimit(), sys.getswitchinterval(), faulthandler.is_enabled()),
        "process group": (os.getpgid(0), os.getsid(0), os.nice(0)),
        "threads of Python": sorted(thread.name for thread in threading.enumerate()),
        "threads": _threads(),
        "children": sorted(pid for task in _threads() for pid in _children(task)),
        "descriptors": _descriptors(),
        "shared memory": _lines("/proc/self/maps", "memfd:batchflow"),
        "folder of shared memory": shared_memory(),
    }
    return picture


def differences(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """What changed, in words."""
    return [f"{name}: {before[name]} became {after[name]}" for name in before if before[name] != after[name]]


def _is_set_up(logger: Any) -> bool:
    return isinstance(logger, logging.Logger) and bool(logger.handlers or logger.level or logger is logging.root)


def _threads() -> list[str]:
    return sorted(os.listdir("/proc/self/task"), key=int)


def _children(task: str) -> list[str]:
    with contextlib.suppress(OSError), open(f"/proc/self/task/{task}/children") as file:
        return file.read().split()
    return []  # the thread has ended


def _descriptors() -> dict[str, str]:
    found = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            found[name] = os.readlink(f"/proc/self/fd/{name}")
        except FileNotFoundError:  # the one that listed them
            continue
    return found


def _lines(path: str, word: str) -> list[str]:
    with open(path) as file:
        return [line for line in file if word in line]
