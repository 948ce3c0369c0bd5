"""Cases that once went wrong: each of them hung, blamed the wrong one, or took for ever."""

from __future__ import annotations

import os

import pytest
from system.parallel.steps import PROLOGUE, Steps, processes_with, script
from system.runner.processes import wait_until

from batchflow import _core
from batchflow.errors import RunAbortedError
from batchflow.mini_batches import MiniBatches
from batchflow.model import Dispatch, Failure
from batchflow.plan import Plan, Policy

ZYGOTE_THAT_DIES_BEFORE_IT_SAYS_FORKED = (
    PROLOGUE
    + """
real = os.pidfd_open

def slow(pid):
    if not os.path.exists("killed"):
        time.sleep(0.5)
        open("killed", "w").close()
        os.kill(os.getpid(), signal.SIGKILL)
    return real(pid)

os.pidfd_open = slow

def run(mini_batch, context):
    time.sleep(0.02)
    return [name(path) for path in mini_batch]
"""
)


def test_work_of_a_worker_that_was_never_heard_of_comes_back(steps: Steps) -> None:
    outcome = steps.run(ZYGOTE_THAT_DIES_BEFORE_IT_SAYS_FORKED, files=40, mini_batch_size=1, workers=1)
    assert outcome.done().succeeded == 40


def test_a_bad_item_is_tried_again_soon_and_stops_the_step(steps: Steps) -> None:
    body = "time.sleep(0.0005)\nif '00000' in names: raise ValueError('bad')"
    outcome = steps.run(script(body), files=4_000, mini_batch_size=1)
    assert "1 item" in outcome.message(RunAbortedError)
    assert len(outcome.rows) < 2_000, "the rest was not run first"


class Counted:
    """A set that counts how often it is asked."""

    def __init__(self, members: range) -> None:
        self.members = members
        self.asked = 0

    def __contains__(self, one: object) -> bool:
        self.asked += 1
        return one in self.members

    def __iter__(self):
        return iter(self.members)

    def __len__(self) -> int:
        return len(self.members)


def test_a_retry_costs_the_same_however_many_wait() -> None:
    plan = Plan(MiniBatches.of([(0, 5_000)], 1), Policy(failed_items_limit=None))
    plan.take_fresh(5_000)
    for index in range(5_000):
        plan.failed(Failure(Dispatch(index, 1, index, 1), "exception", "E", "m"))
    excluded = Counted(range(2_500))
    for _ in range(20):
        assert plan.take_ready(excluded) is not None
    assert excluded.asked <= 20 * 100


def test_thousands_of_results_with_other_columns_are_named_failures(steps: Steps) -> None:
    body = "k = int(names[0])\nif k == 0: time.sleep(0.5)\nreturn [{'a': 1}] if k < 2 else [{'b': 1}]"
    outcome = steps.run(script(body), files=3_000, mini_batch_size=1, oracle=False, output_format="csv", run_max_try=1)
    assert "the columns differ" in outcome.message(RunAbortedError)


def test_a_wide_header_is_a_result_that_is_too_large_and_no_damage(steps: Steps) -> None:
    body = "return [{'c' * 2_621_440: 1}]"
    outcome = steps.run(
        script(body), files=1, mini_batch_size=1, workers=1, oracle=False, output_format="csv", max_result_size=1 << 20
    )
    assert "max_result_size=1048576" in outcome.message(RunAbortedError)
    assert "memory that is not its own" not in outcome.message(RunAbortedError)


@pytest.mark.fault("A17")
def test_a_script_that_ignores_the_end_of_children_may_do_so(steps: Steps) -> None:
    body = "if names[0] == '00003' and context.attempt == 1: os._exit(3)"
    source = script(body, before="signal.signal(signal.SIGCHLD, signal.SIG_IGN)\n")
    outcome = steps.run(source, files=20, mini_batch_size=1)
    assert (outcome.done().succeeded, outcome.done().worker_deaths) == (20, 1)


def test_what_a_worker_has_started_ends_with_it(steps: Steps) -> None:
    body = "import subprocess\nsubprocess.run(['sleep', '30'])"
    outcome = steps.run(
        script(body), files=1, mini_batch_size=1, workers=1, run_invocation_timeout_s=0.3, run_max_try=1
    )
    assert "took longer than" in outcome.message(RunAbortedError)
    wait_until(lambda: not processes_with(steps.mark))


@pytest.mark.parametrize("size", [1 << 20, 5 << 20])
def test_all_that_a_dead_worker_published_counts_however_much_waits(size: int) -> None:
    """A drain stops after some megabytes of output; what a worker was doing is known only after all of it."""
    event_fd = os.eventfd(0, os.EFD_NONBLOCK)
    channel = _core.Channel(completion_size=1 << 24)
    port = _core.Port(channel.fd, event_fd, 1)
    channel.run_range(0, 3, 0, 1, 100)
    for _ in range(2):
        index, attempt, _, _ = port.take()
        port.publish_result(index, attempt, 1, b"", bytes(size))
    port.take()
    gather = _core.Gather()
    gather.drain(channel)
    while not channel.is_drained:
        gather.drain(channel)
    assert (channel.flights(), channel.first_started) == ([(2, 1, 2, 1)], True)
    os.close(event_fd)


@pytest.mark.fault("H17")
def test_what_a_user_should_know_is_told_in_a_line(steps: Steps) -> None:
    (steps.folder / "in").mkdir(parents=True)
    (steps.folder / "in/.hidden").touch()
    body = "if '00001' in names and context.attempt == 1: os._exit(3)\nreturn names + names[:1]"
    outcome = steps.run(script(body), files=2, mini_batch_size=1, workers=1, oracle=False)
    assert (outcome.done().succeeded, outcome.done().surplus) == (2, 2)
    first, second, third = outcome.notices
    assert first == "not part of the input: 1 hidden file or folder"
    assert second.startswith("worker 0 died, exit code 3, pid=")
    assert second.endswith(", another takes its place")
    assert third == "run() returned 2 elements more than there are items; all of them are in the output"


@pytest.mark.fault("C1")
def test_a_forgotten_return_is_asked_for(steps: Steps) -> None:
    source = "def run(mini_batch):\n    [path for path in mini_batch]\n"
    outcome = steps.run(PROLOGUE + source, files=10, oracle=False)
    assert "run() returned 0 elements for 5 items\nis `return` missing in run()?" in outcome.message(RunAbortedError)
