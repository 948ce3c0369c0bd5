"""``batchflow.Pool`` among threads and forks, and at the end of the interpreter."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent import futures
from concurrent.futures import Future
from typing import Any

import pytest
from system.embedding import callees
from system.runner.processes import descendants, wait_until

import batchflow

TIMEOUT_S = 60


@pytest.fixture
def pool() -> Iterator[batchflow.Pool]:
    with batchflow.Pool(2) as pool:
        yield pool


def result(future: Future[Any]) -> Any:
    return future.result(timeout=TIMEOUT_S)


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
    assert len(family) == 4  # the guard, the zygote and two workers
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
