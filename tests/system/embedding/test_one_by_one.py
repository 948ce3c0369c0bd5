"""One call at a time: sent by the thread that submits it, its answer looked for by the thread that waits for it."""

from __future__ import annotations

import linecache
import os
import pickle
import signal
import sys
import threading
import time
from collections.abc import Iterator
from concurrent import futures
from types import FrameType
from typing import Any

import pytest
from system.embedding import callees
from system.runner.processes import wait_until

import batchflow
from batchflow.parallel import calls, engine

TIMEOUT_S = 60
ENGINE = "batchflow-pool"


@pytest.fixture
def pool() -> Iterator[batchflow.Pool]:
    with batchflow.Pool(2) as pool:
        assert pool.submit(pow, 2, 8).result(TIMEOUT_S) == 256
        yield pool


def test_values_and_errors_one_after_the_other(pool):
    for number in range(300):
        if number % 3:
            assert pool.submit(divmod, 100, number).result(TIMEOUT_S) == divmod(100, number)
        else:
            with pytest.raises(ZeroDivisionError):
                pool.submit(divmod, 1, 0).result(TIMEOUT_S)


def test_large_values_and_arguments(pool):
    for size in (1, 1 << 16, 3 << 20, 7):
        assert pool.submit(callees.echo, bytes(size)).result(TIMEOUT_S) == bytes(size)


def test_one_mini_batch_after_the_other(pool):
    for number in range(100):
        assert list(pool.map_batches(callees.double, [number, 1], mini_batch_size=2)) == [2 * number, 2]


def test_functions_of_others_are_called_by_the_engine(pool):
    names: list[str] = []

    def note(future: Any) -> None:
        names.append(threading.current_thread().name)

    for _ in range(50):
        future = pool.submit(pow, 2, 3)
        future.add_done_callback(note)
        assert future.result(TIMEOUT_S) == 8
    done = pool.submit(pow, 2, 3)
    assert done.result(TIMEOUT_S) == 8
    done.add_done_callback(note)  # at once, and here
    pool.shutdown()
    assert sorted(set(names)) == ["MainThread", ENGINE]
    assert len(names) == 51


def test_a_future_that_is_done_is_done_for_all_who_wait(pool):
    for _ in range(50):
        future = pool.submit(pow, 2, 3)
        waiting = threading.Thread(target=futures.wait, args=([future],))
        waiting.start()
        assert future.result(TIMEOUT_S) == 8
        waiting.join(TIMEOUT_S)
        assert not waiting.is_alive()


def test_a_result_that_is_not_there_yet(pool, tmp_path):
    late = pool.submit(callees.wait_for, str(tmp_path / "go"), "late")
    with pytest.raises(futures.TimeoutError):
        late.result(0)
    with pytest.raises(futures.TimeoutError):
        late.result(0.05)
    assert pool.submit(pow, 2, 3).result(TIMEOUT_S) == 8
    (tmp_path / "go").touch()
    assert late.result(TIMEOUT_S) == "late"


def test_threads_that_each_call_one_by_one(pool):
    wrong: list[int] = []

    def call(base: int) -> None:
        for number in range(100):
            if pool.submit(pow, base, 2).result(TIMEOUT_S) != base * base:
                wrong.append(number)

    threads = [threading.Thread(target=call, args=(base,)) for base in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_worker_that_dies_of_the_only_call(pool):
    for _ in range(2):
        with pytest.raises(batchflow.WorkerDiedError, match="died: signal 9"):
            pool.submit(callees.die).result(TIMEOUT_S)
        assert pool.submit(pow, 2, 3).result(TIMEOUT_S) == 8


def test_a_worker_that_is_killed_between_two_calls(pool):
    for _ in range(3):
        os.kill(pool.submit(os.getpid).result(TIMEOUT_S), signal.SIGKILL)
        assert pool.submit(pow, 2, 3).result(TIMEOUT_S) == 8


class Unreadable:
    """Cannot be made again where it comes back."""

    def __reduce__(self) -> Any:
        return _refuse, (os.getpid(),)


def _refuse(pid: int) -> None:
    if pid != os.getpid():
        raise LookupError("not here")


def test_a_value_that_cannot_be_read_is_the_futures_error(pool):
    for _ in range(5):
        with pytest.raises(LookupError, match="not here"):
            pool.submit(Unreadable).result(TIMEOUT_S)
    assert pool.submit(pow, 2, 3).result(TIMEOUT_S) == 8


def test_in_a_forked_process_a_result_that_was_there_can_be_had(pool):
    future = pool.submit(pow, 2, 3)
    assert future.result(TIMEOUT_S) == 8
    child = os.fork()
    if child == 0:
        os._exit(future.result(TIMEOUT_S))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 8


class Interrupted(Exception):
    pass


class Interrupter:
    """Raises at the n-th line of the engine's, or of the caller's, that this thread comes to; as Ctrl-C may.

    Not where a lock is taken or let go: no signal's handler is called there.
    """

    def __init__(self, number: int, interrupted: set[str]) -> None:
        self.left = number
        self.interrupted = interrupted

    def __call__(self, frame: FrameType, event: str, _: object) -> Any:
        if frame.f_code.co_filename not in (engine.__file__, calls.__file__):
            return None
        line = linecache.getline(frame.f_code.co_filename, frame.f_lineno).lstrip()
        if event == "line" and not line.startswith("with "):
            self.left -= 1
            if self.left == 0:
                self.interrupted.add(line.rstrip())
                raise Interrupted
        return self


def test_a_signals_handler_that_raises_at_any_line_loses_no_call():
    submitted: list[Any] = []
    interrupted: set[str] = set()
    with batchflow.Pool(1) as pool:
        for number in range(1, 100):
            futures.wait([*submitted, pool.submit(pow, 2, 8)], TIMEOUT_S)
            wait_until(lambda: pool._engine._turn.is_free)
            sys.settrace(Interrupter(number, interrupted))
            try:
                submitted.append(pool.submit(pow, 2, 3))
                submitted[-1].result(TIMEOUT_S)
            except Interrupted:
                pass
            finally:
                sys.settrace(None)
        assert [future.result(TIMEOUT_S) for future in submitted] == [8] * len(submitted)
        assert pool.submit(pow, 2, 4).result(TIMEOUT_S) == 16
    assert {"channel.get_up()", "self._alone = future, index, channel"} <= interrupted


def test_an_idle_pool_and_one_that_waits_use_no_processor(pool, tmp_path):
    late = pool.submit(callees.wait_for, str(tmp_path / "go"), "late")
    waiting = threading.Thread(target=late.result, args=(TIMEOUT_S,))
    waiting.start()
    begun_s = time.process_time()
    time.sleep(1.0)
    used_s = time.process_time() - begun_s
    (tmp_path / "go").touch()
    waiting.join()
    assert used_s < 0.3
    assert pickle.loads(pickle.dumps(late.result())) == "late"
