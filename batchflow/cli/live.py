"""What a run looks like while it goes on, on a terminal: one moving line for each running step.

rich is imported here and nowhere above.  Lines that stay (a step ended) scroll by above the moving ones.
"""

from __future__ import annotations

from rich.console import Console, Group
from rich.live import Live
from rich.spinner import Spinner
from rich.text import Text

from batchflow.cli.layout import fit
from batchflow.cli.messages import event_line, event_style, wanted
from batchflow.cli.progress import StepViews
from batchflow.cli.streams import QuietStream
from batchflow.cli.views import StepView
from batchflow.clock import Clock
from batchflow.model import Event
from batchflow.text import safe_text

_SPINNER_WIDTH = 2
_ECHO_WIDTH = 5
"""Columns that stay free: the terminal writes ``^C`` behind the line, which would wrap and could not be erased."""


class LiveDisplay:
    """Progress lines on the terminal behind ``stream``; a ``courier.Receiver``."""

    tick_s = 0.1

    def __init__(self, stream: QuietStream, clock: Clock, verbosity: int) -> None:
        self._clock = clock
        self._verbosity = verbosity
        self._views = StepViews()
        self._spinners: dict[str, Spinner] = {}
        self._console = Console(file=stream, highlight=False, markup=False, emoji=False)  # type: ignore[arg-type]
        # Refreshed by tick() alone: the courier's thread is the only one that writes.
        self._live = Live(
            console=self._console,
            auto_refresh=False,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._started = False

    def show(self, event: Event) -> None:
        self._views.apply(event, self._clock.monotonic())
        line = event_line(event)
        if line is not None and wanted(event, self._verbosity):
            self._print(line, event_style(event))

    def say(self, line: str) -> None:
        self._print(line, "yellow")

    def tick(self) -> None:
        if self._verbosity < 0:
            return
        if not self._started:
            self._live.start()
            self._started = True
        self._live.update(self._lines(), refresh=True)

    def close(self) -> None:
        if self._started:
            self._live.stop()

    def _print(self, line: str, style: str) -> None:
        self._console.print(Text(safe_text(line), style=style, overflow="fold"), soft_wrap=True)

    def _lines(self) -> Group:
        now = self._clock.monotonic()
        return Group(*(self._line(view, now) for view in self._views.running.values()))

    def _line(self, view: StepView, now: float) -> Text:
        spinner = self._spinners.setdefault(view.step, Spinner("dots", style="cyan"))
        width = self._console.width - _SPINNER_WIDTH - _ECHO_WIDTH
        facts = view.facts(now)
        line = fit(safe_text(view.step), facts, view.short_count, has_bar=view.total is not None, width=width)
        text = Text(no_wrap=True, overflow="crop")
        text.append_text(Text.assemble(spinner.render(now), " ", (line.name, "bold"), " "))  # type: ignore[arg-type]
        if line.bar_width:
            done = line.bar_width * view.percent // 100
            text.append("━" * done, style="bar.complete").append("━" * (line.bar_width - done), style="bar.back")
            text.append(" ")
        return text.append(line.facts)
