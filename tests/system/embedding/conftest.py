"""Every test here is on a leash, and ends with a look at what it left in this process."""

from __future__ import annotations

import gc
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType

import pytest
from system.runner.processes import descendants, wait_until

LEASH_S = 240


def _bite(number: int, frame: FrameType | None) -> None:
    raise TimeoutError(f"the test took longer than {LEASH_S} s")


@pytest.fixture(autouse=True)
def leash() -> Iterator[None]:
    before = signal.signal(signal.SIGALRM, _bite)
    signal.alarm(LEASH_S)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def descriptors() -> dict[str, str]:
    """Number and target of every descriptor of this process but the one that lists them."""
    found = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            found[name] = os.readlink(f"/proc/self/fd/{name}")
        except FileNotFoundError:
            continue
    return found


def memory_files() -> list[str]:
    with open("/proc/self/maps") as file:
        return [line for line in file if "memfd:batchflow" in line]


@pytest.fixture(autouse=True)
def nothing_is_left(leash: None) -> Iterator[None]:
    threads = set(threading.enumerate())
    before = descriptors()
    yield
    gc.collect()  # pools and iterators that the test let go of
    wait_until(lambda: not descendants(os.getpid()))
    wait_until(lambda: set(threading.enumerate()) <= threads)
    wait_until(lambda: gc.collect() >= 0 and not memory_files())
    assert descriptors().items() <= before.items()
