"""What notes and deaths mean, over real rings without processes: who is blamed, and for what."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest

from batchflow._core import Channel, Gather, Note, Port
from batchflow.errors import InternalError
from batchflow.model import Failure, Shortfall, WorkerExit
from batchflow.parallel.feeder import Feeder
from batchflow.parallel.outcomes import InitTrouble, Outcomes, read, read_last
from batchflow.plan import Plan, Policy
from batchflow.pool.events import WorkerDied


class Files:
    """Stands in for a listing."""

    item_count = 10

    def paths(self, start: int, stop: int) -> list[str]:
        return [f"/in/{number}" for number in range(start, stop)]


class Log:
    """Stands in for the failure log."""

    def __init__(self) -> None:
        self.failures: list[tuple[Failure, list[str]]] = []
        self.shortfalls: list[tuple[Shortfall, list[str]]] = []

    def add_failure(self, failure: Failure, items: Sequence[str]) -> None:
        self.failures.append((failure, list(items)))

    def add_shortfall(self, shortfall: Shortfall, items: Sequence[str]) -> None:
        self.shortfalls.append((shortfall, list(items)))


class Table:
    """Ten items, four mini-batches of three, one worker that this process plays itself."""

    def __init__(self, *, attempts_max: int = 1, in_order: bool = True) -> None:
        self.plan = Plan(4, 10, Policy(attempts_max=attempts_max))
        self.gather = Gather(in_order=in_order)
        self.feeder = Feeder(self.plan, self.gather, 3)
        self.log = Log()
        files: Any = Files()
        log: Any = self.log
        self.outcomes = Outcomes(self.plan, self.gather, self.feeder, log, files, 3)
        self.channel = Channel()
        self.port = Port(self.channel.fd, -1, 1)

    def ask(self, count: int) -> None:
        first, stop = self.plan.take_fresh(count)
        self.channel.run_range(first, stop, first * 3, 3, 10)

    def answer(self, *, columns: bytes = b"", rows: bytes | None = None, returned: int | None = None) -> None:
        """As a worker does: take, run, publish."""
        request = self.port.take()
        assert request is not None
        index, attempt, start, count = request
        text = b"".join(b"%d\n" % number for number in range(start, start + count)) if rows is None else rows
        self.port.publish_result(index, attempt, count if returned is None else returned, columns, text)

    def fail(self, **description: str) -> None:
        request = self.port.take()
        assert request is not None
        values = {"kind": "exception", "error_type": "ValueError", "message": "x", "traceback": "t"} | description
        self.port.publish_failure(request[0], request[1], json.dumps(values).encode())

    def read(self) -> set[str]:
        return read(self.outcomes, self.gather, self.channel, 7, 70)

    def die(self, **values: Any) -> bool:
        """The worker has gone; says whether a mini-batch is to blame."""
        died = death(self.channel, **values)
        kinds = read_last(self.outcomes, self.gather, died)
        return self.outcomes.bury(died, damaged="damaged" in kinds, run_timeout_s=60)


def death(channel: Channel, **values: Any) -> WorkerDied:
    defaults: dict[str, Any] = {
        "worker": 7,
        "channel": channel,
        "exit": WorkerExit(7, 1, 70, 9, None),
        "timed_out": False,
        "was_ready": True,
        "init_failed": False,
        "with_zygote": False,
        "peak_rss": 0,
        "output_tail": "last words",
        "stack": "",
    }
    return WorkerDied(**(defaults | values))


def test_what_a_dead_worker_had_begun_is_to_blame_and_nothing_else() -> None:
    table = Table()
    table.ask(3)
    table.port.take()
    assert table.die()
    (failure, items) = table.log.failures[0]
    assert (failure.dispatch.mini_batch_index, failure.kind, failure.signal) == (0, "died", 9)
    assert failure.message == "worker 7 died: signal 9 (SIGKILL), mini_batch_index=0, attempt=1, pid=70"
    assert failure.output_tail == "last words"
    assert items == ["/in/0", "/in/1", "/in/2"]
    assert len(table.log.failures) == 1
    assert (table.plan.lost_count, table.plan.ready_count, table.plan.in_flight_count) == (1, 2, 0)


def test_a_worker_that_had_begun_nothing_is_not_blamed() -> None:
    table = Table()
    table.ask(3)
    assert not table.die()
    assert (table.plan.lost_count, table.plan.ready_count, table.plan.attempts) == (0, 3, 0)


def test_what_a_dead_worker_had_published_counts_before_anybody_is_blamed() -> None:
    table = Table()
    table.ask(3)
    table.answer()
    table.answer()
    assert not table.die()
    table.outcomes.settle()
    assert bytes(table.gather.output()) == b"0\n1\n2\n3\n4\n5\n"
    assert (table.plan.succeeded_count, table.plan.ready_count, table.plan.lost_count) == (2, 1, 0)


def test_all_that_a_dead_worker_had_published_counts_however_much_it_is() -> None:
    """One drain stops after some megabytes of output."""
    table = Table()
    table.channel = Channel(completion_size=1 << 26)
    table.port = Port(table.channel.fd, -1, 1)
    table.ask(4)
    for _ in range(3):
        table.answer(rows=b"x" * (9 << 20) + b"\n")
    table.port.take()
    assert table.die()
    table.outcomes.settle()
    assert (table.plan.succeeded_count, table.plan.lost_count) == (3, 1)
    assert table.log.failures[0][0].dispatch.mini_batch_index == 3


def test_a_worker_that_ended_with_its_zygote_is_not_blamed() -> None:
    table = Table()
    table.ask(2)
    table.port.take()
    assert not table.die(with_zygote=True)
    assert (table.plan.ready_count, table.plan.lost_count) == (2, 0)


def test_a_timeout_names_the_limit_and_keeps_the_stack() -> None:
    table = Table()
    table.ask(1)
    table.port.take()
    assert table.die(timed_out=True, stack="File score.py")
    failure = table.log.failures[0][0]
    assert (failure.kind, failure.error_type, failure.traceback) == ("timeout", "TimeoutError", "File score.py")
    assert failure.message == (
        "run() took longer than run_invocation_timeout=60 s, worker 7 was killed, mini_batch_index=0, attempt=1, pid=70"
    )


def test_a_worker_that_wrote_over_foreign_memory_is_to_blame() -> None:
    table = Table()
    table.ask(2)
    died = death(table.channel)
    assert table.outcomes.bury(died, damaged=True, run_timeout_s=60)
    message = table.log.failures[0][0].message
    assert message == (
        "worker 7 wrote over memory that is not its own and was killed, mini_batch_index=0, attempt=1, pid=70"
    )


def test_peak_memory_is_told_where_it_is_known() -> None:
    table = Table()
    table.ask(1)
    table.port.take()
    table.die(peak_rss=5 << 30, exit=WorkerExit(7, 1, 70, None, 3))
    assert table.log.failures[0][0].message.endswith(
        "died: exit code 3, mini_batch_index=0, attempt=1, pid=70, peak memory 5,120 MiB"
    )


def test_a_failed_attempt_is_ready_again_until_it_was_the_last() -> None:
    table = Table(attempts_max=2)
    table.ask(1)
    table.fail(message="odd")
    assert table.read() == {"failed"}
    assert (table.plan.ready_count, table.outcomes.first_lost, table.log.failures) == (1, None, [])
    dispatch = table.plan.take_ready()
    assert dispatch is not None
    assert dispatch.attempt == 2
    table.channel.run(0, 2, 0, 3)
    table.fail(message="odder")
    table.read()
    ((failure, items),) = table.log.failures
    assert (failure.message, failure.worker, failure.pid, len(items)) == ("odder", 7, 70, 3)
    assert table.outcomes.first_lost is not None


def test_what_waited_behind_a_lost_mini_batch_is_appended() -> None:
    table = Table()
    table.ask(3)
    table.fail()
    table.answer()
    table.answer()
    table.read()
    assert table.outcomes.settle()
    assert bytes(table.gather.output()) == b"3\n4\n5\n6\n7\n8\n"
    assert not table.outcomes.settle()


def test_a_shortfall_is_booked_once_with_its_candidates() -> None:
    table = Table()
    table.ask(4)
    for returned in (3, 1, 3, 1):
        table.answer(returned=returned)
    table.read()
    table.outcomes.settle()
    assert table.log.shortfalls == [(Shortfall(1, 1, 1, 2), ["/in/3", "/in/4", "/in/5"])]
    assert table.outcomes.first_shortfall == Shortfall(1, 1, 1, 2)
    assert (table.plan.succeeded_item_count, table.plan.failed_item_count, table.plan.done) == (8, 2, True)


def test_columns_that_differ_fail_the_attempt_and_name_both() -> None:
    table = Table()
    table.ask(3)
    table.answer(columns=b"a,b\n")
    table.answer(columns=b"a,c\n")
    table.answer(columns=b"a,b\n")
    table.read()
    table.outcomes.settle()
    ((failure, items),) = table.log.failures
    assert (failure.kind, failure.error_type, items) == ("contract", "ContractError", ["/in/3", "/in/4", "/in/5"])
    expected = "the columns differ from those of the first mini-batch with rows, expected 'a,b', got 'a,c'"
    assert failure.message == expected
    assert (table.plan.succeeded_count, table.plan.lost_count) == (2, 1)


def test_several_results_behind_a_lost_mini_batch_may_have_other_columns() -> None:
    table = Table()
    table.ask(4)
    table.fail()
    table.answer(columns=b"a\n")
    table.answer(columns=b"b\n")
    table.answer(columns=b"c\n")
    table.read()
    table.outcomes.settle()
    assert [failure.dispatch.mini_batch_index for failure, _ in table.log.failures] == [0, 2, 3]
    assert (table.plan.succeeded_count, table.plan.lost_count, table.plan.done) == (1, 3, True)


def test_a_note_of_unknown_kind_is_a_bug() -> None:
    with pytest.raises(InternalError, match=r"^a note of unknown kind, kind=99$"):
        Table().outcomes.read_note(Note(99, 0, 1, 0, 0, 0, b"", b""), 0, 0)


def test_a_worker_that_gets_ready_makes_up_for_failures() -> None:
    table = Table()
    table.outcomes.init.failed(7, {"message": "x"})
    table.port.publish_ready()
    assert table.read() == {"ready"}
    assert table.outcomes.init.in_a_row == 0


def test_init_that_fails_is_counted_with_its_description() -> None:
    table = Table()
    table.port.publish_init_failed(b'{"message": "no model"}')
    assert table.read() == {"init_failed"}
    assert (table.outcomes.init.in_a_row, table.outcomes.init.last) == (1, {"message": "no model"})


def test_when_getting_ready_is_hopeless() -> None:
    trouble = InitTrouble()
    for worker in (0, 1, 0):
        assert not trouble.no_success
        trouble.failed(worker, {"message": "x"})
    assert trouble.no_success
    assert not trouble.has_no_hope(0)
    trouble.failed(0)
    assert trouble.has_no_hope(0)
    assert trouble.last == {"message": "x"}
    trouble.ready(1)
    assert not trouble.no_success
    assert trouble.has_no_hope(0)
    for _ in range(3):
        trouble.failed(1)
    assert not trouble.no_success  # one was ready once
    assert trouble.has_no_hope(1)
