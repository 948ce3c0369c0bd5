from __future__ import annotations

import errno
import io
import signal

import pytest

from batchflow.cli import courier as courier_module
from batchflow.cli.courier import Courier
from batchflow.cli.signals import StopOnSignals, prepare_signals
from batchflow.cli.streams import QuietStream, write_data
from batchflow.clock import FakeClock, SystemClock
from batchflow.control import StopLevel, StopRequest
from batchflow.errors import ResourceError
from batchflow.model import Event, StepProgress, StepSkipped


class BrokenStream(io.StringIO):
    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number

    def write(self, text: str) -> int:
        raise OSError(self.number, "broken on purpose")

    def fileno(self) -> int:
        raise ValueError("no descriptor")


class Ascii(io.StringIO):
    encoding = "ascii"  # type: ignore[assignment]


def test_a_stream_whose_reader_is_gone_goes_quiet() -> None:
    stream = QuietStream(BrokenStream(errno.EPIPE))
    stream.line("one")
    stream.line("two")
    assert stream.failure is not None
    assert stream.failure.errno == errno.EPIPE


def test_a_closed_stream_goes_quiet() -> None:
    closed = io.StringIO()
    closed.close()
    stream = QuietStream(closed)
    stream.line("one")
    assert not stream.isatty()
    assert stream.failure is not None


def test_what_an_encoding_lacks_is_escaped() -> None:
    text = Ascii()
    QuietStream(text).line("200 → 500 \udce9")
    assert text.getvalue() == "200 \\u2192 500 \\xe9\n"


@pytest.mark.parametrize("number", [errno.EPIPE, errno.EIO])
def test_data_for_a_reader_that_left_is_no_error(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout", BrokenStream(number))
    write_data("text")


def test_data_that_cannot_be_written_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout", BrokenStream(errno.ENOSPC))
    with pytest.raises(ResourceError, match="cannot write to standard output: broken on purpose"):
        write_data("text")


class Stopping:
    def __init__(self) -> None:
        self.stop, self.clock = StopRequest(), FakeClock()
        self.said: list[str] = []
        self.exits: list[int] = []
        self.signals = StopOnSignals(self.stop, self.said.append, self.clock, self.exits.append)


def test_the_first_signal_drains_and_the_second_stops_now() -> None:
    stopping = Stopping()
    with stopping.signals:
        signal.raise_signal(signal.SIGINT)
        assert (stopping.stop.level, stopping.stop.signal_number) == (StopLevel.DRAIN, 2)
        signal.raise_signal(signal.SIGTERM)
        assert (stopping.stop.level, stopping.stop.signal_number) == (StopLevel.NOW, 15)
    assert stopping.said == [
        "stopping after Ctrl-C: finishing what is in flight (at most 10 s); Ctrl-C again stops now",
        "stopping now after a second signal (SIGTERM)",
    ]


def test_ten_signals_say_two_lines_and_end_nothing() -> None:
    stopping = Stopping()
    with stopping.signals:
        for _ in range(10):
            signal.raise_signal(signal.SIGINT)
    assert len(stopping.said) == 2
    assert stopping.exits == []


def test_a_signal_long_after_stop_now_ends_the_process() -> None:
    stopping = Stopping()
    with stopping.signals:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        stopping.clock.advance(10.5)
        signal.raise_signal(signal.SIGINT)
    assert stopping.exits == [130]


@pytest.mark.parametrize(("number", "ends"), [(signal.SIGTERM, True), (signal.SIGHUP, True), (signal.SIGINT, False)])
def test_only_a_drain_that_nobody_watches_has_a_deadline(number: signal.Signals, ends: bool) -> None:
    stopping = Stopping()
    with stopping.signals:
        signal.raise_signal(number)
        stopping.clock.advance(9.9)
        stopping.signals.tick()
        assert stopping.stop.level == StopLevel.DRAIN
        stopping.clock.advance(0.2)
        stopping.signals.tick()
    assert (stopping.stop.level == StopLevel.NOW) == ends
    assert stopping.stop.signal_number == number


def test_a_signal_inherited_as_ignored_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        stopping = Stopping()
        with stopping.signals:
            signal.raise_signal(signal.SIGHUP)
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        assert stopping.stop.level == StopLevel.NONE
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.fault("M10")
def test_blocked_signals_and_an_ignored_sigchld_are_undone() -> None:
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        prepare_signals()
        assert signal.getsignal(signal.SIGCHLD) is signal.SIG_DFL
        assert signal.SIGTERM not in signal.pthread_sigmask(signal.SIG_BLOCK, set())
    finally:
        signal.signal(signal.SIGCHLD, before)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


class Notebook:
    """A receiver that writes down what it gets."""

    tick_s = 0.001

    def __init__(self, breaks: bool = False) -> None:
        self.notes: list[object] = []
        self.breaks = breaks

    def show(self, event: Event) -> None:
        self.notes.append(event)
        if self.breaks:
            raise RuntimeError("out of ink")

    def say(self, line: str) -> None:
        self.notes.append(line)

    def tick(self) -> None: ...

    def close(self) -> None:
        self.notes.append("closed")


def test_everything_posted_is_shown_in_order_before_close_returns() -> None:
    notebook = Notebook()
    courier = Courier(notebook, SystemClock()).start()
    events = [StepSkipped(str(index)) for index in range(50)]
    for event in events:
        courier.post(event)
    courier.say("bye")
    courier.close()
    assert notebook.notes == [*events, "bye", "closed"]


def test_a_receiver_that_breaks_is_left_alone() -> None:
    notebook = Notebook(breaks=True)
    courier = Courier(notebook, SystemClock()).start()
    courier.post(StepSkipped("a"))
    courier.post(StepSkipped("b"))
    courier.close()
    assert notebook.notes == [StepSkipped("a")]
    assert isinstance(courier.error, RuntimeError)


def test_progress_is_dropped_when_the_receiver_is_far_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(courier_module, "_PROGRESS_BACKLOG_MAX", 3)
    notebook = Notebook()
    courier = Courier(notebook, SystemClock())
    for index in range(10):
        courier.post(StepProgress("a", index, 0, 10, 1, float(index)))
    courier.post(StepSkipped("b"))
    courier.start()
    courier.close()
    shown = [note for note in notebook.notes if isinstance(note, StepProgress)]
    assert [event.done for event in shown] == [0, 1, 2, 3]
    assert notebook.notes[-2:] == [StepSkipped("b"), "closed"]
