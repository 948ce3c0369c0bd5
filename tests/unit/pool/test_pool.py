"""The pool against a zygote that the test plays: what it asks for, what it makes of answers, and of silence."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from unit.pool.played_zygote import Stage, stage

from batchflow.data import list_files
from batchflow.errors import InternalError
from batchflow.model import WorkerExit
from batchflow.pool import pool as room
from batchflow.pool.events import ForkFailed, InitTimedOut, LoadedLate, LoadFailed, WorkerDied, ZygoteDied
from batchflow.pool.logs import WorkerLog
from batchflow.pool.pool import STUCK_CLOSE_S, STUCK_S, ZYGOTE_SILENCE_S
from batchflow.pool.zygote_client import CLOSE_S
from batchflow.worker.spec import STACK_SIGNAL


@pytest.fixture
def one(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    with stage(monkeypatch) as one:
        yield one


def only(news: list[Any]) -> Any:
    (event,) = news
    return event


# Starting


def test_before_it_is_started_there_is_nothing_to_wait_for_or_to_close(monkeypatch: pytest.MonkeyPatch) -> None:
    one = Stage(monkeypatch)
    with pytest.raises(ValueError, match="the pool has not been started"):
        one.pool.wait()
    one.pool.close()
    assert one.zygote.closed == []


def test_a_worker_is_asked_for_with_its_rings_and_lives_until_it_is_reported_dead(one: Stage) -> None:
    assert one.pool.may_start(0)
    one.pool.start_worker(0)
    assert (one.zygote.forks, one.pool.alive_count, one.pool.may_start(0)) == ([(0, 1)], 1, False)
    with pytest.raises(ValueError, match="worker 0 lives already"):
        one.pool.start_worker(0)
    os.close(one.fork(1))
    one.pool.slots[1].pidfd = -1
    one.died(1, number=None, exit_code=0)
    event = only(one.pool.wait(0))
    assert (event.exit, event.was_ready, event.peak_rss) == (WorkerExit(1, 2, 4711, None, 0), False, 1 << 20)
    assert one.pool.alive_count == 1
    one.clock.advance(60)  # it never got ready: its slot is left alone for a while
    one.pool.start_worker(1)
    assert one.zygote.forks == [(0, 1), (1, 2), (1, 3)]


def test_rings_that_cannot_be_made_are_a_fork_that_failed(one: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    one.fork()
    one.died()
    one.pool.wait(0)

    def none(**sizes: int) -> None:
        raise OSError(24, "Too many open files")

    with monkeypatch.context() as patch:
        patch.setattr(room, "Channel", none)
        one.pool.start_worker(0)
    event = only(one.pool.wait(0))
    assert isinstance(event, ForkFailed)
    assert (event.worker, event.message) == (0, "[Errno 24] Too many open files")
    assert (one.pool.alive_count, one.pool.may_start(0)) == (0, False)


def test_a_fork_that_failed_is_told_and_tried_later(one: Stage) -> None:
    for number in (1, 2):
        one.pool.start_worker(0)
        one.says("fork_failed", message="Resource temporarily unavailable")
        event = only(one.pool.wait(0))
        assert event == ForkFailed(0, "Resource temporarily unavailable", number)
        assert not one.pool.may_start(0)
        one.clock.advance(60)
        assert one.pool.may_start(0)


def test_a_worker_without_a_descriptor_to_watch_it_is_let_go(one: Stage) -> None:
    one.pool.start_worker(0)
    one.says("forked", pid=4711)
    event = only(one.pool.wait(0))
    assert event == ForkFailed(0, "Too many open files", 1)
    assert one.pool.slots[0].retired
    assert one.zygote.ports[0].take() is None  # it was told to stop
    one.pool.kill_worker(0)
    assert one.signals == []  # never by a bare number


def test_code_that_starts_threads_is_imported_by_each_worker(one: Stage, tmp_path: Path) -> None:
    (tmp_path / "item").touch()
    listing = list_files((f"{tmp_path}/",))
    one.pool.send_inputs([(listing.describe(), listing.fds())])
    one.pool.start_worker(1)
    one.says("loaded", threads=3, culprit="numpy")
    assert only(one.pool.wait(0)) == LoadedLate(3, "numpy")
    first, second = one.zygotes
    assert (len(first.closed), second.spec.import_late, one.pool.spec.import_late) == (1, True, True)
    assert (second.inputs, second.forks) == ([listing.describe()], [(1, 3)])
    assert not one.pool.loaded
    one.says("loaded", threads=3, culprit="numpy")
    assert one.pool.wait(0) == []
    assert one.pool.loaded


def test_code_that_cannot_be_loaded_is_told(one: Stage) -> None:
    one.says("load_failed", error_type="ImportError", message="no", traceback="")
    event = only(one.pool.wait(0))
    assert isinstance(event, LoadFailed)
    assert event.description["message"] == "no"


# News


def test_whoever_is_not_there_any_more_has_no_news(one: Stage) -> None:
    one.fork()
    one.died()
    one.zygote.messages[-1].values["generation"] = 99
    with pytest.raises(InternalError, match="news of a worker of another generation, worker=0"):
        one.pool.wait(0)


def test_another_thread_can_wake_the_driver(one: Stage) -> None:
    one.pool.wake()
    one.pool.wake()
    assert one.pool.wait(60) == []
    one.pool.close()
    one.pool.wake()  # nobody waits any more


def test_a_wake_up_that_somebody_else_has_taken_is_none(one: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    def taken(descriptor: int, size: int) -> bytes:
        raise BlockingIOError

    one.pool.wake()
    monkeypatch.setattr(os, "read", taken)
    assert one.pool.wait(60) == []


def test_a_zygote_that_is_gone_takes_its_workers_along(one: Stage) -> None:
    pidfd = one.fork(0)
    one.pool.slots[0].ready = True
    one.pool.start_worker(1)
    one.zygote.gone, one.zygote.status = True, -11
    death, end = one.pool.wait(0)
    assert isinstance(death, WorkerDied)
    assert (death.worker, death.with_zygote, death.exit.signal, death.was_ready) == (0, True, 9, True)
    assert end == ZygoteDied(-11, False)
    assert (one.pool.alive_count, one.zygote.closed) == (0, [CLOSE_S])
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.close(pidfd)
    assert one.pool.wait(0) == []  # until there is another one
    one.pool.restart_zygote()
    os.close(one.fork(0))
    one.pool.slots[0].pidfd = -1


def test_a_zygote_that_owes_an_answer_for_too_long_is_given_up(one: Stage) -> None:
    one.loaded()
    one.pool.start_worker(0)
    assert one.pass_time(ZYGOTE_SILENCE_S - 1) == []
    assert only(one.pass_time(2)) == ZygoteDied(0, False)


def test_while_it_loads_a_zygote_owes_nothing_but_that(monkeypatch: pytest.MonkeyPatch) -> None:
    with stage(monkeypatch, limits={"init_timeout_s": 100.0}) as one:
        one.pool.start_worker(0)
        assert one.pass_time(99) == []
        event = only(one.pass_time(1.2)[:1])
        assert event.description == {
            "error_type": "TimeoutError",
            "message": "importing the code took longer than init_timeout=100 s",
            "traceback": "",
        }


def test_without_a_limit_it_may_load_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    with stage(monkeypatch, limits={"init_timeout_s": None, "run_timeout_s": None}) as one:
        assert one.pass_time(300) == []


# Killing


def test_a_worker_that_is_to_be_killed_is_killed_once_it_is_there(one: Stage) -> None:
    one.pool.start_worker(0)
    one.pool.kill_worker(0)
    assert one.signals == []
    pidfd = os.eventfd(0, os.EFD_NONBLOCK)
    one.says("forked", 0, pidfd, pid=4711)
    one.pool.wait(0)
    assert one.signals == [(pidfd, signal.SIGKILL)]
    one.died()
    event = only(one.pool.wait(0))
    assert not event.out_of_memory  # we know who killed it


def test_who_has_just_ended_cannot_be_killed(one: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    one.fork()

    def gone(descriptor: int, number: int) -> None:
        raise ProcessLookupError

    monkeypatch.setattr(signal, "pidfd_send_signal", gone)
    one.pool.kill_worker(0)
    assert one.pool.slots[0].killed is None


def test_a_worker_that_the_kernel_does_not_let_go_is_left_behind(one: Stage) -> None:
    one.loaded()
    one.fork()
    one.pool.kill_worker(0)
    assert one.pass_time(STUCK_S) == []
    event = only(one.pass_time(0.5))
    assert (event.worker, event.stuck, event.exit.signal) == (0, True, 9)
    assert not one.pool.may_start(0)
    one.died()
    assert one.pool.wait(0) == []  # it was reported already
    one.pool.close()
    assert one.zygote.closed == [STUCK_CLOSE_S]


def test_one_that_has_ended_is_waited_for_until_the_zygote_says_how(one: Stage) -> None:
    one.loaded()
    pidfd = one.fork()
    one.pool.kill_worker(0)
    os.eventfd_write(pidfd, 1)  # as a pidfd does at the end
    assert one.pass_time(2 * STUCK_S) == []
    assert only(one.pass_time(ZYGOTE_SILENCE_S)[-1:]) == ZygoteDied(0, False)


# Timeouts


@pytest.fixture
def log(tmp_path: Path) -> WorkerLog:
    return WorkerLog(tmp_path / "worker-0.log")


def at_work(one: Stage, worker: int = 0) -> None:
    """It has got ready, and begun a mini-batch."""
    port = one.zygote.ports[worker]
    port.set_state("running")
    one.pool.slots[worker].channel.run(0, 1, 0, 1)
    assert port.take() is not None


def test_one_that_is_too_slow_shows_its_stack_and_is_killed(
    monkeypatch: pytest.MonkeyPatch, log: WorkerLog, tmp_path: Path
) -> None:
    with stage(monkeypatch, logs=[log, WorkerLog(tmp_path / "worker-1.log")]) as one:
        one.loaded()
        pidfd = one.fork()
        at_work(one)
        os.write(log.fd, b"what it printed\n")
        assert one.pass_time(2.0) == []
        assert one.signals == []
        one.pass_time(0.3)
        os.write(log.fd, b"its stack\n")
        one.pass_time(0.3)
        assert one.signals[0] == (pidfd, STACK_SIGNAL)
        assert (pidfd, signal.SIGKILL) in one.signals
        one.died()
        event = only(one.pool.wait(0))
        assert (event.timed_out, event.output_tail, event.stack) == (True, "what it printed", "its stack")


def test_one_that_shows_no_stack_has_time_for_it_and_no_more(
    monkeypatch: pytest.MonkeyPatch, log: WorkerLog, tmp_path: Path
) -> None:
    with stage(monkeypatch, logs=[log, WorkerLog(tmp_path / "worker-1.log")]) as one:
        one.loaded()
        pidfd = one.fork()
        at_work(one)
        one.pass_time(2.4)
        assert one.signals == [(pidfd, STACK_SIGNAL)]
        one.pass_time(0.3)
        assert (pidfd, signal.SIGKILL) in one.signals


def test_without_a_log_there_is_no_stack_to_ask_for(one: Stage) -> None:
    one.loaded()
    pidfd = one.fork()
    at_work(one)
    one.pass_time(2.5)
    assert set(one.signals) == {(pidfd, signal.SIGKILL)}
    one.died()
    event = only(one.pool.wait(0))
    assert (event.timed_out, event.output_tail, event.stack) == (True, "", "")


def test_one_that_dies_of_the_question_was_too_slow_as_well(
    monkeypatch: pytest.MonkeyPatch, log: WorkerLog, tmp_path: Path
) -> None:
    with stage(monkeypatch, logs=[log, WorkerLog(tmp_path / "worker-1.log")]) as one:
        one.loaded()
        one.fork()
        at_work(one)
        one.pass_time(2.2)
        one.died(number=STACK_SIGNAL)
        assert only(one.pool.wait(0)).timed_out


def test_one_that_does_not_begin_what_it_was_given_was_stopped_by_somebody(one: Stage) -> None:
    one.loaded()
    pidfd = one.fork()
    one.zygote.ports[0].set_state("idle")
    one.pool.slots[0].channel.run(0, 1, 0, 1)
    one.pass_time(2.5)
    assert set(one.signals) == {(pidfd, signal.SIGKILL)}


def test_one_that_has_nothing_to_do_may_take_its_time(one: Stage) -> None:
    one.loaded()
    one.fork()
    one.zygote.ports[0].set_state("idle")
    assert one.pass_time(100) == []
    assert one.signals == []


def test_one_that_does_not_get_ready_is_told_once_and_killed(one: Stage) -> None:
    one.loaded()
    pidfd = one.fork()
    assert one.pass_time(9.9) == []
    assert one.pass_time(1) == [InitTimedOut(0)]
    assert set(one.signals) == {(pidfd, signal.SIGKILL)}


def test_one_that_hangs_in_init_is_told_once_even_if_it_takes_long_to_die(
    monkeypatch: pytest.MonkeyPatch, log: WorkerLog, tmp_path: Path
) -> None:
    with stage(monkeypatch, logs=[log, WorkerLog(tmp_path / "worker-1.log")]) as one:
        one.loaded()
        pidfd = one.fork()
        news = []
        for _ in range(1060):  # a hundred times a second: it is asked, and has a moment to answer
            one.clock.advance(0.01)
            news += one.pool.wait(0)
        assert news == [InitTimedOut(0)]
        assert one.signals[0] == (pidfd, STACK_SIGNAL)
        assert set(one.signals[1:]) == {(pidfd, signal.SIGKILL)}


# Ending


def test_workers_are_asked_to_stop_if_there_are_any(one: Stage) -> None:
    one.fork(0)
    one.pool.stop_workers()
    assert one.zygote.ports[0].take() is None


def test_closing_waits_for_the_kernel_and_closes_everything(one: Stage) -> None:
    before = os.listdir("/proc/self/fd")
    pidfd = one.fork(0)
    one.pool.close()
    one.pool.close()
    assert (one.waited, one.zygote.closed) == ([CLOSE_S], [CLOSE_S])
    assert len(os.listdir("/proc/self/fd")) < len(before)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(pidfd)
    assert one.pool.alive_count == 0
