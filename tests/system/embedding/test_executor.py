"""What ``concurrent.futures`` expects of any executor, of ``batchflow.Pool``."""

from __future__ import annotations

import gc
import os
import sys
import threading
import time
import weakref
from collections.abc import Iterator
from concurrent import futures
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
from system.embedding import callees
from system.runner.processes import descendants, wait_until

import batchflow
from batchflow.parallel.engine import IDLE_S

TIMEOUT_S = 60


@pytest.fixture
def pool() -> Iterator[batchflow.Pool]:
    with batchflow.Pool(2) as pool:
        yield pool


def result(future: Future[Any]) -> Any:
    return future.result(timeout=TIMEOUT_S)


def test_a_call_with_arguments_of_both_kinds(pool):
    assert isinstance(pool, futures.Executor)
    assert result(pool.submit(pow, 2, 8)) == 256
    assert result(pool.submit(dict, fn=1, self=2)) == {"fn": 1, "self": 2}
    with pytest.raises(TypeError):
        pool.submit(fn=pow)
    with pytest.raises(TypeError):
        pool.submit()


def test_a_pool_that_has_gone_to_sleep_is_woken_by_a_call(pool):
    assert result(pool.submit(pow, 2, 0)) == 1
    time.sleep(0.5)
    assert pool.submit(pow, 2, 1).result(timeout=IDLE_S / 2) == 2


@pytest.mark.parametrize("chunksize", [1, 3, 100])
def test_map_over_several_iterables(pool, chunksize):
    results = pool.map(pow, range(10), [2] * 7, chunksize=chunksize)
    assert list(results) == [k * k for k in range(7)]


def test_map_raises_an_error_in_its_place(pool):
    results = pool.map(divmod, [1, 1, 1, 1], [2, 3, 0, 5])
    assert next(results) == (0, 1)
    assert next(results) == (0, 1)
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_map_with_a_timeout(pool, tmp_path):
    results = pool.map(callees.wait_for, [str(tmp_path), str(tmp_path / "later")], [1, 2], timeout=0.5)
    # Behind the first in the only worker that is free: when it is done, the first one's result is there.
    assert result(pool.submit(pow, 2, 2)) == 4
    assert next(results) == 1
    with pytest.raises(futures.TimeoutError):
        next(results)
    (tmp_path / "later").touch()


def test_map_with_a_wrong_chunksize(pool):
    with pytest.raises(ValueError, match="expected a positive integer, chunksize=0"):
        pool.map(pow, [1], [2], chunksize=0)


def test_map_calls_before_anyone_asks_for_results(pool, tmp_path):
    pool.map(callees.count_calls, [str(tmp_path / "one"), str(tmp_path / "two")])
    wait_until(lambda: (tmp_path / "one").exists() and (tmp_path / "two").exists())


@pytest.mark.parametrize("chunksize", [1, 4])
def test_map_keeps_no_result_that_was_given_away(pool, chunksize):
    for counter in pool.map(callees.echo, [callees.Counter() for _ in range(8)], chunksize=chunksize):
        reference = weakref.ref(counter)
        del counter
        gc.collect()
        assert reference() is None


def test_a_pool_keeps_no_argument_and_no_result(pool):
    counter = callees.Counter()
    reference = weakref.ref(counter)
    future = pool.submit(callees.echo, counter)
    del counter
    back = weakref.ref(result(future))
    del future
    wait_until(lambda: gc.collect() >= 0 and reference() is None and back() is None)


def test_wait_and_as_completed(pool, tmp_path):
    late = pool.submit(callees.wait_for, str(tmp_path / "go"), "late")
    early = pool.submit(callees.echo, "early")
    done, open_ = futures.wait([late, early], timeout=TIMEOUT_S, return_when=futures.FIRST_COMPLETED)
    assert (done, open_) == ({early}, {late})
    completed = futures.as_completed([late, early], timeout=TIMEOUT_S)
    assert next(completed) is early
    (tmp_path / "go").touch()
    assert next(completed) is late
    assert (result(early), result(late)) == ("early", "late")
    failing = pool.submit(divmod, 1, 0)
    done, open_ = futures.wait([failing, late], timeout=TIMEOUT_S, return_when=futures.FIRST_EXCEPTION)
    assert failing in done


def test_a_call_is_cancelled_before_it_is_sent_and_not_after(pool, tmp_path):
    go = str(tmp_path / "go")
    running = [pool.submit(callees.mark_and_wait, str(tmp_path / f"{k}"), go) for k in range(2)]
    wait_until(lambda: (tmp_path / "0").exists() and (tmp_path / "1").exists())
    waiting = [pool.submit(callees.count_calls, str(tmp_path / "counted")) for _ in range(20)]
    assert [future.cancel() for future in running] == [False, False]
    assert [future.running() for future in running] == [True, True]
    assert [future.cancel() for future in waiting[5:]] == [True] * 15
    Path(go).touch()
    assert sorted(result(future) for future in waiting[:5]) == [1, 2, 3, 4, 5]
    done, open_ = futures.wait(waiting, timeout=TIMEOUT_S)
    assert (len(done), len(open_)) == (20, 0)
    with pytest.raises(futures.CancelledError):
        result(waiting[7])


def test_shutdown_waits_for_what_was_submitted():
    pool = batchflow.Pool(2)
    submitted = [pool.submit(time.sleep, 0.01) for _ in range(40)]
    pool.shutdown()
    assert all(future.done() and future.exception() is None for future in submitted)
    assert descendants(os.getpid()) == []
    pool.shutdown()
    with pytest.raises(RuntimeError, match=r"^cannot schedule new futures after shutdown$"):
        pool.submit(pow, 2, 5)
    with pytest.raises(RuntimeError, match=r"^cannot schedule new futures after shutdown$"):
        pool.map_batches(callees.double, [1])


def test_shutdown_without_waiting_still_does_all(tmp_path):
    pool = batchflow.Pool(2)
    late = pool.submit(callees.wait_for, str(tmp_path / "go"), 7)
    others = pool.map(abs, range(-50, 0))
    pool.shutdown(wait=False)
    with pytest.raises(RuntimeError):
        pool.submit(pow, 2, 5)
    (tmp_path / "go").touch()
    assert list(others) == list(range(50, 0, -1))
    assert result(late) == 7
    pool.shutdown(wait=True)
    assert descendants(os.getpid()) == []


@pytest.mark.parametrize("wait", [True, False])
def test_shutdown_can_cancel_what_has_not_begun(tmp_path, wait):
    pool = batchflow.Pool(2)
    go = str(tmp_path / "go")
    submitted = [pool.submit(callees.mark_and_wait, str(tmp_path / f"{k}"), go, k) for k in range(50)]
    wait_until(lambda: (tmp_path / "0").exists() and (tmp_path / "1").exists())

    def let_go_when_cancelled() -> None:
        wait_until(lambda: all(future.cancelled() for future in submitted[2:]))
        Path(go).touch()

    if wait:
        threading.Thread(target=let_go_when_cancelled).start()
    pool.shutdown(wait=wait, cancel_futures=True)
    assert [future.cancelled() for future in submitted] == [False] * 2 + [True] * 48
    done, _ = futures.wait(submitted[2:], timeout=TIMEOUT_S)  # those who wait are told
    assert len(done) == 48
    Path(go).touch()
    assert [result(future) for future in submitted[:2]] == [0, 1]
    pool.shutdown()


def test_a_callback_may_submit_shut_down_raise_and_exit(pool):
    second: Future[Future[int]] = Future()
    pool.submit(pow, 2, 2).add_done_callback(lambda done: second.set_result(pool.submit(pow, done.result(), 2)))
    assert result(result(second)) == 16

    def bad(done: Future[int]) -> None:
        sys.exit(3)

    pool.submit(pow, 2, 3).add_done_callback(bad)
    assert result(pool.submit(pow, 2, 4)) == 16
    pool.submit(pow, 2, 5).add_done_callback(lambda done: pool.shutdown())
    wait_until(lambda: not descendants(os.getpid()))


def test_callbacks_of_cancelled_futures_may_submit(tmp_path):
    pool = batchflow.Pool(1)
    errors: list[str] = []

    def submit_more(done: Future[Any]) -> None:
        try:
            pool.submit(pow, 2, 2)
        except RuntimeError as error:
            errors.append(str(error))

    first = pool.submit(callees.mark_and_wait, str(tmp_path / "mark"), str(tmp_path / "go"))
    wait_until((tmp_path / "mark").exists)
    pool.submit(pow, 2, 2).add_done_callback(submit_more)
    pool.shutdown(wait=False, cancel_futures=True)
    assert errors == ["cannot schedule new futures after shutdown"]
    (tmp_path / "go").touch()
    result(first)
    pool.shutdown()


def test_a_pool_that_is_collected_ends_when_its_calls_are_done(tmp_path):
    pool: batchflow.Pool | None = batchflow.Pool(2)
    assert pool is not None
    future = pool.submit(callees.wait_for, str(tmp_path / "go"), 5)
    begun = time.monotonic()
    pool = None
    gc.collect()
    assert time.monotonic() - begun < 30  # nobody waits for it
    (tmp_path / "go").touch()
    assert result(future) == 5
    wait_until(lambda: not descendants(os.getpid()))


def test_a_pool_that_is_never_used_costs_nothing():
    batchflow.Pool(4)
    with batchflow.Pool(4):
        pass
    assert descendants(os.getpid()) == []
