"""What the command line says about events, records and errors, as lines of text.

Pure: values in, text out; the only file it knows is the path it is told to mention.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from batchflow.cli.text import one_line, short_path, signal_label
from batchflow.errors import BatchflowError, InternalError, InterruptedRunError, RefusedError, WorkflowError
from batchflow.model import Event, Notice, StepFailed, StepFinished, StepNotRun, StepSkipped, StepStarted
from batchflow.text import count, duration, safe_text

if TYPE_CHECKING:
    from batchflow.runner.values import RunRecord, StepRecord

_OUTPUTS_MAX = 12
_BUG_HINT = "hint: this is a bug in batchflow, please report it"


@dataclass(frozen=True)
class FailedItems:
    """How many items of a step failed, the first of them, one line each, and the file that has all."""

    count: int
    path: Path
    first: tuple[str, ...]


def event_line(event: Event) -> str | None:
    """The one line that stays on the screen for ``event``; None for those that only move the progress display."""
    if isinstance(event, StepSkipped):
        return f"{safe_text(event.step)}: up to date"
    if isinstance(event, StepStarted):
        items = "" if event.item_count is None else f", {count(event.item_count, 'item')}"
        return f"{safe_text(event.step)}: started{items} ({one_line(event.reason)})"
    if isinstance(event, StepFinished):
        receipt = event.receipt
        items = "" if receipt is None else f", {count(receipt.items_in, 'item')}, {receipt.failed:,} failed"
        return f"{safe_text(event.step)}: done in {duration(event.elapsed_s)}{items}"
    if isinstance(event, StepFailed):
        after = f"after {duration(event.elapsed_s)}"
        if is_interruption(event):
            # A parallel step says how far it came: "stopped with 300 of 1,000 items done".
            what = one_line(event.message) if event.message.startswith("stopped ") else "stopped"
            return f"{safe_text(event.step)}: {what} {after}"
        return f"{safe_text(event.step)}: failed {after}: {one_line(event.message)}"
    if isinstance(event, StepNotRun):
        return f"{safe_text(event.step)}: not run ({one_line(event.reason)})"
    if isinstance(event, Notice):
        return (
            f"{safe_text(event.step)}: {one_line(event.message)}" if event.step else f"note: {one_line(event.message)}"
        )
    return None


def is_interruption(event: Event) -> bool:
    """Whether a step did not end by itself: somebody stopped the run."""
    return isinstance(event, StepFailed) and event.error_type == InterruptedRunError.__name__


def wanted(event: Event, verbosity: int) -> bool:
    """Whether the line of ``event`` is shown: 0 is the default, each ``-v`` adds one, each ``-q`` takes one away."""
    if isinstance(event, StepFailed):
        return verbosity >= -1
    if isinstance(event, StepSkipped):
        return verbosity >= 1
    return verbosity >= 0


def event_style(event: Event) -> str:
    """The colour of the line of ``event``, as rich names it."""
    if isinstance(event, StepFailed):
        return "yellow" if is_interruption(event) else "red"
    if isinstance(event, StepFinished):
        return "green"
    return "yellow" if isinstance(event, (Notice, StepNotRun)) else "default"


@dataclass(frozen=True)
class EndContext:
    """What the end of a run is told with: the command as typed, and the folder that paths are shown from."""

    command: str
    folder: Path
    verbosity: int = 0
    failed_items: Mapping[str, FailedItems] | None = None
    retry_command: str = ""
    """What tries the failed items again."""
    run_command: str = ""
    """What brings everything up to date, be ``command`` a retry or not."""
    logs: Mapping[str, Path] = field(default_factory=dict)
    """Where the log of each step lies: a file or a folder."""
    stale: Sequence[str] = ()
    """The steps that are not up to date although a retry had nothing to do."""


def end_lines(record: RunRecord, context: EndContext) -> list[str]:
    """The last lines of a run, the most important last."""
    if record.exit_code == 0:
        return _success_lines(record, context) if context.verbosity > -2 else []
    if record.exit_code >= 128:
        return _interrupted_lines(record, context)
    return _failure_lines(record, context)


def _success_lines(record: RunRecord, context: EndContext) -> list[str]:
    if not record.steps:
        return nothing_to_retry(context.stale, context.run_command, record.elapsed_s)
    done = _with_status(record, "done")
    up_to_date = _with_status(record, "up_to_date")
    if not done:
        verb = "is" if len(up_to_date) == 1 else "are"
        lines = _output_lines(up_to_date, context) if context.verbosity > 0 else []
        steps = f"{count(len(up_to_date), 'step')} {verb} up to date"
        return [*lines, f"nothing to do: {steps} ({duration(record.elapsed_s)})"]
    parts = [f"{count(len(done), 'step')} done"]
    if up_to_date:
        parts.append(f"{len(up_to_date):,} up to date")
    receipts = [step.receipt for step in done if step.receipt is not None]
    if receipts:
        parts.append(count(sum(one.items_in for one in receipts), "item"))
        parts.append(f"{sum(one.failed for one in receipts):,} failed")
    details = [*_failed_item_lines(context), *_log_lines(done, context), *_output_lines(done, context)]
    if context.failed_items:
        details.append(f"to try the failed items again: {context.retry_command}")
    return [
        *(details if context.verbosity >= 0 else ()),
        f"done in {duration(record.elapsed_s)}: {', '.join(parts)}",
    ]


def nothing_to_retry(stale: Sequence[str], run_command: str, elapsed_s: float | None = None) -> list[str]:
    """What a retry without anything to do says; steps that are ``stale`` are not for it but for a run."""
    took = "" if elapsed_s is None else f" ({duration(elapsed_s)})"
    lines = [f"nothing to retry: no failed or missing items{took}"]
    if stale:
        names = ", ".join(safe_text(name) for name in stale)
        lines.append(f"{names} {'is' if len(stale) == 1 else 'are'} not up to date: {run_command}")
    return lines


def _interrupted_lines(record: RunRecord, context: EndContext) -> list[str]:
    label = signal_label(record.exit_code - 128)
    return [
        f"stopped by {label} after {duration(record.elapsed_s)}: {_tally(record, failed='stopped')}",
        *_kept_lines(record),
        f"to continue: {context.command}",
    ]


def _failure_lines(record: RunRecord, context: EndContext) -> list[str]:
    failed = _with_status(record, "failed")
    lines = [f"failed in {duration(record.elapsed_s)}: {_tally(record)}"]
    not_run = [safe_text(step.step) for step in _with_status(record, "not_run")]
    if not_run:
        lines.append(f"not run: {', '.join(not_run)}")
    lines += _log_lines([step for step in record.steps.values() if step.status != "not_run"], context)
    for step in failed:
        lines.append(f"error: step {safe_text(step.step)} failed after {duration(step.elapsed_s)}")
        lines += _indented(step.error or "no reason was recorded")
        if step.hint and step.tolerated_with is None:
            lines.append(f"hint: {safe_text(step.hint)}")
    if record.exit_code == InternalError.exit_code:
        lines.append(_BUG_HINT)
    lines += _kept_lines(record)
    if record.exit_code == RefusedError.exit_code:
        return lines  # the same command would be refused again
    too_many = [step for step in failed if step.tolerated_with is not None]
    for step in too_many:
        lines += threshold_lines(step, context)
    if len(too_many) == len(failed):
        return lines  # as it stands the same command would fail again
    if any(step.committed is not None and step.committed.failed for step in failed if step not in too_many):
        lines.append(f"to try the failed items again: {context.retry_command}")
    return [*lines, f"to continue: {context.command}"]


def threshold_lines(step: StepRecord, context: EndContext) -> list[str]:
    """The ways on from a step of which more failed than is tolerated."""
    lines = [f"if the cause is fixed: {context.retry_command}"]
    if step.tolerated_with:
        lines.append(
            f"to tolerate them: {step.tolerated_with} in step {safe_text(step.step)}, then {context.run_command}"
        )
    return lines


def _kept_lines(record: RunRecord) -> list[str]:
    """What the next run need not do again."""
    kept = [(step.step, step.committed) for step in record.steps.values() if step.committed is not None]
    return [f"kept of step {safe_text(name)}: {committed.amount()}" for name, committed in kept if committed.done]


def _with_status(record: RunRecord, status: str) -> list[StepRecord]:
    return [step for step in record.steps.values() if step.status == status]


def _tally(record: RunRecord, failed: str = "failed") -> str:
    """``1 step failed, 1 not run, 2 done``; ``failed`` is what a step is called that began and did not succeed."""
    tally: dict[str, int] = {}
    for status, label in (
        ("failed", failed),
        ("interrupted", "stopped"),
        ("not_run", "not run"),
        ("done", "done"),
        ("up_to_date", "up to date"),
    ):
        tally[label] = tally.get(label, 0) + len(_with_status(record, status))
    present = [(label, number) for label, number in tally.items() if number]
    if not present:
        return "no step was started"
    (first_label, first_number), *others = present
    return ", ".join([f"{count(first_number, 'step')} {first_label}", *(f"{n:,} {label}" for label, n in others)])


def _output_lines(steps: Sequence[StepRecord], context: EndContext) -> list[str]:
    """One aligned line for each output of ``steps``: its name, where it is, how many rows."""
    rows = [
        (safe_text(name), short_path(path, context.folder), _rows_note(step, path))
        for step in steps
        for name, path in step.outputs.items()
    ]
    width = max((len(name) for name, _, _ in rows), default=0)
    lines = [f"  {name:<{width}}  {path}{note}" for name, path, note in rows[:_OUTPUTS_MAX]]
    if len(rows) > _OUTPUTS_MAX:
        lines.append(f"  and {count(len(rows) - _OUTPUTS_MAX, 'output')} more (batchflow status shows them)")
    return ["outputs:", *lines] if lines else []


def _log_lines(steps: Sequence[StepRecord], context: EndContext) -> list[str]:
    """One line for each of ``steps`` that has a log, for those who want to know more."""
    if context.verbosity < 1:
        return []
    logs = [(safe_text(step.step), context.logs[step.step]) for step in steps if step.step in context.logs]
    return ["logs:", *(f"  {name}  {short_path(path, context.folder)}" for name, path in logs)] if logs else []


def _rows_note(step: StepRecord, path: Path) -> str:
    receipt = step.receipt
    if receipt is None or receipt.output is None or Path(receipt.output) != path:
        return ""
    return f"  ({count(receipt.rows_out, 'row')})"


def _failed_item_lines(context: EndContext) -> list[str]:
    lines: list[str] = []
    for step, failed in (context.failed_items or {}).items():
        path = short_path(failed.path, context.folder)
        lines.append(f"{count(failed.count, 'item')} of step {safe_text(step)} failed (all in {path}):")
        lines += [f"  {line}" for line in failed.first]
    return lines


def _indented(text: str) -> list[str]:
    return [f"  {line}" for line in safe_text(text.rstrip(), multiline=True).split("\n")]


def _hanging(text: str) -> str:
    """All lines but the first indented, so that none of them can be taken for the first of something else."""
    return text.replace("\n", "\n  ")


def error_lines(error: BatchflowError, command: str | None = None) -> list[str]:
    """What is shown for an error that ended the command; ``command`` is what continues, if anything does."""
    text = safe_text(str(error).rstrip(), multiline=True)
    # The report of a workflow file is made of safe pieces; all other text could look like lines of ours.
    lines = [text if isinstance(error, WorkflowError) and text.startswith("error[") else f"error: {_hanging(text)}"]
    if error.hint and error.hint not in str(error):
        lines.append(f"hint: {_hanging(safe_text(error.hint, multiline=True))}")
    if command is not None:
        lines.append(f"to continue: {command}")
    return lines


def answer_lines(keep: str | None, drop: str) -> list[str]:
    """The commands that answer a refusal because an interrupted step has changed; ``keep``: None if it cannot be."""
    if keep is None:
        return [f"to drop what is done and begin the step anew: {drop}"]
    return [
        f"to keep what is done (the output will hold rows of both versions): {keep}",
        f"to drop it and begin the step anew: {drop}",
    ]


def bug_lines(error: BaseException, command: str | None = None) -> list[str]:
    """What is shown when batchflow itself broke: the traceback, then what to do."""
    import traceback

    trace = "".join(traceback.format_exception(type(error), error, error.__traceback__)).rstrip()
    lines = [
        *_indented(trace),
        f"internal error: {type(error).__name__}: {one_line(str(error)) or 'no message'}",
        f"{_BUG_HINT} with the traceback above",
    ]
    if command is not None:
        lines.append(f"to continue: {command}")
    return lines
