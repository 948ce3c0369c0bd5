"""``batchflow.Pool``: what ``concurrent.futures`` expects of an executor, and what only this one promises."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from concurrent import futures
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
from system.embedding import callees
from system.runner.processes import descendants, wait_until

import batchflow
from batchflow.parallel.executor import BrokenPoolError

TIMEOUT_S = 60


@pytest.fixture
def pool() -> Iterator[batchflow.Pool]:
    with batchflow.Pool(2) as pool:
        yield pool


def result(future: Future[Any]) -> Any:
    return future.result(timeout=TIMEOUT_S)


# What any executor does


def test_a_call_with_arguments_of_both_kinds(pool):
    assert isinstance(pool, futures.Executor)
    assert result(pool.submit(pow, 2, 8)) == 256
    assert result(pool.submit(dict, fn=1, self=2)) == {"fn": 1, "self": 2}
    with pytest.raises(TypeError):
        pool.submit(fn=pow)
    with pytest.raises(TypeError):
        pool.submit()


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
    (tmp_path / "go").touch()
    assert [result(future) for future in futures.as_completed([late, early], timeout=TIMEOUT_S)] == ["early", "late"]
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
    if wait:
        threading.Timer(0.3, Path(go).touch).start()
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


# Calls


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
    assert f"SystemExit: {code}" in str(error)
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


# Deaths


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
    with batchflow.Pool(1, attempts=1, timeout_s=0.3) as pool:
        with pytest.raises(batchflow.WorkerDiedError, match=r"^the call took longer than timeout_s=0.3, attempt=1$"):
            result(pool.submit(callees.loop))
        assert result(pool.submit(pow, 2, 2)) == 4


def test_idle_workers_may_be_killed_any_number_of_times(pool):
    for _ in range(8):
        assert list(pool.map(pow, range(4), range(4))) == [1, 1, 4, 27]
        family = descendants(os.getpid())
        for pid in family:
            if pid != min(family):
                os.kill(pid, signal.SIGKILL)


def test_an_init_that_raises_breaks_the_pool():
    pool = batchflow.Pool(2, init=callees.fail)
    waiting = [pool.submit(pow, 2, k) for k in range(5)]
    for future in waiting:
        with pytest.raises(batchflow.EntryScriptError, match="RuntimeError: no model here"):
            result(future)
    wait_until(lambda: not descendants(os.getpid()))
    with pytest.raises(BrokenPoolError, match=r"^the pool is broken: 3 workers in a row did not get ready") as caught:
        while True:  # it is told to the futures a moment before
            pool.submit(pow, 2, 2)
    assert isinstance(caught.value, futures.BrokenExecutor)
    assert isinstance(caught.value.__cause__, batchflow.EntryScriptError)
    pool.shutdown()


def test_a_broken_pool_writes_to_no_descriptor_of_its_owner(tmp_path):
    """Its eventfd is closed; the number may be anybody's by now."""
    pool = batchflow.Pool(1, init=callees.fail)
    assert pool.submit(pow, 2, 2).exception(timeout=TIMEOUT_S) is not None
    wait_until(lambda: not descendants(os.getpid()) and threading.active_count() == 1)
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

    def broken(timeout_s: float) -> list[Any]:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(pool._engine._caller, "pump", broken)
    for future in waiting[:8]:
        with pytest.raises(batchflow.InternalError, match=r"^the pool's thread ended: ZeroDivisionError: a bug$"):
            result(future)
    done, _ = futures.wait([cancelled], timeout=TIMEOUT_S)
    assert done == {cancelled}
    with pytest.raises(BrokenPoolError):
        pool.submit(pow, 2, 2)


# Threads and processes


def test_many_threads_submit_cancel_and_shut_down_at_once():
    for round_number in range(5):
        pool = batchflow.Pool(2)
        outcomes: list[Future[int]] = []
        refused: list[RuntimeError] = []

        def submit(pool: batchflow.Pool, base: int, outcomes: list[Future[int]], refused: list[RuntimeError]) -> None:
            for number in range(base, base + 60):
                try:
                    future = pool.submit(callees.double_one, number)
                except RuntimeError as error:
                    refused.append(error)
                    return
                if number % 7 == 0:
                    future.cancel()
                outcomes.append(future)

        threads = [threading.Thread(target=submit, args=(pool, 1000 * k, outcomes, refused)) for k in range(6)]
        for thread in threads:
            thread.start()
        if round_number % 2:
            pool.shutdown(wait=round_number == 1, cancel_futures=round_number == 3)
        for thread in threads:
            thread.join()
        done, open_ = futures.wait(outcomes, timeout=TIMEOUT_S)
        assert not open_
        assert all(future.cancelled() or future.exception() is None for future in done)
        assert all(future.cancelled() or future.result() % 2 == 0 for future in done)
        assert round_number % 2 or len(outcomes) == 360
        pool.shutdown()


def test_in_a_forked_copy_a_pool_refuses_and_harms_nobody(pool):
    assert result(pool.submit(pow, 2, 2)) == 4
    child = os.fork()
    if child == 0:
        status = 1
        with contextlib.suppress(BaseException):
            try:
                pool.submit(pow, 2, 2)
            except RuntimeError as error:
                status = 0 if "forked" in str(error) else 2
            pool.shutdown()
        os._exit(status)
    ended: list[int] = []

    def collect() -> bool:
        pid, status = os.waitpid(child, os.WNOHANG)
        ended.append(status)
        return pid == child

    wait_until(collect)
    assert ended[-1] == 0
    assert result(pool.submit(pow, 2, 3)) == 8


def script(text: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", text],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
        **options,
    )


HEADER = """
import sys, time
import batchflow
def late(text):
    time.sleep(0.3)
    print(text, flush=True)
"""


@pytest.mark.parametrize(
    "text",
    [
        "pool = batchflow.Pool(2)\npool.submit(late, 'apple')",
        "pool = batchflow.Pool(2)\npool.submit(late, 'apple')\npool.shutdown(wait=False)",
        "batchflow.Pool(2).submit(late, 'apple')",
        "pool = batchflow.Pool(2)\nfuture = pool.submit(late, 'apple')\nsys.exit()",
    ],
)
def test_at_the_end_of_the_interpreter_what_was_submitted_is_done(text):
    ended = script(HEADER + text)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "apple\n", "")


@pytest.mark.parametrize(
    "text",
    [
        "results = batchflow.map(lambda batch: batch, range(1000))\nnext(results)",
        "results = batchflow.map(lambda batch: batch, range(1000))",
        "for result in batchflow.map(lambda batch: batch, range(1000)):\n    sys.exit()",
        "pool = batchflow.Pool(2)\nresults = pool.map_batches(lambda batch: batch, range(1000))\nnext(results)",
        "pool = batchflow.Pool(2)\npool.submit(pow, 2, 2).result()",
    ],
)
def test_at_the_end_of_the_interpreter_nothing_hangs_or_complains(text):
    ended = script(HEADER + text)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")


def test_no_call_is_taken_while_the_interpreter_ends():
    ended = script(
        "import atexit, batchflow\n"
        "@atexit.register\n"
        "def last():\n"
        "    try:\n"
        "        pool.submit(pow, 2, 2)\n"
        "    except RuntimeError as error:\n"
        "        print(error)\n"
        "pool = batchflow.Pool(1)\n"
        "assert pool.submit(pow, 2, 2).result() == 4\n"
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.startswith("cannot schedule new futures after")


def test_a_killed_owner_takes_everything_with_it(tmp_path):
    text = (
        "import os, time, batchflow\n"
        "pool = batchflow.Pool(2)\n"
        "futures = [pool.submit(time.sleep, 600) for _ in range(2)]\n"
        "while len(os.listdir('/proc/self/task')) < 2 or not all(f.running() for f in futures): time.sleep(0.01)\n"
        "print('running', flush=True)\n"
        "time.sleep(600)\n"
    )
    owner = subprocess.Popen([sys.executable, "-c", text], stdout=subprocess.PIPE)
    assert owner.stdout is not None
    assert owner.stdout.readline() == b"running\n"
    family = descendants(owner.pid)
    assert len(family) == 3
    owner.kill()
    owner.wait()
    owner.stdout.close()
    wait_until(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in family))


def test_what_a_worker_prints_is_not_lost():
    ended = script(
        "import batchflow\n"
        "def say(batch):\n"
        "    print('said', batch)\n"
        "    return batch\n"
        "list(batchflow.map(say, [1], workers=1))\n"
        "with batchflow.Pool(1) as pool: pool.submit(say, 2)\n"
    )
    assert ended.stdout == "said [1]\nsaid 2\n"


def test_types_of_calls_are_kept() -> None:
    """Checked by mypy where it looks at tests; here it only has to run."""
    make: Callable[..., batchflow.Pool] = batchflow.Pool
    with make(1) as pool:
        future: Future[int] = pool.submit(pow, 2, 2)
        assert result(future) == 4
