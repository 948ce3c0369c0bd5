"""``batchflow.Pool``: functions, values and errors of every kind, and workers that die."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import threading
from collections.abc import Iterator
from concurrent import futures
from concurrent.futures import Future
from typing import Any

import pytest
from system.embedding import callees
from system.runner.processes import descendants, wait_until

import batchflow
from batchflow.parallel.engine import BrokenPoolError

TIMEOUT_S = 60


@pytest.fixture
def pool() -> Iterator[batchflow.Pool]:
    with batchflow.Pool(2) as pool:
        yield pool


def result(future: Future[Any]) -> Any:
    return future.result(timeout=TIMEOUT_S)


@pytest.mark.parametrize(
    ("function", "arguments", "expected"),
    [
        (lambda a, b=3: a * b, (5,), 15),
        (callees.double, ([4],), [8]),
        ("text".upper, (), "TEXT"),
        (int.from_bytes, (b"\1\0", "big"), 256),
        (callees.Counter().method, (4,), 4),
        (__import__("functools").partial(pow, 2), (5,), 32),
        (callees.Counter(), (), 1),
        (callees.Counter, (), 0),
    ],
)
def test_functions_of_every_kind(pool, function, arguments, expected):
    for _ in range(3):  # a state is the one that was sent, however often that is
        returned = result(pool.submit(function, *arguments))
        assert (returned.count if isinstance(returned, callees.Counter) else returned) == expected


def test_a_closure_travels_with_what_it_holds(pool):
    factor = 3

    def times(number: int) -> int:
        return number * factor

    assert list(pool.map(times, range(4))) == [0, 3, 6, 9]
    factor = 4
    assert result(pool.submit(times, 2)) == 8


def test_what_cannot_be_pickled_is_the_error_of_its_future(pool):
    with pytest.raises(TypeError, match=r"cannot pickle '_thread.lock' object"):
        result(pool.submit(callees.closed_over()))
    with pytest.raises(TypeError, match=r"cannot pickle '_thread.lock' object"):
        result(pool.submit(callees.echo, threading.Lock()))
    with pytest.raises(batchflow.EntryScriptError, match=r"^the result cannot be sent back: TypeError: cannot pickle"):
        result(pool.submit(callees.closed_over))
    assert result(pool.submit(pow, 2, 2)) == 4


@pytest.mark.parametrize(
    ("function", "kind", "text"),
    [
        (callees.shout, KeyError, "shouted"),
        (callees.be_picky, batchflow.EntryScriptError, r"callees\.Picky: 1 and 2"),
        (callees.unpicklable_error, batchflow.EntryScriptError, "ValueError: .*it holds"),
        (callees.huge_error, batchflow.EntryScriptError, "ValueError: .*huge"),
    ],
)
def test_errors_of_every_kind(pool, function, kind, text):
    error = pool.submit(function).exception(timeout=TIMEOUT_S)
    assert type(error) is kind
    with pytest.raises(kind, match=text):
        raise error
    shown = str(error.__cause__) if kind is KeyError else str(error)
    assert "Traceback (most recent call last)" in shown
    assert "callees.py" in shown
    assert result(pool.submit(pow, 2, 2)) == 4


@pytest.mark.parametrize("code", [0, 3, "text"])
def test_an_exit_in_a_call_is_its_error_and_not_ours(pool, code):
    error = pool.submit(callees.exit_with, code).exception(timeout=TIMEOUT_S)
    assert type(error) is batchflow.EntryScriptError
    assert "SystemExit" in str(error) and str(code) in str(error).splitlines()[-1]
    assert result(pool.submit(pow, 2, 2)) == 4


def test_large_arguments_and_results(pool):
    size = 50 << 20
    calls = [pool.submit(callees.size_of, bytes(size)) for _ in range(2)] + [pool.submit(callees.make, size)]
    assert result(calls[0]) == result(calls[1]) == size
    assert result(calls[2]) == bytes(size)
    error = pool.submit(callees.make, 300 << 20).exception(timeout=TIMEOUT_S)
    assert "at most 268435456 can be sent back" in str(error)


def test_a_pool_in_a_worker_of_another(pool):
    assert result(pool.submit(callees.nested, [1, 2, 3])) == [4, 8, 12]


def test_calls_that_wait_for_each_other_run_at_the_same_time(pool, tmp_path):
    """Nothing is queued behind a call that has not been seen to be short."""
    for number in range(3):
        folder = tmp_path / f"{number}"
        folder.mkdir()
        one = pool.submit(callees.meet, str(folder), "one", "two")
        two = pool.submit(callees.meet, str(folder), "two", "one")
        assert (result(one), result(two)) == ("one", "two")


def test_standard_input_is_empty_and_the_folder_is_the_callers(pool, tmp_path):
    facts = result(pool.submit(callees.in_worker))
    assert facts == {"cwd": os.getcwd(), "worker": facts["worker"], "threads": 1}
    assert facts["worker"] in ("0", "1")


def test_mini_batches_in_a_pool(pool):
    assert list(pool.map_batches(callees.double, range(95), mini_batch_size=10)) == [2 * k for k in range(95)]
    assert list(pool.map_batches(callees.double, [])) == []
    with pytest.raises(batchflow.EntryScriptError, match="the function returned 1 results for 3 items"):
        list(pool.map_batches(lambda batch: batch[:1], range(3)))
    with pytest.raises(batchflow.UsageError, match="mini_batch_size=0"):
        pool.map_batches(callees.double, [1], mini_batch_size=0)


def test_mini_batches_end_early_and_with_the_errors_of_the_items(pool):
    def items() -> Iterator[int]:
        yield from range(25)
        raise LookupError("no more")

    got: list[int] = []
    with pytest.raises(LookupError, match=r"^no more$"):
        for value in pool.map_batches(callees.double, items(), mini_batch_size=10):
            got.append(value)
    assert got == [2 * k for k in range(20)]
    endless = pool.map_batches(callees.double, iter(int, 1))
    assert next(endless) == 0
    endless.close()  # type: ignore[attr-defined]


def test_a_death_costs_its_call_one_attempt_and_no_other(pool, tmp_path):
    others = [pool.submit(callees.count_calls, str(tmp_path / f"{k}")) for k in range(30)]
    future = pool.submit(callees.die_first, str(tmp_path / "dies"))
    assert result(future) == 2
    assert [result(other) for other in others] == [1] * 30


@pytest.mark.parametrize(
    ("function", "arguments", "text"),
    [
        (callees.die, (signal.SIGKILL,), r"died: signal 9 \(SIGKILL\)"),
        (callees.die, (signal.SIGSEGV,), r"died: signal 11 \(SIGSEGV\)"),
        (callees.leave, (0,), "died: exit code 0"),
        (callees.leave, (70,), "died: exit code 70"),
    ],
)
def test_a_call_that_kills_its_worker_fails_and_the_pool_goes_on(function, arguments, text):
    with batchflow.Pool(1, attempts=2) as pool:
        with pytest.raises(batchflow.WorkerDiedError, match=rf"^worker 0 {text}, pid=\d+, attempt=2$"):
            result(pool.submit(function, *arguments))
        assert result(pool.submit(pow, 2, 2)) == 4


def test_a_call_that_never_ends_is_killed_and_the_pool_goes_on():
    with batchflow.Pool(1, attempts=1, timeout_s=1.5) as pool:
        with pytest.raises(batchflow.WorkerDiedError, match=r"^the call took longer than timeout_s=1.5, attempt=1$"):
            result(pool.submit(callees.loop))
        assert result(pool.submit(pow, 2, 2)) == 4


def test_idle_workers_may_be_killed_any_number_of_times(pool):
    for _ in range(8):
        assert list(pool.map(pow, range(4), range(4))) == [1, 1, 4, 27]
        _, _, *workers = descendants(os.getpid())
        for pid in workers:
            with contextlib.suppress(ProcessLookupError):  # the last round's, collected meanwhile
                os.kill(pid, signal.SIGKILL)


def test_an_init_that_raises_breaks_the_pool(tmp_path):
    def fail_when_told() -> None:
        callees.wait_for(str(tmp_path / "go"))
        callees.fail()

    pool = batchflow.Pool(2, init=fail_when_told)
    waiting = [pool.submit(pow, 2, k) for k in range(5)]
    (tmp_path / "go").touch()
    for future in waiting:
        with pytest.raises(batchflow.EntryScriptError, match="RuntimeError: no model here"):
            result(future)
    wait_until(lambda: not descendants(os.getpid()))
    with pytest.raises(BrokenPoolError, match=r"^the pool is broken: \d workers in a row did not get ready") as caught:
        while True:  # it is told to the futures a moment before
            pool.submit(pow, 2, 2)
    assert isinstance(caught.value, futures.BrokenExecutor)
    assert isinstance(caught.value.__cause__, batchflow.EntryScriptError)
    pool.shutdown()


def test_a_broken_pool_writes_to_no_descriptor_of_its_owner(tmp_path):
    """Its eventfd is closed; the number may be anybody's by now."""
    thread_count = threading.active_count()
    pool = batchflow.Pool(1, init=callees.fail)
    assert pool.submit(pow, 2, 2).exception(timeout=TIMEOUT_S) is not None
    wait_until(lambda: not descendants(os.getpid()) and threading.active_count() <= thread_count)
    with contextlib.ExitStack() as stack:
        mine = [stack.enter_context(open(tmp_path / f"{k}", "wb")) for k in range(20)]
        pool.shutdown()
        del pool
        gc.collect()
        for file in mine:
            file.flush()
            assert os.path.getsize(file.name) == 0


def test_a_pool_that_cannot_start_says_so_every_time(monkeypatch):
    pool = batchflow.Pool(1)
    monkeypatch.setattr("sys.executable", "/nowhere/python")
    with pytest.raises(batchflow.ResourceError, match="cannot start the process"):
        pool.submit(pow, 2, 2)
    with pytest.raises(BrokenPoolError, match=r"^the pool is broken: cannot start the process"):
        pool.submit(pow, 2, 2)
    pool.shutdown()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_when_the_pools_own_thread_fails_no_future_stays_open(pool, monkeypatch, tmp_path):
    waiting = [pool.submit(callees.wait_for, str(tmp_path / "never")) for _ in range(9)]
    cancelled = waiting[8]
    cancelled.cancel()

    def broken(*_: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(pool._engine._caller, "pump", broken)
    for future in waiting[:8]:
        with pytest.raises(batchflow.InternalError, match=r"^the pool's thread ended: ZeroDivisionError: a bug$"):
            result(future)
    done, _ = futures.wait([cancelled], timeout=TIMEOUT_S)
    assert done == {cancelled}
    with pytest.raises(BrokenPoolError):
        pool.submit(pow, 2, 2)
