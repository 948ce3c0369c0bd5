"""``batchflow.map`` with real workers: order, errors in their place, early ends, large values."""

from __future__ import annotations

import gc
import itertools
import os
import threading
import time
from collections.abc import Iterator

import numpy
import pandas
import pytest
from system.embedding import callees
from system.runner.processes import descendants, wait_until

import batchflow
from batchflow.errors import ContractError


def test_results_come_in_input_order_however_long_calls_take():
    def slow_first(numbers: list[int]) -> list[int]:
        time.sleep(0.05 if numbers[0] == 0 else 0)
        return numbers

    assert list(batchflow.map(slow_first, range(2003), mini_batch_size=7, workers=2)) == list(range(2003))


@pytest.mark.parametrize("count", [0, 1, 9, 10, 11, 25_000])
def test_every_count_of_items(count):
    assert list(batchflow.map(callees.double, range(count), workers=2)) == [2 * k for k in range(count)]


def test_no_items_need_no_workers():
    results = batchflow.map(callees.double, [])
    assert list(results) == []
    assert descendants(os.getpid()) == []


def test_an_iterator_that_is_never_started_costs_nothing():
    results = batchflow.map(callees.double, range(10))
    assert descendants(os.getpid()) == []
    del results


@pytest.mark.parametrize("end", ["close", "collect"])
def test_the_workers_end_with_the_iterator(end):
    results: Iterator[int] | None = batchflow.map(callees.double, itertools.count(), workers=2)
    assert next(results) == 0
    wait_until(lambda: len(descendants(os.getpid())) == 4)  # the guard, the zygote and two workers
    if end == "close":
        results.close()
    results = None
    gc.collect()
    assert descendants(os.getpid()) == []


def test_items_are_read_only_as_needed():
    read = 0

    def items() -> Iterator[int]:
        nonlocal read
        while True:
            read += 1
            yield read

    results = batchflow.map(callees.double, items(), mini_batch_size=1, workers=2)
    assert next(results) == 2
    assert read <= 8 + 2 * 3 * 1024  # what keeps two workers busy, and no more
    results.close()


def test_large_items_are_not_read_far_ahead():
    read = 0

    def items() -> Iterator[bytes]:
        nonlocal read
        while True:
            read += 1
            yield bytes([read]) * (8 << 20)

    def number(batch: list[bytes]) -> list[int]:
        if batch[0][0] > 3:
            time.sleep(60)  # whatever is read from here on is out: no result of it waits
        return [batch[0][0]]

    results = batchflow.map(number, items(), mini_batch_size=1, workers=2)
    assert list(itertools.islice(results, 3)) == [1, 2, 3]
    assert read <= 3 + 1 + 64 // 8
    results.close()


def test_an_error_is_raised_in_its_place():
    def fail_on_57(numbers: list[int]) -> list[int]:
        if numbers[0] == 0:
            time.sleep(0.2)  # the failure is there long before
        if 57 in numbers:
            raise ValueError("57 is wrong")
        return numbers

    got: list[int] = []
    with pytest.raises(ValueError, match=r"^57 is wrong$") as caught:
        for result in batchflow.map(fail_on_57, range(1000), mini_batch_size=5, workers=2):
            got.append(result)
    assert got == list(range(55))
    assert 'raise ValueError("57 is wrong")' in str(caught.value.__cause__)


def test_an_error_of_the_items_is_raised_after_the_results_before_it():
    def items() -> Iterator[int]:
        yield from range(12)
        raise LookupError("no more")

    got: list[int] = []
    with pytest.raises(LookupError, match=r"^no more$"):
        for result in batchflow.map(callees.double, items(), mini_batch_size=5, workers=2):
            got.append(result)
    assert got == [2 * k for k in range(10)]  # the third mini-batch never came to be


def test_an_item_that_cannot_be_pickled_is_an_error_of_the_items():
    got: list[object] = []
    with pytest.raises(TypeError, match=r"cannot pickle '_thread.lock' object"):
        for result in batchflow.map(callees.echo, [1, 2, threading.Lock()], mini_batch_size=1, workers=1):
            got.append(result)
    assert got == [1, 2]


def test_an_error_before_the_first_item_starts_nothing():
    with pytest.raises(ZeroDivisionError):
        next(batchflow.map(callees.double, (1 // k for k in range(3))))


@pytest.mark.parametrize(
    ("returned", "text"),
    [
        (None, "the function must return one result for each item, got NoneType"),
        ("abc", "the function must return one result for each item, got str"),
        ({1: 1, 2: 2, 3: 3}, "the function must return one result for each item, got dict"),
        ({1, 2, 3}, "the function must return one result for each item, got set"),
        (7, "the function must return one result for each item, got int"),
        (pandas.DataFrame({"a": [1, 2, 3]}), r"one result for each item, got pandas.*DataFrame$"),
        ([1, 2], "the function returned 2 results for 3 items"),
        ((1, 2, 3, 4), "the function returned 4 results for 3 items"),
        (numpy.zeros((2, 3)), "the function returned 2 results for 3 items"),
    ],
)
def test_what_a_function_must_not_return(returned, text):
    with pytest.raises(ContractError, match=text):
        list(batchflow.map(lambda batch: returned, range(3), workers=1))


def test_iterators_arrays_and_series_are_results():
    def squares(numbers: list[int]) -> Iterator[int]:
        yield from (number**2 for number in numbers)

    assert list(batchflow.map(squares, range(5), workers=1)) == [0, 1, 4, 9, 16]
    rows = list(batchflow.map(lambda numbers: numpy.array([[k, -k] for k in numbers]), range(3), workers=1))
    assert [row.tolist() for row in rows] == [[0, 0], [1, -1], [2, -2]]
    assert list(batchflow.map(lambda numbers: pandas.Series(numbers) * 3, range(3), workers=1)) == [0, 3, 6]


def test_a_function_that_empties_its_mini_batch_is_held_to_what_it_got():
    def greedy(numbers: list[int]) -> list[int]:
        results = [number + 1 for number in numbers]
        numbers.clear()
        return results

    assert list(batchflow.map(greedy, range(25), workers=1)) == list(range(1, 26))


def test_large_items_and_results():
    size = 50 << 20
    assert list(batchflow.map(lambda batch: batch, [bytes(size), b"x"], mini_batch_size=1, workers=1)) == [
        bytes(size),
        b"x",
    ]


def test_a_result_too_large_to_be_sent_back_says_so():
    with pytest.raises(ContractError, match=r"^the result has \d+ bytes, at most 268435456 can be sent back$"):
        list(batchflow.map(lambda sizes: [bytes(size) for size in sizes], [300 << 20], workers=1))


def test_a_result_that_cannot_be_pickled_says_so():
    with pytest.raises(
        ContractError, match=r"^the result cannot be sent back: TypeError: cannot pickle '_thread.lock'"
    ):
        list(batchflow.map(lambda batch: [threading.Lock() for _ in batch], [1], workers=1))


def test_a_worker_killed_in_mid_call_is_replaced_and_its_call_tried_again(tmp_path):
    path = str(tmp_path / "calls")
    results = batchflow.map(lambda numbers: [callees.die_first(path) for _ in numbers], [0], workers=1)
    assert list(results) == [2]


def test_after_the_last_attempt_the_death_is_the_error(tmp_path):
    path = str(tmp_path / "calls")

    def killer(numbers: list[int]) -> list[int]:
        if 3 in numbers:
            callees.count_calls(path)
            callees.die()
        return numbers

    got: list[int] = []
    with pytest.raises(batchflow.WorkerDiedError, match=r"^worker \d died: signal 9 \(SIGKILL\), pid=\d+, attempt=2$"):
        for result in batchflow.map(killer, range(6), mini_batch_size=1, workers=2, attempts=2):
            got.append(result)
    assert got == [0, 1, 2]
    assert os.path.getsize(path) == 2


def test_a_clean_exit_in_mid_call_is_a_death():
    with pytest.raises(batchflow.WorkerDiedError, match="exit code 0"):
        list(batchflow.map(lambda batch: callees.leave(), [1], workers=1, attempts=1))


def test_a_call_that_never_ends_is_killed():
    with pytest.raises(batchflow.WorkerDiedError, match=r"^the call took longer than timeout_s=0.3, attempt=1$"):
        list(batchflow.map(lambda batch: callees.loop(), [1], workers=1, attempts=1, timeout_s=0.3))


def test_an_init_that_raises_is_told_and_ends_it():
    with pytest.raises(batchflow.EntryScriptError, match=r"(?s)did not get ready\n.*RuntimeError: no model here"):
        list(batchflow.map(callees.double, range(100), init=callees.fail, workers=2))


def test_init_runs_once_in_each_worker_before_its_calls():
    flags = list(batchflow.map(lambda batch: [callees.is_loaded_here(k) for k in batch], range(100), init=callees.load))
    assert flags == [True] * 100


def test_all_workers_killed_at_once_costs_nothing(tmp_path):
    def slow(numbers: list[int]) -> list[int]:
        time.sleep(0.02)
        return numbers

    results = batchflow.map(slow, range(40), mini_batch_size=1, workers=2)
    first = next(results)
    _, _, *workers = descendants(os.getpid())
    for pid in workers:
        os.kill(pid, 9)
    assert [first, *results] == list(range(40))


@pytest.mark.parametrize("generation", [0, 1], ids=["guard", "zygote"])
def test_a_killed_zygote_is_replaced(generation):
    def slow(numbers: list[int]) -> list[int]:
        time.sleep(0.02)
        return numbers

    results = batchflow.map(slow, range(40), mini_batch_size=1, workers=2, attempts=1)
    first = next(results)
    os.kill(descendants(os.getpid())[generation], 9)
    assert [first, *results] == list(range(40))


def test_two_iterators_at_once_and_one_passed_to_another_thread():
    one = batchflow.map(callees.double, range(300), workers=1)
    two = batchflow.map(callees.double, range(300), workers=1)
    assert next(one) == 0
    rest: list[int] = []
    thread = threading.Thread(target=lambda: rest.extend(one))
    thread.start()
    assert list(two) == [2 * k for k in range(300)]
    thread.join()
    assert rest == [2 * k for k in range(1, 300)]


def test_a_map_in_an_item_and_a_map_in_a_worker():
    inner = batchflow.map(callees.double, range(6), workers=1)
    assert list(batchflow.map(callees.double, inner, workers=1)) == [0, 4, 8, 12, 16, 20]
    assert list(batchflow.map(callees.nested, range(4), workers=1)) == [0, 4, 8, 12]


def test_a_slow_consumer_does_not_stop_the_workers():
    pids = set()
    for number, pid in enumerate(batchflow.map(callees.pids, range(4000), mini_batch_size=10, workers=2)):
        pids.add(pid)
        if number % 400 == 0:
            time.sleep(0.02)
    assert len(pids) <= 2


def test_in_a_forked_copy_the_iterator_can_be_dropped_without_harm():
    results = batchflow.map(callees.double, range(100), workers=2)
    first = next(results)
    child = os.fork()
    if child == 0:
        begun = time.monotonic()
        results.close()
        os._exit(0 if time.monotonic() - begun < 5 else 1)
    ended: list[tuple[int, int]] = []
    wait_until(lambda: ended.append(os.waitpid(child, os.WNOHANG)) or ended[-1][0])
    assert ended[-1] == (child, 0)
    assert [first, *results] == [2 * k for k in range(100)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mini_batch_size": 0}, "expected a positive integer, mini_batch_size=0"),
        ({"mini_batch_size": 2.5}, "expected a positive integer, mini_batch_size=2.5"),
        ({"workers": -1}, "expected a positive integer, workers=-1"),
    ],
)
def test_wrong_arguments_are_refused_at_once(options, message):
    with pytest.raises(batchflow.UsageError, match=message):
        batchflow.map(callees.double, [1], **options)


def test_items_must_be_iterable():
    with pytest.raises(TypeError, match="not iterable"):
        batchflow.map(callees.double, 7)
