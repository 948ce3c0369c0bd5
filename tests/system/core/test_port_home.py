"""When the worker's end goes back to the working directory, and what it does when it cannot."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from batchflow._core import Channel, Port

LONG_S = 0.001


class Worker:
    """A worker with one mini-batch in hand that has left its folder."""

    def __init__(self) -> None:
        self.event_fd = os.eventfd(0, os.EFD_NONBLOCK)
        self.channel = Channel(request_size=4096, completion_size=4096)
        self.port = Port(self.channel.fd, self.event_fd, 1)
        self.home = os.open(".", os.O_PATH)
        self.port.keep_home(self.home)

    def leave(self) -> None:
        self.channel.run(0, 1, 0, 1)
        self.port.take()
        os.chdir("/")

    def answer(self) -> None:
        self.port.publish_result(0, 1, 1, b"", b"row\n")

    def is_announced(self) -> bool:
        try:
            return os.eventfd_read(self.event_fd) > 0
        except BlockingIOError:
            return False


@pytest.fixture
def worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Worker]:
    monkeypatch.chdir(tmp_path)
    one = Worker()
    yield one
    os.close(one.event_fd)
    with contextlib.suppress(OSError):
        os.close(one.home)


def test_after_a_mini_batch_that_took_a_while_it_is_back(worker: Worker, tmp_path: Path) -> None:
    worker.leave()
    time.sleep(LONG_S)
    worker.answer()
    assert Path.cwd() == tmp_path
    assert not worker.is_announced()
    assert len(worker.channel.drain()) == 1


def test_before_the_driver_is_woken_it_is_back(worker: Worker, tmp_path: Path) -> None:
    worker.leave()
    assert worker.channel.go_to_sleep()
    worker.answer()
    assert Path.cwd() == tmp_path
    assert worker.is_announced()


def test_before_it_sleeps_itself_it_is_back(worker: Worker, tmp_path: Path) -> None:
    worker.leave()
    worker.answer()
    os.chdir("/")
    worker.channel.drain()
    assert worker.channel.go_to_sleep()
    taken = threading.Thread(target=worker.port.take)
    taken.start()
    while not worker.is_announced():
        time.sleep(0.001)
    assert Path.cwd() == tmp_path
    worker.channel.stop()
    taken.join()


def test_who_keeps_no_home_goes_nowhere(worker: Worker) -> None:
    worker.port.keep_home(-1)
    worker.leave()
    time.sleep(LONG_S)
    assert worker.channel.go_to_sleep()
    worker.answer()
    assert Path.cwd() == Path("/")
    assert worker.is_announced()


@pytest.mark.parametrize("instead", ["nothing", "a file"])
def test_a_closed_descriptor_is_noticed_before_an_answer_that_took_a_while(
    worker: Worker, tmp_path: Path, instead: str
) -> None:
    worker.leave()
    os.close(worker.home)
    if instead == "a file":
        other = os.open(tmp_path / "file", os.O_CREAT | os.O_RDWR, 0o600)
        assert other == worker.home
    time.sleep(LONG_S)
    with pytest.raises(OSError, match="the descriptors of this worker are not its own any more"):
        worker.answer()
    assert worker.channel.drain() == []


def test_a_closed_descriptor_is_noticed_before_anybody_is_woken(worker: Worker) -> None:
    """What has the number of the eventfd by then may be a file of the script's."""
    worker.leave()
    assert worker.channel.go_to_sleep()
    os.close(worker.home)
    with pytest.raises(OSError, match="the descriptors of this worker are not its own any more"):
        worker.answer()
    assert not worker.is_announced()


def test_a_closed_descriptor_is_noticed_before_sleeping(worker: Worker) -> None:
    assert worker.channel.go_to_sleep()
    os.close(worker.home)
    with pytest.raises(OSError, match="the descriptors of this worker are not its own any more"):
        worker.port.take()
    assert not worker.is_announced()
