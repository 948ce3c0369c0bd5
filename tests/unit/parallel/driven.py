"""Outcomes with all they talk to, over real rings without processes: the test plays driver and workers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from batchflow._core import Channel, Gather, Port
from batchflow.mini_batches import MiniBatches
from batchflow.model import Dispatch, FailureEntry, WorkerExit
from batchflow.parallel.feeder import Feeder
from batchflow.parallel.outcomes import Outcomes, read, read_last
from batchflow.parallel.pieces import Pieces
from batchflow.plan import Plan, Policy
from batchflow.pool.events import WorkerDied


class Worker:
    """One that the test plays: number 7, process 70, unless told otherwise."""

    def __init__(self, number: int = 7, *, channel: Channel | None = None) -> None:
        self.number = number
        self.channel = channel or Channel()
        self.port = Port(self.channel.fd, -1, 1)

    def answer(self, *, columns: bytes = b"", rows: bytes | None = None, returned: int | None = None) -> None:
        """Take, run, publish: a line for each item."""
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


class Table:
    """Ten items, four mini-batches of three; a worker that tests may do with as they like."""

    def __init__(
        self,
        *,
        attempts_max: int = 1,
        isolate: bool = False,
        in_order: bool = True,
        gaps: Sequence[tuple[int, int]] = ((0, 10),),
        size: int = 3,
        input_count: int | None = None,
    ) -> None:
        work = MiniBatches.of(gaps, size, input_count=input_count)
        self.plan = Plan(work, Policy(attempts_max=attempts_max, isolate=isolate, failed_items_limit=None))
        self.gather = Gather(in_order=in_order)
        self.pieces = Pieces()
        self.feeder = Feeder(self.plan, self.gather, self.pieces)
        self.outcomes = Outcomes(self.plan, self.gather, self.feeder, self.pieces)
        self.worker = Worker()
        self._failures: list[FailureEntry] = []

    # The driver

    def ask(self, count: int, worker: Worker | None = None) -> None:
        """Give out so many fresh mini-batches."""
        work = self.plan.mini_batches
        first, stop = self.plan.take_fresh(count)
        while first < stop:
            next_first, start, size, stop_item = work.consecutive(first, stop)
            first += (worker or self.worker).channel.run_range(first, next_first, start, size, stop_item)

    def ask_again(self, worker: Worker | None = None) -> tuple[int, int, int]:
        """Give out what is to be tried again next; its first item, how many and which attempt."""
        one = self.plan.take_ready()
        assert one is not None
        channel = (worker or self.worker).channel
        assert channel.run(one.mini_batch_index, one.attempt, one.start, one.count, one.is_part)
        return one.start, one.count, one.attempt

    def read(self, worker: Worker | None = None) -> set[str]:
        one = worker or self.worker
        return read(self.outcomes, self.gather, one.channel, one.number, 10 * one.number)

    def bury(self, worker: Worker | None = None, **values: Any) -> Dispatch | None:
        """The worker has gone; what is to blame."""
        died = death((worker or self.worker).channel, **values)
        kinds = read_last(self.outcomes, self.gather, died)
        return self.outcomes.bury(died, damaged="damaged" in kinds, run_timeout_s=60)

    def commit(self) -> bytes:
        """A group commit; the bytes of it."""
        self._failures += self.outcomes.take_failures()
        view = self.gather.output()
        content = bytes(view)
        view.release()
        self.gather.clear()
        self.outcomes.settle()
        return content

    # What was booked

    @property
    def failures(self) -> list[FailureEntry]:
        self._failures += self.outcomes.take_failures()
        return self._failures

    @property
    def failed(self) -> list[tuple[int, int]]:
        """First item and how many, of every failure."""
        return [(failure.first_item, failure.item_count) for failure in self.failures]

    @property
    def entry(self) -> Mapping[str, Any]:
        """Of the only failure."""
        (failure,) = self.failures
        return failure.entry


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
