"""The verbs ``run`` and ``retry``."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from batchflow.cli.arguments import Arguments, Commands
from batchflow.cli.backend import Backend
from batchflow.cli.courier import Courier, Receiver
from batchflow.cli.look import load
from batchflow.cli.messages import EndContext, FailedItems, end_lines
from batchflow.cli.plans import record_json
from batchflow.cli.preview import run_options, stale_steps
from batchflow.cli.progress import PlainDisplay
from batchflow.cli.signals import StopOnSignals
from batchflow.cli.streams import QuietStream, standard_error, write_json
from batchflow.cli.text import one_line
from batchflow.clock import SystemClock
from batchflow.control import StopRequest
from batchflow.model import Event
from batchflow.text import count

if TYPE_CHECKING:
    from batchflow.runner.values import RunOptions, RunRecord
    from batchflow.workflow.values import Workflow

_LIVE_WIDTH_MIN = 30
_FIRST_FAILED_ITEMS = 3
_EVENTS_CLOSE_TIMEOUT_S = 5.0


def run(arguments: Arguments, backend: Backend, commands: Commands) -> int:
    """Run the workflow; returns the exit code."""
    workflow = load(arguments, backend)
    options = run_options(arguments, workflow)
    screen = standard_error()
    with _couriers(arguments, screen) as couriers:
        record = _run(backend, workflow, options, couriers)
    for courier in couriers.all:
        if courier.error is not None:
            screen.line(
                f"note: a display stopped working: {type(courier.error).__name__}: {one_line(str(courier.error))}"
            )
    failed_items = _failed_items(workflow, record)
    context = EndContext(
        commands.retry if arguments.retry else commands.run,
        Path.cwd(),
        arguments.verbosity,
        failed_items,
        retry_command=commands.retry,
        run_command=commands.run,
        logs=_logs(workflow, record),
        stale=() if record.steps or not arguments.retry else stale_steps(backend, workflow, options),
    )
    if arguments.profile:
        from batchflow.cli.profile import profile_lines

        for line in profile_lines(record, screen.width()):
            screen.line(line)
    for line in end_lines(record, context):
        screen.line(line)
    if arguments.json:
        write_json(record_json(record))
    return record.exit_code


@dataclass(frozen=True)
class _Couriers:
    """Whoever is told what happens; the first is the display."""

    all: tuple[Courier, ...]
    stop: StopRequest
    signals: StopOnSignals

    def post(self, event: Event) -> None:
        for courier in self.all:
            courier.post(event)


def _run(backend: Backend, workflow: Workflow, options: RunOptions, couriers: _Couriers) -> RunRecord:
    with couriers.signals:
        return backend.run(workflow, options, couriers.post, couriers.stop)


@contextlib.contextmanager
def _couriers(arguments: Arguments, screen: QuietStream) -> Iterator[_Couriers]:
    """The couriers of one run, started; on the way out everything they still carry is shown."""
    clock = SystemClock()
    stop = StopRequest()
    event_file = None
    if arguments.events is not None:
        from batchflow.cli.events import EventFile

        event_file = EventFile(arguments.events)
    display = Courier(_display(screen, arguments.verbosity), clock, on_tick=lambda: signals.tick())
    signals = StopOnSignals(stop, display.say, clock)
    display.start()
    events = [] if event_file is None else [Courier(event_file, clock).start()]
    try:
        yield _Couriers((display, *events), stop, signals)
    finally:
        display.close()
        for courier in events:
            # It may be a pipe that nobody reads any more.
            courier.close(_EVENTS_CLOSE_TIMEOUT_S)


def _display(screen: QuietStream, verbosity: int) -> Receiver:
    """Moving lines on a terminal that can do it, plain ones elsewhere."""
    if verbosity >= 0 and screen.isatty() and os.environ.get("TERM", "") not in ("", "dumb", "unknown"):
        with contextlib.suppress(OSError, ValueError):
            if os.get_terminal_size(screen.fileno()).columns >= _LIVE_WIDTH_MIN:
                from batchflow.cli.live import LiveDisplay

                return LiveDisplay(screen, SystemClock(), verbosity)
    return PlainDisplay(screen, SystemClock(), verbosity)


def _logs(workflow: Workflow, record: RunRecord) -> Mapping[str, Path]:
    """The log of each step of the run that left one."""
    folders = {name: workflow.state_folder / "steps" / name for name in record.steps}
    places = {name: (folder / "log.txt", folder / "logs") for name, folder in folders.items()}
    found = {name: next((one for one in both if one.exists()), None) for name, both in places.items()}
    return {name: path for name, path in found.items() if path is not None}


def _failed_items(workflow: Workflow, record: RunRecord) -> Mapping[str, FailedItems]:
    """The first failed items of each step that succeeded in spite of some; of one that failed, its error tells."""
    found: dict[str, FailedItems] = {}
    for name, step in record.steps.items():
        if step.status == "done" and step.receipt is not None and step.receipt.failed > 0:
            path = workflow.state_folder / "steps" / name / "failed.jsonl"
            with contextlib.suppress(OSError):
                found[name] = FailedItems(step.receipt.failed, path, first_failed_items(path, _FIRST_FAILED_ITEMS))
    return found


def first_failed_items(path: Path, most: int) -> tuple[str, ...]:
    """The first ``most`` entries of a ``failed.jsonl``, one line each; lines that are no entry are passed over."""
    lines: list[str] = []
    with path.open(encoding="utf-8", errors="surrogateescape") as file:
        for text in file:
            if len(lines) == most:
                break
            with contextlib.suppress(ValueError):
                entry = json.loads(text)
                if isinstance(entry, dict):
                    lines.append(_failed_item(entry))
    return tuple(lines)


def _failed_item(entry: dict[str, object]) -> str:
    mini_batch = f"mini_batch_index={entry.get('mini_batch')}"
    missing = entry.get("missing_count")
    if isinstance(missing, int):
        return f"{mini_batch}: {count(missing, 'item')} without a result"
    cause = one_line(f"{entry.get('error_type', '')}: {entry.get('message', '')}")
    return f"{one_line(_name(entry.get('item', mini_batch)))}: {cause}"


def _name(item: object) -> str:
    """How an item of ``failed.jsonl`` is shown: a file, or a row of one."""
    if not isinstance(item, dict):
        return str(item)
    keys = item.get("keys")
    of = ", ".join(f"{key}={value}" for key, value in keys.items()) if isinstance(keys, dict) else item.get("file")
    return f"{of}, row {item.get('row')}"
