"""Deaths of workers that use ``Port`` as the product does, and what their ``Channel`` and ``Gather`` make of it."""

from __future__ import annotations

import mmap
import os
import random
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass

from batchflow import _core

TAKING, TAKEN, SENDING, SENT = range(4)
COLUMNS = b"columns\n"


@dataclass(frozen=True)
class Script:
    """What the worker is asked and answers: a function of the seed and the index alone."""

    seed: int
    ring_size: int
    is_call: bool
    gathers: bool

    def rows(self, index: int) -> bytes:
        noise = random.Random(self.seed ^ index)
        size = noise.choice([0, 7, 60, 400, self.ring_size // 4 - 64, self.ring_size // 2, self.ring_size * 2])
        return noise.randbytes(noise.randrange(size + 1))

    def payload(self, index: int) -> bytes:
        """Of a call: it travels in several requests now and then."""
        return random.Random(self.seed ^ index ^ 1 << 60).randbytes(index % 5 * 700)

    def fails(self, index: int) -> bool:
        return (self.seed + index) % 7 == 0

    def is_part(self, index: int) -> bool:
        return not self.is_call and (self.seed + index) % 5 == 0


class Witness:
    """Counts in shared memory of what the worker is about to do and has done."""

    def __init__(self) -> None:
        # Not struct.pack_into: that writes zeros first, and a worker may be killed between.
        self._counts = memoryview(mmap.mmap(-1, mmap.PAGESIZE)).cast("Q")

    def note(self, what: int, count: int) -> None:
        self._counts[what] = count

    def read(self) -> tuple[int, int, int, int]:
        taking, taken, sending, sent = self._counts[:4]
        return taking, taken, sending, sent


def work(channel: _core.Channel, script: Script, witness: Witness) -> None:
    port = _core.Port(channel.fd, -1, channel.generation)
    for index in range(1 << 40):
        witness.note(TAKING, index + 1)
        if script.is_call:
            call = port.take_call()
            right = call is not None and call == (index, 1, script.payload(index))
        else:
            right = port.take() == (index, 1, 3 * index, 3)
        if not right:
            os._exit(7)
        witness.note(TAKEN, index + 1)
        rows = script.rows(index)
        witness.note(SENDING, index + 1)
        if script.fails(index):
            port.publish_failure(index, 1, rows)
        else:
            port.publish_result(index, 1, 3, COLUMNS, rows)
        witness.note(SENT, index + 1)


class Desk:
    """The driver's side of one worker."""

    def __init__(self, script: Script, generation: int, start: int) -> None:
        self.script = script
        size = script.ring_size
        self.channel = _core.Channel(request_size=size, completion_size=size, generation=generation, start=start)
        self.gather = _core.Gather() if script.gathers else None
        self.asked = self.told = 0
        self.output = b""
        self.extents: list[tuple[int, int]] = []
        self.violations: list[str] = []

    def ask(self) -> None:
        script, channel = self.script, self.channel
        while self.asked < 60:
            index = self.asked
            if script.is_call:
                fits = channel.call(index, 1, script.payload(index))
            else:
                fits = channel.run(index, 1, 3 * index, 3, part=script.is_part(index))
            if not fits:
                return
            self.asked += 1

    def drain(self) -> None:
        for note in self.channel.drain() if self.gather is None else self.gather.drain(self.channel):
            self.look(note)
        if self.gather is not None:
            offset = len(self.output)
            self.output += bytes(self.gather.output())
            for extent in self.gather.take_extents():
                self.extents.append((extent.first_item, extent.item_count))
                begin = offset + extent.offset
                self.check("checksum", _core.crc32c(self.output[begin : begin + extent.size]) == extent.checksum)
            self.gather.clear()

    def look(self, note: _core.Note) -> None:
        script, index = self.script, note.mini_batch_index
        start, count = (index, 1) if script.is_call else (3 * index, 3)
        rows = script.rows(index)
        if script.fails(index):
            expected = _core.Note(_core.FAILURE, index, 1, 0, start, count, b"", rows)
        else:
            kind = _core.PART if script.is_part(index) else _core.RESULT
            expected = _core.Note(kind, index, 1, 3, start, count, COLUMNS, rows)
        self.check(f"note of {index}", note == expected and index >= self.told)
        self.told = index + 1
        if self.gather is not None:
            self.gather.put(index, 1, [])

    def check(self, what: str, is_right: bool) -> None:
        if not is_right:
            self.violations.append(what)

    def judge(self, witness: Witness) -> None:
        taking, taken, sending, sent = witness.read()
        script, channel = self.script, self.channel
        while not channel.is_drained and not self.violations:
            self.drain()
        held = [index for index, *_ in channel.flights()]
        answered = self.asked - len(held)
        self.check(f"{answered} answers, {sent} sent, {sending} begun", sent <= answered <= sending)
        self.check("flights", held == list(range(answered, self.asked)))
        self.check("nobody to blame", taken <= answered or channel.first_started)
        self.check("blamed in vain", taking > answered or not channel.first_started)
        if self.gather is None:
            self.check("every answer is told", self.told == answered)
            return
        good = [index for index in range(answered) if not script.fails(index) and not script.is_part(index)]
        rows = b"".join(script.rows(index) for index in good)
        self.check("output", self.output == (COLUMNS + rows if rows else b""))
        size = 1 if script.is_call else 3
        items = [item for start, count in self.extents for item in range(start, start + count)]
        self.check("extents", items == [index * size + k for index in good for k in range(size)])
        self.check("next", self.gather.next == answered and not self.gather.waiting)


def live_and_die(seed: int, life: int) -> list[str]:
    """One worker from its fork to its grave; what was violated."""
    dice = random.Random(f"{seed} {life}")
    ring_size = dice.choice([4096, 16384])
    script = Script(dice.randrange(1 << 50), ring_size, is_call=dice.random() < 0.4, gathers=dice.random() < 0.5)
    desk, witness = (
        Desk(script, 1 + life % (1 << 31), dice.choice([0, 2**32 - 64, 2**63 - 64, 2**64 - 4096])),
        Witness(),
    )
    desk.ask()
    pid = os.fork()
    if pid == 0:
        try:
            work(desk.channel, script, witness)
        finally:
            os._exit(8)
    until_s = time.monotonic() + dice.random() ** 3 * 0.005
    drains = dice.random() < 0.7
    while time.monotonic() < until_s:
        if drains:
            desk.drain()
            desk.channel.flush()
            desk.ask()
        time.sleep(dice.random() * 1e-4)
    os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    desk.check(f"the worker saw a damaged request, {status=}", os.WIFSIGNALED(status))
    desk.judge(witness)
    return desk.violations


def kill(seed: int, first: int, count: int, tell: Callable[[str], None]) -> int:
    """Deaths ``first`` to ``first + count``; how many violated something."""
    bad = 0
    for life in range(first, first + count):
        violations = live_and_die(seed, life)
        if violations:
            bad += 1
            replay = f"--seed {seed} --first {life} --ports 1"
            tell(f"VIOLATION port life={life}: {', '.join(violations[:5])}; replay: {replay}")
    return bad
