"""The driver's set of workers: starts, watches, kills and replaces processes.

Knows nothing of mini-batches beyond what a channel says, and decides nothing: whoever drives it reads the news from
``wait`` and says which worker to start again.

Invariant: a worker is signalled through its pidfd alone, and whoever was asked for is reported dead once.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import signal
from contextlib import AbstractContextManager
from typing import Any, TypeAlias

from batchflow._core import Channel
from batchflow.clock import Clock, SystemClock
from batchflow.errors import InternalError
from batchflow.model import WorkerExit
from batchflow.pool.events import ForkFailed, InitTimedOut, LoadedLate, LoadFailed, PoolEvent, WorkerDied, ZygoteDied
from batchflow.pool.logs import WorkerLog
from batchflow.pool.oom import OomWatch
from batchflow.pool.slot import TICK_S, PoolLimits, Slot
from batchflow.pool.watch import Watch
from batchflow.pool.zygote_client import CLOSE_S, Message, ZygoteClient, is_readable
from batchflow.worker.inputs import Attachments
from batchflow.worker.spec import STACK_SIGNAL, WorkerSpec

ZYGOTE_SILENCE_S = 30.0
"""How long a zygote may owe an answer, to a fork asked for or about a death: a large one forks slowly."""
STUCK_S = 10.0
"""How long a worker may live on after SIGKILL; then the kernel holds it, and nobody waits for it any more."""
STUCK_CLOSE_S = 1.0
"""How long to wait at the end for processes of which one is known to be stuck."""
Asleep: TypeAlias = AbstractContextManager[Any]
ALONE: Asleep = contextlib.nullcontext()


class WorkerPool:
    """``start``, then ``start_worker`` for each slot, then ``wait`` in a loop, then ``close``."""

    def __init__(
        self,
        spec: WorkerSpec,
        limits: PoolLimits,
        *,
        pickled: bytes | None = None,
        zygote: ZygoteClient | None = None,
        logs: list[WorkerLog] | None = None,
        zygote_log: WorkerLog | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.spec = spec
        self.limits = limits
        self._pickled = pickled
        self._logs = logs
        self._zygote_log = zygote_log
        self._clock = clock or SystemClock()
        self._generation = 0
        self._inputs: Attachments = ()
        self._zygote = zygote or ZygoteClient(spec, pickled, None if zygote_log is None else zygote_log.fd)
        self._event_fd = -1
        self._poll: select.epoll | None = None
        self.loaded = False
        self._load_watch = Watch(2 * TICK_S)
        self._debt_watch = Watch(2 * TICK_S)
        self._oom = OomWatch(self._clock)
        self._looked_s = float("-inf")
        self._all_logs = [*(logs or ()), *((zygote_log,) if zygote_log else ())]
        self._written_off: set[int] = set()  # generations
        self.slots: list[Slot] = []
        self._news: list[PoolEvent] = []

    # Starting

    def start(self) -> None:
        """Exec the zygote; it begins to load the user's code at once."""
        self._event_fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._poll = select.epoll()
        self._poll.register(self._event_fd, select.EPOLLIN)
        if not self._zygote.started:
            self._zygote.start()
        self._epoll.register(self._zygote.fileno(), select.EPOLLIN)
        for number in range(self.spec.worker_count):
            log = None if self._logs is None else self._logs[number]
            self.slots.append(Slot(number, self._new_channel(), Watch(2 * TICK_S), log=log))

    def _start_zygote(self, spec: WorkerSpec) -> None:
        self.spec = spec
        self.loaded = False
        self._load_watch = Watch(2 * TICK_S)
        self._debt_watch = Watch(2 * TICK_S)
        self._zygote = ZygoteClient(spec, self._pickled, None if self._zygote_log is None else self._zygote_log.fd)
        self._zygote.start()
        self._epoll.register(self._zygote.fileno(), select.EPOLLIN)
        self.send_inputs(self._inputs)

    @property
    def _epoll(self) -> select.epoll:
        if self._poll is None:
            raise ValueError("the pool has not been started")
        return self._poll

    def _new_channel(self) -> Channel:
        self._generation += 1
        return Channel(
            request_size=self.limits.request_size,
            completion_size=self.limits.completion_size,
            generation=self._generation,
            max_result_size=self.limits.max_result_size + (1 << 20),
        )

    def send_inputs(self, inputs: Attachments) -> None:
        """Tell every worker started from now on what there is to do; descriptors are open as long as the pool is."""
        self._inputs = inputs
        for description, descriptors in inputs:
            self._zygote.send_input(description, descriptors)

    def may_start(self, number: int) -> bool:
        """Whether the slot is empty, and not to be left alone for a while because its last start failed."""
        slot = self.slots[number]
        is_free = not slot.asked_for and slot.channel.generation not in self._written_off
        return is_free and slot.backoff.is_due(self._clock.monotonic())

    def start_worker(self, number: int) -> None:
        """Fork a worker into an empty slot, with fresh rings if the last ones have been used."""
        slot = self.slots[number]
        if slot.asked_for:
            raise ValueError(f"worker {number} lives already")
        if slot.channel.fd < 0:  # it was sent to a worker
            try:
                channel = self._new_channel()
            except OSError as error:  # no descriptor, no memory
                self._fork_failed(slot, str(error))
                return
            slot = self.slots[number] = Slot(number, channel, Watch(2 * TICK_S), log=slot.log, backoff=slot.backoff)
        slot.asked_for = True
        slot.log_start = 0 if slot.log is None else slot.log.size()
        log_fds = () if slot.log is None else (slot.log.fd,)
        self._zygote.send_fork(number, slot.channel.generation, (slot.channel.fd, self._event_fd, *log_fds))
        slot.channel.close_fd()

    # Waiting

    def wait(self, timeout_s: float = TICK_S, asleep: Asleep = ALONE) -> list[PoolEvent]:
        """Sleep until a worker has something to say or ``timeout_s`` are over; returns the news about processes.

        What workers published is not news: drain their channels after every return.  ``asleep`` is entered to sleep.
        """
        self._zygote.flush()
        channels = [slot.channel for slot in self.slots if slot.asked_for]
        sleepy = True
        for channel in channels:
            sleepy = channel.go_to_sleep() and sleepy
        with asleep:
            ready = self._epoll.poll(timeout_s if sleepy and not self._news else 0)
        for channel in channels:
            channel.get_up()
        for descriptor, _ in ready:
            if descriptor == self._event_fd:
                with contextlib.suppress(BlockingIOError):
                    os.read(self._event_fd, 8)
            for slot in self.slots:
                slot.ended = slot.ended or slot.pidfd == descriptor
        self._hear_zygote()
        self._watch_timeouts()
        news, self._news = self._news, []
        return news

    def wake(self) -> None:
        """Make ``wait`` return soon; may be called from another thread."""
        with contextlib.suppress(OSError):
            os.write(self._event_fd, (1).to_bytes(8, "little"))

    def _hear_zygote(self) -> None:
        while self._zygote.started:
            try:
                message = self._zygote.receive()
            except EOFError:
                self._lose_zygote()
                return
            if message is None:
                return
            self._understand(message)

    def _understand(self, message: Message) -> None:
        values = message.values
        event = values["event"]
        if event == "loaded":
            self._loaded(values["threads"], values["culprit"])
        elif event == "load_failed":
            self._news.append(LoadFailed(values))
        elif values["generation"] not in self._written_off:
            slot = self.slots[values["worker"]]
            if slot.channel.generation != values["generation"]:
                raise InternalError(f"news of a worker of another generation, worker={slot.number}")
            if event == "forked":
                self._forked(slot, values["pid"], message.descriptors)
            elif event == "fork_failed":
                self._fork_failed(slot, values["message"])
            else:
                self._bury(slot, values["signal"], values["exit_code"], values["peak_rss"])

    def _forked(self, slot: Slot, pid: int, descriptors: tuple[int, ...]) -> None:
        slot.pid = pid
        if not descriptors:  # there was no room for its pidfd: let it go
            slot.retired = True
            slot.channel.stop()
            slot.backoff.failed(self._clock.monotonic())
            self._news.append(ForkFailed(slot.number, os.strerror(errno.EMFILE), slot.backoff.failure_count))
            return
        (slot.pidfd,) = descriptors
        self._epoll.register(slot.pidfd, select.EPOLLIN | select.EPOLLONESHOT)
        if slot.condemned:
            self._signal(slot, signal.SIGKILL)

    def _fork_failed(self, slot: Slot, message: str) -> None:
        slot.asked_for = False
        slot.backoff.failed(self._clock.monotonic())
        self._news.append(ForkFailed(slot.number, message, slot.backoff.failure_count))

    def _loaded(self, thread_count: int, culprit: str | None) -> None:
        if thread_count == 1 or self.spec.import_late:
            self.loaded = True
            return
        # Forking now could deadlock the workers: begin again with a zygote that leaves the import to them.
        self._news.append(LoadedLate(thread_count, culprit))
        self._epoll.unregister(self._zygote.fileno())
        self._zygote.close()
        waiting = [slot for slot in self.slots if slot.asked_for]
        self._start_zygote(self.spec._replace(import_late=True))
        for slot in waiting:
            slot.asked_for = False
            self.start_worker(slot.number)

    def _lose_zygote(self) -> None:
        self._epoll.unregister(self._zygote.fileno())
        status = self._zygote.close(self._patience_s)
        for slot in self.slots:
            if slot.asked_for and (slot.pid or slot.channel.in_flight):  # workers die with their zygote
                self._bury(slot, signal.SIGKILL, None, 0, with_zygote=True)
            slot.asked_for = False
        out_of_memory = status == -signal.SIGKILL and self._oom.claim()
        self._news.append(ZygoteDied(status, out_of_memory))

    def restart_zygote(self) -> None:
        """After ``ZygoteDied``: begin again with a new one."""
        self._start_zygote(self.spec)

    def _bury(
        self,
        slot: Slot,
        signal_number: int | None,
        exit_code: int | None,
        peak_rss: int,
        *,
        with_zygote: bool = False,
        stuck: bool = False,
    ) -> None:
        slot.asked_for = False
        was_killed = signal_number == signal.SIGKILL and slot.killed is None and not with_zygote
        if slot.ready or slot.channel.state not in ("starting", "init"):
            slot.backoff.succeeded()
        elif not with_zygote:
            slot.backoff.failed(self._clock.monotonic())
        if slot.pidfd >= 0:
            self._epoll.unregister(slot.pidfd)
            os.close(slot.pidfd)
            slot.pidfd = -1
        stack = "" if slot.log is None or slot.stack_at is None else slot.log.read_from(slot.stack_at)
        self._news.append(
            WorkerDied(
                worker=slot.number,
                channel=slot.channel,
                exit=WorkerExit(slot.number, slot.channel.generation, slot.pid, signal_number, exit_code),
                # A script that undid what shows its stack dies of the question.
                timed_out=slot.timed_out or (slot.stack_at is not None and signal_number == STACK_SIGNAL),
                was_ready=slot.ready,
                init_failed=slot.init_failed,
                retired=slot.retired,
                memory_held=slot.memory_held,
                with_zygote=with_zygote,
                out_of_memory=was_killed and self._oom.claim(),
                stuck=stuck,
                peak_rss=peak_rss,
                output_tail="" if slot.log is None else slot.log.tail(start=slot.log_start, end=slot.stack_at),
                stack=stack,
            )
        )
        slot.ready = False  # nobody is to be fed here

    # Timeouts

    def _watch_timeouts(self) -> None:
        now_s = self._clock.monotonic()
        self._look_around(now_s)
        if not self.loaded and self._zygote.started:
            elapsed_s = self._load_watch.look(None, now_s)
            if self._is_over(elapsed_s, self.limits.init_timeout_s):
                message = f"importing the code took longer than init_timeout={self.limits.init_timeout_s:g} s"
                self._news.append(LoadFailed({"error_type": "TimeoutError", "message": message, "traceback": ""}))
        owed = [slot.number for slot in self.slots if slot.asked_for and (not slot.pid or slot.ended)]
        if self._debt_watch.look((self.loaded, *owed), now_s) > ZYGOTE_SILENCE_S and self.loaded and owed:
            self._lose_zygote()
        for slot in self.slots:
            if not slot.asked_for or not slot.pid:
                continue
            if slot.killed is not None:
                if slot.killed.look(slot.ended, now_s) > STUCK_S and not slot.ended:
                    self._write_off(slot)
                continue
            channel, state = slot.channel, slot.channel.state
            has_work = channel.in_flight > 0
            elapsed_s = slot.watch.look((state, channel.started_sequence, channel.result_count, has_work), now_s)
            if elapsed_s == 0:
                slot.stack_at = None  # what it was asked for is over
            # One that does not begin what it was given was stopped by somebody.
            at_work = state == "running" or (has_work and state not in ("starting", "init"))
            if at_work and self._is_over(elapsed_s, self.limits.run_timeout_s):
                self._give_up(slot, elapsed_s, self.limits.run_timeout_s or 0.0)
            elif state in ("starting", "init") and self._is_over(elapsed_s, self.limits.init_timeout_s):
                if not slot.init_timed_out:
                    slot.init_timed_out = True
                    self._news.append(InitTimedOut(slot.number))
                self._give_up(slot, elapsed_s, self.limits.init_timeout_s or 0.0)

    def _look_around(self, now_s: float) -> None:
        """What is to be done now and then, however often the driver wakes."""
        if now_s - self._looked_s >= TICK_S:
            self._looked_s = now_s
            self._oom.look()
            for log in self._all_logs:
                log.trim()

    @staticmethod
    def _is_over(elapsed_s: float, limit_s: float | None) -> bool:
        return limit_s is not None and elapsed_s > limit_s

    def _give_up(self, slot: Slot, elapsed_s: float, limit_s: float) -> None:
        """First ask for the Python stack, then, when it had time to write it, kill."""
        if slot.stack_at is None and slot.log is not None:
            slot.stack_at = slot.log.size()
            self._signal(slot, STACK_SIGNAL)
        elif elapsed_s > limit_s + slot.time_for_stack_s:
            slot.timed_out = True
            self._signal(slot, signal.SIGKILL)

    def kill_worker(self, number: int) -> None:
        """End one worker at once, or as soon as it is known; its death comes as news."""
        self.slots[number].condemned = True
        self._signal(self.slots[number], signal.SIGKILL)

    @staticmethod
    def _signal(slot: Slot, number: int) -> None:
        if slot.pidfd >= 0:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(slot.pidfd, number)
                if number == signal.SIGKILL and slot.killed is None:
                    slot.killed = Watch(2 * TICK_S)

    def _write_off(self, slot: Slot) -> None:
        """A worker does not end although it was killed: it waits in the kernel, and we do not wait for it."""
        self._written_off.add(slot.channel.generation)
        self._bury(slot, signal.SIGKILL, None, 0, stuck=True)

    # Ending

    @property
    def alive_count(self) -> int:
        return sum(slot.asked_for for slot in self.slots)

    @property
    def _patience_s(self) -> float:
        return STUCK_CLOSE_S if self._written_off else CLOSE_S

    def stop_workers(self) -> None:
        """Ask every worker to shut down once its requests are answered."""
        for slot in self.slots:
            if slot.asked_for:
                slot.channel.stop()

    def close(self) -> None:
        """End everything that is left; nothing of the pool outlives this call."""
        if self._poll is None:
            return
        deadline_s = self._clock.monotonic() + self._patience_s
        self._zygote.close(self._patience_s)
        for slot in self.slots:
            if slot.pidfd >= 0:
                is_readable(slot.pidfd, deadline_s - self._clock.monotonic())  # until the kernel is done with it
                os.close(slot.pidfd)
                slot.pidfd = -1
            slot.asked_for = False
        self._poll.close()
        os.close(self._event_fd)
        self._poll = None
