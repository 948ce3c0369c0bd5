"""What a run looks like while it goes on, as plain lines: for files, pipes, CI logs and dumb terminals.

One line when a step starts and ends, and one every few seconds in between; never a control sequence.
"""

from __future__ import annotations

from batchflow.cli.messages import event_line, wanted
from batchflow.cli.streams import QuietStream
from batchflow.cli.views import StepView
from batchflow.clock import Clock
from batchflow.model import Event, StepFailed, StepFinished, StepProgress, StepStarted
from batchflow.text import safe_text

FIRST_LINE_AFTER_S = 2.0
_LINE_EVERY_S = 5.0
_LINE_EVERY_S_MAX = 60.0
_SILENT_STEP_FIRST_S = 10.0
_SILENT_STEP_EVERY_S = 30.0


class StepViews:
    """The running steps, kept up to date from events."""

    def __init__(self) -> None:
        self.running: dict[str, StepView] = {}

    def apply(self, event: Event, now: float) -> None:
        if isinstance(event, StepStarted):
            self.running[event.step] = StepView(event, now)
        elif isinstance(event, StepProgress):
            if event.step in self.running:
                self.running[event.step].update(event, now)
        elif isinstance(event, (StepFinished, StepFailed)):
            self.running.pop(event.step, None)


def line_interval_s(view: StepView, elapsed_s: float) -> float:
    """Seconds to the next progress line: 5 at first, longer for long runs; rare for steps that count no items."""
    if view.total is None and not view.finished_count and view.kind != "parallel":
        return _SILENT_STEP_EVERY_S
    return min(_LINE_EVERY_S_MAX, max(_LINE_EVERY_S, elapsed_s / 60))


class PlainDisplay:
    """Lines on ``stream``; a ``courier.Receiver``."""

    tick_s = 0.5

    def __init__(self, stream: QuietStream, clock: Clock, verbosity: int) -> None:
        self._stream = stream
        self._clock = clock
        self._verbosity = verbosity
        self._views = StepViews()
        self._due_at: dict[str, float] = {}

    def show(self, event: Event) -> None:
        now = self._clock.monotonic()
        self._views.apply(event, now)
        if isinstance(event, StepStarted):
            first_s = FIRST_LINE_AFTER_S if event.kind == "parallel" else _SILENT_STEP_FIRST_S
            self._due_at[event.step] = now + first_s
        line = event_line(event)
        if line is not None and wanted(event, self._verbosity):
            self._stream.line(line)

    def say(self, line: str) -> None:
        self._stream.line(safe_text(line))

    def tick(self) -> None:
        if self._verbosity < 0:
            return
        now = self._clock.monotonic()
        for step, view in self._views.running.items():
            if now >= self._due_at[step]:
                self._due_at[step] = now + line_interval_s(view, view.elapsed_s(now))
                self._stream.line(f"{safe_text(step)}: {', '.join(view.facts(now).values())}")

    def close(self) -> None:
        self._stream.flush()
