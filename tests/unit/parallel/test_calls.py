"""The books of ``Caller``: what is sent, to whom, and what has come back."""

from __future__ import annotations

import os
import pickle
import threading

import pytest
from unit.parallel.played import Outcome, Table

from batchflow.errors import EntryScriptError, ResourceError
from batchflow.pool.events import ForkFailed, LoadFailed
from batchflow.worker.calls import pickled_failure


def test_workers_are_started_with_the_calls_and_never_more_than_there_are_calls():
    table = Table(workers=4)
    table.pump()
    assert table.pool.started == []
    table.submit(0, 1, 2)
    table.pump()
    table.pump()
    assert table.pool.started == [0, 1, 2]


def test_a_call_goes_out_and_its_value_comes_back():
    table = Table()
    table.submit(7)
    table.get_ready()
    assert (table.caller.outstanding, table.caller.outstanding_size) == (1, len(b"call 7"))
    assert table.take() == 7
    table.answer(0, 7)
    assert table.pump() == [Outcome(7, b"value 7", None)]
    assert (table.caller.outstanding, table.caller.outstanding_size) == (0, 0)
    assert table.pump() == []


def test_before_a_call_has_been_timed_nobody_holds_two_while_another_waits_for_one():
    table = Table(workers=2)
    table.submit(0, 1, 2, 3)
    table.get_ready()
    assert (table.held(0), table.held(1)) == ([0], [1])


def test_short_calls_are_given_in_advance_and_the_rest_is_shared_out():
    table = Table(workers=2)
    table.submit(*range(41))
    table.get_ready()
    table.answer(0, table.take(0))  # in next to no time
    table.pump()
    assert table.held(0) == list(range(2, 11))  # a quarter of the 39 that wait
    assert table.held(1) == [1]


def test_code_that_cannot_be_loaded_ends_the_pool():
    table = Table()
    text = "Traceback …\nModuleNotFoundError: No module named 'x'\n"
    table.pool.news.append(LoadFailed({"error_type": "", "message": "", "traceback": text}))
    with pytest.raises(EntryScriptError, match=r"^the function cannot be loaded in the workers\nTraceback") as caught:
        table.pump()
    assert caught.value.traceback == text
    assert caught.value.hint == (
        "a worker is a fresh Python with this process's sys.path: what the function needs must be on it"
    )


def test_a_fork_that_fails_is_tried_again_after_a_pause_while_others_work():
    table = Table(workers=2)
    table.submit(0, 1)
    table.pump()
    table.pool.news.append(ForkFailed(1, "Resource temporarily unavailable", 1))
    table.pool.not_due.add(1)
    for _ in range(3):
        table.pump()
    assert table.pool.started == [0, 1]
    table.pool.not_due.clear()
    table.pump()
    assert table.pool.started == [0, 1, 1]


def test_without_any_process_there_is_no_pool():
    table = Table()
    table.submit(0)
    table.pump()
    for failure_count in range(1, 7):
        table.pool.news.append(ForkFailed(0, "Resource temporarily unavailable", failure_count))
        table.pump()
    assert len(table.pool.started) == 7
    table.pool.news.append(ForkFailed(0, "Resource temporarily unavailable", 7))
    with pytest.raises(ResourceError, match=r"^no worker can be started: Resource temporarily unavailable$"):
        table.pump()


def test_what_is_not_accepted_is_never_sent():
    refused = {1, 3}
    table = Table(accept=lambda index: index not in refused)
    table.submit(0, 1, 2, 3)
    table.get_ready()
    for expected in (0, 2):
        assert table.take() == expected
        table.answer(0, expected)
        assert table.pump() == [Outcome(expected, b"value %d" % expected, None)]
    assert (table.caller.outstanding, table.caller.outstanding_size) == (0, 0)


def test_what_is_not_accepted_any_more_can_be_dropped_at_once():
    refused: set[int] = set()
    table = Table(accept=lambda index: index not in refused)
    table.submit(0, 1, 2, 3)
    table.get_ready()
    refused |= {0, 1, 3}
    table.caller.drop_refused()
    assert table.held() == [0]  # sent already
    assert table.caller.outstanding == 2
    table.answer(0, table.take())
    table.pump()
    assert table.held() == [2]


def test_a_large_call_reaches_its_worker_in_pieces():
    table = Table(attempts=1)
    payload = bytes(range(256)) * 80  # five times the ring
    table.caller.submit(0, payload)
    table.get_ready()
    assert table.held() == [0]
    table.pool.die(0)  # half sent: nobody is to blame, and the next worker gets all of it
    table.get_ready()
    received: list[object] = []
    worker = threading.Thread(target=lambda: received.append(table.pool.ports[0].take_call()), daemon=True)
    worker.start()
    for _ in range(30_000):
        assert table.pump() == []
        worker.join(0.001)
        if not worker.is_alive():
            break
    assert received == [(0, 1, payload)]


def test_a_failure_is_the_outcome_of_its_call():
    table = Table(attempts=3)
    table.submit(0)
    table.get_ready()
    table.take()
    table.pool.ports[0].publish_failure(0, 1, pickled_failure(ValueError("no")))
    ((index, value, error),) = table.pump()
    assert (index, value, str(error)) == (0, None, "no")


def test_a_close_in_another_process_ends_nothing(monkeypatch):
    table = Table()
    monkeypatch.setattr(os, "getpid", lambda: -1)
    table.caller.close()
    assert table.pool.closed == 0
    monkeypatch.undo()
    table.caller.close()
    assert table.pool.closed == 1


def test_stop_waits_for_workers_that_are_ready_and_not_for_those_that_never_were():
    table = Table(workers=2)
    table.submit(0, 1)
    table.pump()
    table.pool.ports[0].publish_ready()
    table.pump()
    table.pool.slots[0].asked_for = False
    table.caller.stop()  # worker 1 would never end: the clock stands still
    assert (table.pool.stopped, table.pool.closed) == (1, 1)


def test_results_are_pickled_by_the_worker_and_not_looked_into():
    table = Table()
    table.submit(0)
    table.get_ready()
    table.take()
    table.pool.ports[0].publish_result(0, 1, 1, b"", pickle.dumps([1]))
    assert table.pump() == [Outcome(0, pickle.dumps([1]), None)]
