"""What a run looks like while it goes on, on a terminal: one moving line for each running step.

rich is imported here and nowhere above.  Lines that stay (a step ended) scroll by above the moving ones.
"""

from __future__ import annotations

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from batchflow.cli.messages import event_line, event_style, wanted
from batchflow.cli.progress import StepViews
from batchflow.cli.streams import QuietStream
from batchflow.cli.views import StepView
from batchflow.clock import Clock
from batchflow.model import Event
from batchflow.text import safe_text

_BAR_WIDTH = 24
_BAR_FROM_TERMINAL_WIDTH = 90


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
        self._print(safe_text(line), "yellow")

    def tick(self) -> None:
        if self._verbosity < 0:
            return
        if not self._started:
            self._live.start()
            self._started = True
        self._live.update(self._table(), refresh=True)

    def close(self) -> None:
        if self._started:
            self._live.stop()

    def _print(self, line: str, style: str) -> None:
        self._console.print(Text(line, style=style, overflow="fold"), soft_wrap=True)

    def _table(self) -> Table:
        now = self._clock.monotonic()
        views = self._views.running.values()
        bars = self._console.width >= _BAR_FROM_TERMINAL_WIDTH and any(view.total is not None for view in views)
        table = Table.grid(padding=(0, 1))
        table.add_column(width=1)
        table.add_column(no_wrap=True, overflow="ellipsis", max_width=max(1, self._console.width // 3))
        if bars:
            table.add_column(width=_BAR_WIDTH)
        table.add_column(no_wrap=True, overflow="ellipsis")
        for view in views:
            spinner = self._spinners.setdefault(view.step, Spinner("dots", style="cyan"))
            status = Text(" · ".join(view.parts(now)))
            bar = (_bar(view),) if bars else ()
            table.add_row(spinner.render(now), Text(safe_text(view.step), style="bold"), *bar, status)
        return table


def _bar(view: StepView) -> ProgressBar | Text:
    if view.total is None:
        return Text("")
    return ProgressBar(total=max(1, view.total), completed=view.finished_count, width=_BAR_WIDTH)
