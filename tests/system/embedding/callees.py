"""Functions that workers import from here, by name."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import batchflow

_loaded: str | None = None


def double(numbers: list[int]) -> list[int]:
    return [2 * number for number in numbers]


def load() -> None:
    global _loaded
    _loaded = f"loaded in {os.getpid()}"


def is_loaded_here(_: object) -> bool:
    return _loaded == f"loaded in {os.getpid()}"


def fail() -> None:
    raise RuntimeError("no model here")


def pids(items: list[object]) -> list[int]:
    return [os.getpid()] * len(items)


def wait_for(path: str, result: Any = None) -> Any:
    """Return ``result`` once the file is there."""
    while not os.path.exists(path):
        time.sleep(0.005)
    return result


def mark_and_wait(mark: str, path: str, result: Any = None) -> Any:
    Path(mark).touch()
    return wait_for(path, result)


def meet(folder: str, name: str, other: str) -> str:
    """Two calls that can only end if both run at the same time."""
    Path(folder, name).touch()
    return wait_for(os.path.join(folder, other), name)


def count_calls(path: str) -> int:
    """How often it has been called with this path, this time included; no two calls get the same number, for an
    unbuffered append moves the place in the file in the same step in which it writes."""
    with open(path, "ab", buffering=0) as file:
        file.write(b"x")
        return file.tell()


def die_first(path: str, number: int = signal.SIGKILL) -> int:
    """Dies the first time, returns the number of calls later."""
    count = count_calls(path)
    if count == 1:
        os.kill(os.getpid(), number)
    return count


def die(number: int = signal.SIGKILL) -> None:
    os.kill(os.getpid(), number)


def leave(code: int = 0) -> None:
    os._exit(code)


def loop() -> None:
    while True:
        pass


def exit_with(code: object) -> None:
    raise SystemExit(code)


def shout(*_: object) -> None:
    raise KeyError("shouted")


def closed_over() -> Any:
    lock = threading.Lock()
    return lambda: lock


def nested(numbers: list[int]) -> list[int]:
    """A pool inside a worker of another, by both faces."""
    with batchflow.Pool(2) as pool:
        doubled = list(pool.map(double_one, numbers))
    return list(batchflow.map(double, doubled, workers=1, mini_batch_size=2))


def double_one(number: int) -> int:
    return 2 * number


def echo(value: Any) -> Any:
    return value


def size_of(value: bytes) -> int:
    return len(value)


def make(size: int) -> bytes:
    return bytes(size)


def in_worker() -> dict[str, Any]:
    with contextlib.suppress(EOFError):
        input()
    return {"cwd": os.getcwd(), "worker": os.environ.get("BATCHFLOW_WORKER"), "threads": threading.active_count()}


class Counter:
    """A callable with a state; every call gets it as it was sent."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> int:
        self.count += 1
        return self.count

    def method(self, by: int) -> int:
        self.count += by
        return self.count


class Picky(Exception):
    def __init__(self, one: int, two: int) -> None:
        super().__init__(f"{one} and {two}")


def be_picky() -> None:
    raise Picky(1, 2)


def unpicklable_error() -> None:
    raise ValueError("it holds", threading.Lock())


def huge_error() -> None:
    raise ValueError("huge", bytes(40 << 20))
