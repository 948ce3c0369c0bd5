"""Channels and the workers behind them, played: what they publish and how they end, by chance.

A channel keeps the core's contract: answers come in the order of the requests, anything else is damage; nothing that
was published is lost with its worker; what had begun can be told from what had not.
"""

from __future__ import annotations

from collections import deque
from typing import Any

from batchflow import _core
from batchflow._core import Gather, Note
from batchflow.model import WorkerExit
from batchflow.pool.events import WorkerDied
from tests.crash.simulation.case import Case, mask

READY = Note(_core.READY, 0, 0, 0, 0, 0, b"", b"")
DAMAGED = Note(_core.DAMAGED, 0, 0, 0, 0, 0, b"", b"")
INIT_FAILED = Note(_core.INIT_FAILED, 0, 0, 0, 0, 0, b"", b'{"error_type":"E","message":"m","traceback":""}')
Request = tuple[int, int, int, int, bool]
"""Mini-batch, attempt, first item, how many, whether it is a part."""
EXCEPTION = b'{"kind":"exception","error_type":"E","message":"m","traceback":""}'
CONTRACT = b'{"kind":"contract","error_type":"E","message":"m","traceback":""}'


class Channel:
    """The driver's end, as feeder and outcomes see it, and the worker's."""

    def __init__(self, generation: int, room: int, run_ns: int) -> None:
        self.generation = generation
        self.room = room
        self._each_ns = run_ns
        self.held: deque[Request] = deque()
        """The driver's books of what is in flight."""
        self.requests: deque[Request] = deque()
        """What the worker has not answered."""
        self.published: deque[tuple[Note, Request | None]] = deque()
        """Answers, and to what."""
        self.has_begun = False
        """The worker works on ``requests[0]``."""
        self.refuses = False
        self.is_stopping = False
        """It was asked to shut down after what it has."""
        self.result_count = self.result_size = self.run_ns = self.arrived_items = 0

    # For the feeder

    @property
    def in_flight(self) -> int:
        return len(self.held)

    def set_low_water(self, request_count: int) -> None:
        pass

    def run(self, index: int, attempt: int, start: int, count: int, part: bool = False) -> bool:
        if self.refuses or len(self.held) >= self.room:
            return False
        request = (index, attempt, start, count, part)
        self.held.append(request)
        self.requests.append(request)
        return True

    def stop(self) -> bool:
        self.is_stopping = True
        return True

    def run_range(self, first: int, stop: int, start: int, size: int, stop_item: int) -> int:
        for index in range(first, stop):
            begin = start + (index - first) * size
            if not self.run(index, 1, begin, min(size, stop_item - begin)):
                return index - first
        return stop - first

    # For outcomes

    def flights(self) -> list[tuple[int, int, int, int]]:
        return [request[:4] for request in self.held]

    @property
    def first_started(self) -> bool:
        return self.has_begun and len(self.held) == len(self.requests) > 0

    @property
    def is_drained(self) -> bool:
        return not self.published

    def is_due(self, request: Request) -> bool:
        """Whether an answer to this request may come now; then it is in flight no more."""
        if not self.held or self.held[0] is not request:
            return False
        self.held.popleft()
        self.result_count += 1
        self.run_ns += self._each_ns
        return True


class Collector:
    """A real gather, fed by played channels; knows which items it holds that are not committed."""

    def __init__(self, gather: Gather) -> None:
        self.gather = gather
        self.held_items = 0
        self.has_spilled = False

    def drain(self, channel: Channel) -> list[Note]:
        notes: list[Note] = []
        while channel.published:
            note, request = channel.published.popleft()
            if request is None:
                notes.append(note)
            elif channel.is_due(request):
                self._take(channel, note, request, notes)
            else:
                channel.published.clear()
                notes.append(DAMAGED)
        return notes

    def _take(self, channel: Channel, note: Note, request: Request, notes: list[Note]) -> None:
        index, attempt, start, count, is_part = request
        note = note._replace(start=start, item_count=count)
        if note.kind == _core.FAILURE:
            notes.append(note)
            return
        channel.arrived_items += count
        if is_part:
            notes.append(note._replace(kind=_core.PART))
        else:
            notes += self.put(index, attempt, [(start, count, note.returned, note.columns, note.payload)])

    def put(self, index: int, attempt: int, pieces: Any) -> list[Note]:
        for start, count, *_ in pieces:
            self.held_items |= mask(start, count)
        return self._given_back(self.gather.put(index, attempt, pieces))

    def spill(self) -> list[Note]:
        self.has_spilled = True
        return self._given_back(self.gather.spill())

    def _given_back(self, notes: list[Note]) -> list[Note]:
        for note in notes:
            self.held_items &= ~mask(note.start, note.item_count)
        return notes

    def __getattr__(self, name: str) -> Any:
        return getattr(self.gather, name)


class Worker:
    """A slot of the pool and the process in it, if there is one."""

    def __init__(self, number: int, case: Case, troubled: set[tuple[int, int]]) -> None:
        self.number = number
        self.case = case
        self.troubled = troubled
        """First item and how many, of everything that has failed in ``run()``, of any worker."""
        self.pid = number + 1
        self.asked_for = self.ready = self.init_failed = self.retired = False
        self.channel = Channel(0, case.ring_room, case.run_ns)
        self.is_up = False
        """``init()`` is over."""
        self.ending: dict[str, Any] | None = None
        """How the process has ended, which the driver does not know yet."""
        self.is_condemned = self.has_answered_twice = False
        self.is_stuck = False
        """The kernel holds the process, though it was killed; nobody can take its place."""

    def start(self, generation: int) -> None:
        self.channel = Channel(generation, self.case.ring_room, self.case.run_ns)
        self.asked_for = True
        self.ready = self.init_failed = self.is_up = self.is_condemned = self.retired = False
        self.has_answered_twice = False
        self.ending = None

    def end(self, signal: int = 9, **how: Any) -> None:
        self.ending = {"timed_out": False, "with_zygote": False, "out_of_memory": False, **how, "signal": signal}
        if self.channel.has_begun:
            self.troubled.add(self.channel.requests[0][2:4])

    def news(self) -> WorkerDied:
        """The driver learns of the death."""
        ending = self.ending or {}
        was_ready, self.ready = self.ready, False
        self.asked_for = False
        return WorkerDied(
            worker=self.number,
            channel=self.channel,  # type: ignore[arg-type]
            exit=WorkerExit(self.number, self.channel.generation, self.pid, ending["signal"], None),
            timed_out=ending["timed_out"],
            was_ready=was_ready,
            init_failed=self.init_failed,
            with_zygote=ending["with_zygote"],
            peak_rss=0,
            output_tail="",
            stack="",
            retired=self.retired,
            out_of_memory=ending["out_of_memory"],
            stuck=self.is_stuck,
        )

    # What the process does

    def move(self, faults: float) -> bool:
        """One step of its life; ``faults``: how likely something goes wrong that no item is to blame for.

        Returns whether it did.
        """
        rng, channel = self.case.rng, self.channel
        if self.is_condemned:
            self.end()
        elif not self.is_up:
            return self._begin(faults)
        elif faults and rng.random() < faults:
            self._go_wrong()
            return True
        elif channel.requests:
            channel.has_begun = True
            if rng.random() >= self.case.dawdle:
                self.answer()
        elif channel.is_stopping:
            self.end(signal=15)
        return False

    def _begin(self, faults: float) -> bool:
        rng, channel = self.case.rng, self.channel
        if faults and rng.random() < faults / 2:
            if rng.random() < 0.5:
                channel.published.append((INIT_FAILED, None))
            self.end(timed_out=rng.random() < 0.3)
            return True
        self.is_up = True
        channel.published.append((READY, None))
        return False

    def _go_wrong(self) -> None:
        rng, channel = self.case.rng, self.channel
        kind = rng.randrange(6)
        if kind == 0:  # killed, whatever it was doing
            self.end()
        elif kind == 1 and channel.requests:  # killed in run()
            channel.has_begun = True
            self.end(timed_out=rng.random() < 0.5, out_of_memory=rng.random() < 0.3)
            self.is_stuck = rng.random() < 0.1
        elif kind == 2 and channel.requests:  # killed after it had answered, before the driver looked
            if self.answer():
                self.end()
        elif kind == 3 and channel.requests:  # killed in the middle of the next one, late answers and all
            if self.answer() and channel.requests:
                channel.has_begun = True
                self.end()
        elif kind == 4 and channel.requests:  # answers twice
            request = channel.requests[0]
            if self.answer():
                channel.published.append((self._result(request), request))
                self.has_answered_twice = True
        else:
            channel.refuses = True  # writes over its ring

    def answer(self) -> bool:
        """What ``run()`` makes of its first request; False if that has ended the process."""
        case, channel = self.case, self.channel
        request = channel.requests[0]
        index, attempt, start, count, _ = request
        items = mask(start, count)
        channel.has_begun = True
        if items & (case.dies | case.hangs):
            self.end(timed_out=not items & case.dies, signal=11)
            return False
        channel.requests.popleft()
        channel.has_begun = False
        payload = b""
        if items & case.raises or (items & case.flaky and case.rng.random() < 0.4):
            payload = EXCEPTION
        elif case.items == "exact" and items & case.short:
            payload = CONTRACT
        if payload:
            self.troubled.add((start, count))
            channel.published.append((Note(_core.FAILURE, index, attempt, 0, 0, 0, b"", payload), request))
        else:
            channel.published.append((self._result(request), request))
        return True

    def _result(self, request: Request) -> Note:
        case = self.case
        index, attempt, start, count, _ = request
        columns = case.columns(start, count)
        if case.odd_columns:
            self.troubled.add((start, count))
        returned, rows = case.rows(start, count, columns)
        return Note(_core.RESULT, index, attempt, returned, 0, 0, columns, rows)
