"""The rings between two real processes: every record arrives once, whole and in order, also from one that is killed.

Under ``PERTURB=1`` (``make stress``) the core gives the processor away around its atomic accesses, so that rare
interleavings become common.
"""

from __future__ import annotations

import contextlib
import os
import random
import select
import signal
import zlib
from collections.abc import Callable, Iterator

import pytest

from batchflow import _core

pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")


@contextlib.contextmanager
def forked(child: Callable[[], None]) -> Iterator[int]:
    """Run ``child`` in a forked process, on a leash: an alarm in it, SIGKILL and waitpid here."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            signal.alarm(100)
            child()
            status = 0
        finally:
            os._exit(status)
    try:
        yield pid
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, 0)


def rows_of(index: int) -> bytes:
    """Deterministic bytes of a length between 0 and several records."""
    noise = zlib.crc32(index.to_bytes(8, "little"))
    size = noise % 37 if noise % 50 else noise % 30_000
    return (b"%d," % index) * (size // 8) + b"\n"


def echo(channel: _core.Channel, event_fd: int) -> None:
    port = _core.Port(channel.fd, event_fd, channel.generation)
    port.publish_ready()
    while (request := port.take()) is not None:
        index, attempt, start, count = request
        if start != 10 * index:
            raise ValueError(f"a request was damaged, {request=}")
        port.publish_result(index, attempt, count, b"", rows_of(index))


def sleep(channel: _core.Channel, event_fd: int, seconds: float = 1.0) -> None:
    if channel.go_to_sleep():
        select.select([event_fd], [], [], seconds)
    channel.get_up()
    with contextlib.suppress(BlockingIOError):
        os.eventfd_read(event_fd)


@pytest.mark.parametrize("ring_size", [4096, 1 << 16])
def test_every_record_arrives_once_whole_and_in_order(ring_size: int) -> None:
    seed = random.randrange(2**32)
    random_numbers = random.Random(seed)
    total = 3_000 if ring_size == 4096 else 20_000
    event_fd = os.eventfd(0, os.EFD_NONBLOCK)
    channel = _core.Channel(request_size=ring_size, completion_size=ring_size, start=2**64 - 8192)
    gather = _core.Gather()
    asked = silent = 0
    output = bytearray()
    with forked(lambda: echo(channel, event_fd)):
        while gather.next < total:
            before = gather.next
            notes = [note for note in gather.drain(channel) if note.kind != _core.READY]
            assert notes == [], f"{seed=}"
            output += gather.output()
            gather.clear()
            if asked < total:
                stop = min(total, asked + random_numbers.randrange(1, 70))
                asked += channel.run_range(asked, stop, 10 * asked, 10, 10 * total)
                channel.set_low_water(random_numbers.randrange(0, 10))
            # The driver must be woken: if it slept for all of ten seconds, a wake-up was lost.
            sleep(channel, event_fd, 10.0)
            silent = 0 if gather.next > before else silent + 1
            assert silent < 1000, f"no progress, {seed=}, next={gather.next}"
    assert bytes(output) == b"".join(rows_of(index) for index in range(total)), f"{seed=}"
    os.close(event_fd)


@pytest.mark.fault("A3")
def test_a_worker_killed_at_any_instant_leaves_whole_records_or_none() -> None:
    seed = random.randrange(2**32)
    random_numbers = random.Random(seed)
    event_fd = os.eventfd(0, os.EFD_NONBLOCK)
    answered = 0
    for generation in range(1, 151):
        channel = _core.Channel(request_size=1 << 14, completion_size=1 << 12, generation=generation)
        channel.run_range(0, 256, 0, 10, 2560)
        received = []
        with forked(lambda channel=channel: echo(channel, event_fd)) as pid:
            for _ in range(random_numbers.randrange(0, 40)):
                received += channel.drain()
            sleep(channel, event_fd, random_numbers.random() / 200)
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            received += channel.drain()
        context = f"{seed=}, {generation=}"
        assert _core.DAMAGED not in [note.kind for note in received], context
        results = [note for note in received if note.kind == _core.RESULT]
        for index, note in enumerate(results):
            assert (note.mini_batch_index, note.payload) == (index, rows_of(index)), context
        assert channel.flights() == [(index, 1, 10 * index, 10) for index in range(len(results), 256)], context
        answered += len(results)
    assert answered > 0
    os.close(event_fd)
