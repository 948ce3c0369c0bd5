"""Calls of Python functions in a pool of workers: what ``map`` and ``Pool`` stand on.

A call goes out pickled and its value comes back pickled, over memory shared with this process's own children only.
A worker that dies or hangs costs the call it was running one attempt; calls behind it are not blamed.  Workers are
started when there are calls for them, never more than there are calls.

Invariant: every call that was submitted and neither reported nor dropped is in exactly one of ready, in flight.
"""

from __future__ import annotations

import json
import os
from collections import deque
from collections.abc import Callable

from batchflow import _core
from batchflow._core import Channel, Note
from batchflow.clock import Clock, SystemClock
from batchflow.errors import EntryScriptError, ResourceError, WorkerDiedError
from batchflow.parallel.call_errors import death_error, exception_of
from batchflow.parallel.call_setup import CallSetup
from batchflow.parallel.pace import QUEUE_SIZE, Pace
from batchflow.pool.events import ForkFailed, InitTimedOut, LoadedLate, LoadFailed, PoolEvent, WorkerDied
from batchflow.pool.pool import ALONE, Asleep, WorkerPool
from batchflow.pool.slot import PoolLimits, Slot
from batchflow.pool.zygote_client import ZygoteClient
from batchflow.worker.spec import WorkerSpec

FAILURES_MAX = 3
"""Workers that may fail to get ready, one after another, before no more are started."""
ZYGOTE_DEATHS_MAX = 3
FORK_FAILURES_MAX = 6
"""How often in a row a worker may be refused while there is no other, some six seconds."""
DEPTH_MAX = 1024
RECORD_SIZE = 64
"""Bytes that the rings count as one request: the payload of a call makes it several."""
SPIN_NS = 50_000
"""How long whoever waits looks before it sleeps, where a processor is to spare: about what it takes to be woken."""
STOP_GRACE_S = 5.0
"""For workers to end by themselves, so that what they have printed is written."""


class Caller:
    """Sends calls to a pool of workers and says what became of them.  One thread drives it.

    ``zygote``: one that was started for this setup already.  ``accept`` is asked about a call, by its index, whenever
    it is about to be sent; False drops it for good.
    """

    def __init__(
        self,
        setup: CallSetup,
        *,
        zygote: ZygoteClient | None = None,
        accept: Callable[[int], bool] | None = None,
        make_pool: Callable[[WorkerSpec, PoolLimits, bytes | None], WorkerPool] | None = None,
        clock: Clock | None = None,
    ) -> None:
        spec, pickled, self._timeout_s, self._attempts = setup
        self._accept = accept
        self._clock = clock or SystemClock()
        limits = PoolLimits(run_timeout_s=self._timeout_s)
        if make_pool is None:
            self._pool = WorkerPool(spec, limits, pickled=pickled, zygote=zygote)
        else:
            self._pool = make_pool(spec, limits, pickled)
        self.worker_count = spec.worker_count
        self._cores = spec.cores
        self._spin_ns = SPIN_NS if spec.cores > 1 else 0
        self.outstanding_size = 0
        """Bytes of the calls that are outstanding."""
        self._pid = 0
        self._ready: deque[int] = deque()
        self._payloads: dict[int, bytes] = {}  # of every outstanding call
        self._attempt: dict[int, int] = {}  # of the calls tried before
        self._paces: dict[int, Pace] = {}  # by the generation of a worker
        self._damaged: set[int] = set()  # generations
        self._notes: dict[int, list[Note]] = {}  # by generation: drained and not looked at yet
        self.values: dict[int, bytes] = {}
        """What calls returned, pickled, by the call's number; whoever drives it takes them out."""
        self.values_size = 0
        """Bytes of all values ever."""
        self.errors: dict[int, BaseException] = {}
        """Why calls have no value; likewise."""
        self._failures = self._idle_deaths = self._zygote_deaths = 0
        self._last_trouble = ""
        self._given_up: set[int] = set()  # workers

    @property
    def outstanding(self) -> int:
        """Calls submitted and neither reported nor dropped."""
        return len(self._payloads)

    @property
    def ahead_count(self) -> int:
        """How many outstanding calls keep every worker busy."""
        depth = max(
            (pace.depth(1, DEPTH_MAX, QUEUE_SIZE // max(1, self.worker_count)) for pace in self._paces.values()),
            default=1,
        )
        return self.worker_count * max(16, 3 * depth)

    def start(self) -> None:
        """Exec the zygote; it begins to load the function at once.  Workers follow with the calls."""
        self._pid = os.getpid()
        try:
            self._pool.start()
        except OSError as error:
            raise ResourceError(f"no pool of workers can be started: {error}") from error

    def submit(self, index: int, payload: bytes) -> None:
        """``index`` must be new."""
        self._payloads[index] = payload
        self.outstanding_size += len(payload)
        self._ready.append(index)

    def drop_refused(self) -> None:
        """Drop every call that was not sent yet and is not accepted any more."""
        if self._accept is not None:
            refused = {index for index in self._ready if not self._accept(index)}
            self._ready = deque(index for index in self._ready if index not in refused)
            for index in refused:
                self._forget(index)

    def wake(self) -> None:
        """Make ``pump`` return soon; may be called from another thread, before ``close``."""
        self._pool.wake()

    def pump(self, timeout_s: float, asleep: Asleep = ALONE) -> None:
        """Send what can be sent, wait for news up to ``timeout_s``, take what came into ``values`` and ``errors``.

        ``asleep`` is entered for the sleep: meanwhile another thread may call what sends or reads at once.
        Raises ``EntryScriptError`` when no worker gets ready, ``WorkerDiedError`` when they keep dying without any call
        to blame, ``ResourceError`` when none can be started.
        """
        try:
            self._start_needed()
            self._fill()
            for event in self._pool.wait(timeout_s, asleep):
                self._take_event(event)
            for slot in self._pool.slots:
                if slot.asked_for and slot.channel.generation not in self._damaged:
                    self._read(slot)
            self._start_needed()
            self._fill()
        except OSError as error:
            raise ResourceError(f"the pool of workers cannot go on: {error}") from error
        if self.values or self.errors:
            self._idle_deaths = self._zygote_deaths = 0

    def take(self) -> tuple[dict[int, bytes], dict[int, BaseException]]:
        """What is in ``values`` and ``errors``, out of them."""
        values, self.values = self.values, {}
        errors, self.errors = self.errors, {}
        return values, errors

    def stop(self, grace_s: float = STOP_GRACE_S) -> None:
        """Let the workers that are ready end by themselves, then end what is left."""
        self._pool.stop_workers()
        give_up_s = self._clock.monotonic() + grace_s
        while any(slot.asked_for and slot.ready for slot in self._pool.slots) and self._clock.monotonic() < give_up_s:
            self._pool.wait(0.1)
        self.close()

    def close(self) -> None:
        """End every process, at once.  In a process forked from the caller it does nothing: they are not its own."""
        if self._pid == os.getpid():
            self._pool.close()
            self._pool.slots.clear()  # and with them the memory of the rings, however long this object is kept

    # One call at a time.  A signal's handler may end these at any line, and nothing is lost.

    def idle_channel(self) -> Channel | None:
        """Where a call can be sent at once, if there is no other."""
        if self._payloads:
            return None
        for slot in self._pool.slots:
            channel = slot.channel
            if slot.ready and slot.asked_for and not slot.retired and not channel.in_flight:
                return channel
        return None

    def call_at_once(self, calls: deque[tuple[int, bytes]], channel: Channel, *, is_awaited: bool) -> None:
        """Send the first of ``calls`` through an idle channel.  ``is_awaited``: somebody will look for its answer."""
        channel.set_spin(self._spin_ns, self._spin_ns if is_awaited else 0)
        self.outstanding_size += channel.call_first(calls, self._payloads)

    def look(self, channel: Channel) -> bool:
        """Wait for an answer as long as it costs less than to sleep; needs no lock."""
        if channel.look(self._spin_ns):
            return True
        channel.set_spin(self._spin_ns)
        return False

    def read_at_once(self, channel: Channel) -> None:
        """Take what has come into ``values``; what else there is to tell is left to ``pump``."""
        if channel.generation not in self._damaged:
            notes = self._notes.setdefault(channel.generation, [])
            self.outstanding_size -= channel.drain_calls(self._payloads, self._attempt, self.values, notes)[1]

    @property
    def has_news(self) -> bool:
        """Something was read at once that is still here."""
        return bool(self.values) or any(self._notes.values())

    # Calls

    def _fill(self) -> None:
        slots = [slot for slot in self._pool.slots if slot.ready and slot.asked_for and not slot.retired]
        spin_ns = self._spin_ns if min(len(slots), len(self._payloads)) < self._cores else 0
        for slot in slots:
            channel = slot.channel
            if channel.in_flight and not channel.flush():
                continue
            pace = self._paces.get(channel.generation)
            if pace is None:
                pace = self._paces[channel.generation] = Pace()
            share = len(self._ready) // (2 * len(slots))  # towards the end the rest is shared out
            pace.look(channel)
            depth = max(1, min(pace.depth(1, DEPTH_MAX, QUEUE_SIZE // len(slots)), share))
            if self._ready and channel.in_flight <= depth // 2:
                # An eighth done is news: results wait no longer than that, and their reader need not be woken for each.
                size = len(self._payloads[self._ready[0]])
                channel.set_spin(spin_ns)
                channel.set_low_water((depth - depth // 8) * (1 + -(-size // RECORD_SIZE)))
                self._send(channel, depth - channel.in_flight)

    def _send(self, channel: Channel, room: int) -> None:
        ready, accept = self._ready, self._accept
        if accept is None:
            channel.call_all(ready, self._payloads, self._attempt, room)
            return
        while room > 0 and ready:
            index = ready.popleft()
            if not accept(index):
                self._forget(index)
            elif channel.call(index, self._attempt.get(index, 1), self._payloads[index]):
                room -= 1
            else:  # a large one is still on its way
                ready.appendleft(index)
                return

    def _forget(self, index: int) -> None:
        self.outstanding_size -= len(self._payloads.pop(index))
        self._attempt.pop(index, None)

    def _report(self, index: int, error: BaseException) -> None:
        self._forget(index)
        self.errors[index] = error

    def _drain(self, channel: Channel) -> list[Note]:
        """Take what calls returned; what else there is to tell."""
        notes = self._notes.pop(channel.generation, [])
        values_size, calls_size = channel.drain_calls(self._payloads, self._attempt, self.values, notes)
        self.values_size += values_size
        self.outstanding_size -= calls_size
        return notes

    def _read(self, slot: Slot) -> None:
        for note in self._drain(slot.channel):
            if note.kind == _core.DAMAGED:
                self._damaged.add(slot.channel.generation)
                slot.ready = False
                self._pool.kill_worker(slot.number)
            elif note.kind == _core.READY:
                self._failures = 0
                slot.ready = True
            else:
                slot.init_failed = slot.init_failed or note.kind == _core.INIT_FAILED
                slot.retired = self._take_note(note) or slot.retired
        if slot.retired and slot.ready and not slot.channel.in_flight:
            slot.ready = False
            slot.channel.stop()

    def _take_note(self, note: Note) -> bool:
        """True if the call had no memory left: what its worker still holds may be much."""
        if note.kind == _core.FAILURE:
            error = exception_of(note.payload)
            self._report(note.mini_batch_index, error)
            return isinstance(error, MemoryError)
        elif note.kind == _core.INIT_FAILED:
            self._failures += 1
            description = json.loads(note.payload)
            self._last_trouble = description["traceback"] or f"{description['error_type']}: {description['message']}"
        return False

    # Processes

    def _start_needed(self) -> None:
        """Start workers as long as there are fewer than calls, unless none ever gets ready."""
        alive = self._pool.alive_count
        missing = min(self.worker_count, len(self._payloads)) - alive
        if missing <= 0:
            return
        if len(self._given_up) == self.worker_count:
            raise WorkerDiedError("no worker is left: the kernel holds them all")
        if self._failures >= FAILURES_MAX:
            if not alive:
                raise EntryScriptError(f"{self._failures} workers in a row did not get ready\n{self._last_trouble}")
            return
        for slot in self._pool.slots:
            if missing > 0 and slot.number not in self._given_up and self._pool.may_start(slot.number):
                self._pool.start_worker(slot.number)
                missing -= 1

    def _take_event(self, event: PoolEvent) -> None:
        if isinstance(event, WorkerDied):
            self._take_death(event)
        elif isinstance(event, LoadFailed):
            text = event.description["traceback"] or event.description["message"]
            raise EntryScriptError(
                f"the function cannot be loaded in the workers\n{text}",
                hint="a worker is a fresh Python with this process's sys.path: what the function needs must be on it",
                traceback=event.description["traceback"],
            )
        elif isinstance(event, ForkFailed):
            if not self._pool.alive_count and event.failure_count > FORK_FAILURES_MAX:
                raise ResourceError(f"no worker can be started: {event.message}")
        elif isinstance(event, InitTimedOut):
            self._last_trouble = "init() took too long"
        elif not isinstance(event, LoadedLate):
            self._zygote_deaths += 1
            if self._zygote_deaths >= ZYGOTE_DEATHS_MAX:
                raise WorkerDiedError(f"the process that workers are forked from keeps dying, status={event.status}")
            self._pool.restart_zygote()

    def _take_death(self, death: WorkerDied) -> None:
        generation = death.channel.generation
        damaged = generation in self._damaged
        init_failed = death.init_failed
        for note in () if damaged else self._drain(death.channel):
            damaged = damaged or note.kind == _core.DAMAGED
            init_failed = init_failed or note.kind == _core.INIT_FAILED
            if note.kind != _core.READY:
                self._take_note(note)
        self._paces.pop(generation, None)
        self._damaged.discard(generation)
        is_blamed = self._blame(death, damaged=damaged)
        if death.stuck or (death.out_of_memory and len(self._given_up) + 1 < self.worker_count):
            self._given_up.add(death.worker)  # where memory runs out, one worker less
            return
        if is_blamed or init_failed or death.with_zygote or death.retired:
            return
        if death.was_ready:
            self._idle_deaths += 1
            if self._idle_deaths > max(5, 3 * self.worker_count):
                how = death.exit.describe()
                raise WorkerDiedError(
                    f"{self._idle_deaths} workers died one after another while idle, the last of {how}"
                )
        else:
            self._failures += 1
            if not death.timed_out:
                self._last_trouble = f"worker {death.worker} died before it was ready: {death.exit.describe()}"

    def _blame(self, death: WorkerDied, *, damaged: bool) -> bool:
        """The call that was running has had an attempt; the others wait again, in their old order."""
        indices = [index for index, *_ in death.channel.flights()]
        started = bool(indices) and (death.channel.first_started or damaged)
        if started and not death.with_zygote:
            attempt = self._attempt.get(indices[0], 1)
            if attempt < self._attempts:
                self._attempt[indices[0]] = attempt + 1
            else:
                self._report(indices.pop(0), death_error(death, attempt, self._timeout_s, damaged=damaged))
        self._ready.extendleft(reversed(indices))
        return started
