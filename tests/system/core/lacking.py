"""A machine that gives out, in a process of its own: ``python lacking.py NAME`` runs one of these functions."""

from __future__ import annotations

import contextlib
import os
import resource
import sys
from collections.abc import Iterator

import pytest

from batchflow import _core

MIB = 1 << 20
SLACK = 4 * MIB
"""What may still be allocated; all that must fail is larger."""
LARGE = bytes(24 * MIB)


@contextlib.contextmanager
def limited(kind: int, limit: int) -> Iterator[None]:
    before = resource.getrlimit(kind)
    resource.setrlimit(kind, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(kind, before)


@contextlib.contextmanager
def little_memory() -> Iterator[None]:
    with open("/proc/self/statm") as file:
        used = int(file.read().split()[0]) * resource.getpagesize()
    with limited(resource.RLIMIT_AS, used + SLACK):
        yield


def piece(rows: bytes, columns: bytes = b"") -> list[tuple[int, int, int, bytes, bytes]]:
    return [(0, 1, 1, columns, rows)]


def no_descriptor_for_the_rings() -> None:
    lowest = os.open("/dev/null", os.O_RDONLY)
    os.close(lowest)
    with (
        limited(resource.RLIMIT_NOFILE, lowest),
        pytest.raises(OSError, match="cannot make shared memory for the rings of a worker"),
    ):
        _core.Channel()


def no_room_for_the_rings() -> None:
    with (
        limited(resource.RLIMIT_FSIZE, 8192),
        pytest.raises(OSError, match=r"cannot allocate 12288 bytes of shared memory for the rings of a worker"),
    ):
        _core.Channel(request_size=4096, completion_size=4096)


def no_address_space_for_the_rings() -> None:
    with little_memory(), pytest.raises(OSError, match="cannot map the rings of a worker"):
        _core.Channel(completion_size=16 * MIB)
    channel = _core.Channel(completion_size=16 * MIB)
    with little_memory(), pytest.raises(OSError, match="cannot map the rings of this worker"):
        _core.Port(channel.fd, -1, 1)


def no_memory_for_the_books_of_a_worker() -> None:
    channel = _core.Channel(request_size=16 * MIB)
    with little_memory(), pytest.raises(MemoryError, match=r"^no memory for the books of a worker$"):
        channel.run_range(0, 1 << 20, 0, 1, 1 << 20)
    held = channel.in_flight
    with little_memory(), pytest.raises(MemoryError, match=r"^no memory for the books of a worker$"):
        channel.run(held, 1, held, 1)
    with little_memory(), pytest.raises(MemoryError, match=r"^no memory for the books of a worker$"):
        channel.call(held, 1, b"")


def no_memory_for_a_request() -> None:
    channel = _core.Channel(request_size=64 * MIB)
    port = _core.Port(channel.fd, -1, 1)
    assert channel.call(0, 1, LARGE)
    assert channel.flush()
    with little_memory(), pytest.raises(MemoryError, match=r"^no memory for a request$"):
        port.take_call()


def no_memory_for_results() -> None:
    gather = _core.Gather()
    channel = _core.Channel(completion_size=128 * MIB)
    port = _core.Port(channel.fd, -1, 1)
    channel.run(1, 1, 1, 1)
    port.take()
    port.publish_result(1, 1, 1, b"", LARGE)
    with little_memory(), pytest.raises(MemoryError, match=r"^no memory for results$"):
        gather.drain(channel)
    with little_memory(), pytest.raises(MemoryError, match=r"^no memory for results$"):
        gather.put(2, 1, piece(LARGE))
    assert gather.put(2, 1, piece(LARGE)) == []
    with little_memory(), pytest.raises(MemoryError, match=r"^no memory for results$"):
        gather.spill()
    gather.put(0, 1, [])
    with little_memory(), pytest.raises(MemoryError, match=r"^no memory for results$"):
        gather.put(1, 1, [])  # the second comes with it
    with little_memory(), pytest.raises(MemoryError, match=r"^no memory for columns$"):
        _core.Gather(columns=LARGE)


if __name__ == "__main__":
    globals()[sys.argv[1]]()
