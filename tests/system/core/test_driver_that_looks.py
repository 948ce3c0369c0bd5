"""A worker that is a process, and a driver that looks for the answer although it is down as asleep."""

from __future__ import annotations

import os

import pytest

from batchflow._core import Channel, Port

TRIES = 1000


def is_woken(event_fd: int) -> bool:
    try:
        return os.eventfd_read(event_fd) > 0
    except BlockingIOError:
        return False


def work(channel: Channel, event_fd: int) -> None:
    port = Port(channel.fd, event_fd, channel.generation)
    while (request := port.take_call()) is not None:
        index, attempt, payload = request
        port.publish_result(index, attempt, 1, b"", payload)


def test_a_driver_that_looks_by_itself_is_not_woken():
    channel, event_fd = Channel(), os.eventfd(0, os.EFD_NONBLOCK)
    worker = os.fork()
    if worker == 0:
        try:
            work(channel, event_fd)
        finally:
            os._exit(0)
    channel.set_spin(50_000, 2**32 - 1)
    try:
        for index in range(TRIES):  # either side may be late now and then, but not every time
            channel.call(index, 1, b"%d" % index)
            channel.go_to_sleep()
            while not channel.look(50_000):
                pass
            assert [note.payload for note in channel.drain()] == [b"%d" % index]
            channel.get_up()
            if not is_woken(event_fd):
                break
        else:
            pytest.fail("woken every time")
    finally:
        channel.stop()
        os.waitpid(worker, 0)
        os.close(event_fd)
