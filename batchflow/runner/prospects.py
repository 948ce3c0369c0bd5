"""What would become of the work of earlier runs, told before anything starts.

The decisions are those of ``resume``; this room puts them into words, for plans and for ``status``, and finds the
steps that ``retry`` is about.  Reads journals, changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from batchflow.errors import BatchflowError, JournalError, RefusedError
from batchflow.runner.places import kept_outputs, step_folder
from batchflow.runner.resume import Past, decide, look
from batchflow.runner.values import Committed, Reason, RunOptions
from batchflow.text import count
from batchflow.workflow.values import Step, Workflow

if TYPE_CHECKING:
    from batchflow.journal.records import Success

_RUN_HINT = "batchflow run brings the step up to date"


@dataclass(frozen=True)
class Prospect:
    """What a step would begin with: in words, or why the run would be refused."""

    note: str = ""
    refusal: BatchflowError | None = None


class Pasts:
    """What is left of earlier runs of each step, looked at once; ``JournalError`` where it cannot be believed."""

    def __init__(self, workflow: Workflow, successes: Mapping[str, Success]) -> None:
        self._workflow = workflow
        self._successes = successes
        self._found: dict[str, Past | JournalError | None] = {}

    def of(self, step: Step) -> Past | JournalError | None:
        if step.parallel is None:
            return None
        if step.name not in self._found:
            try:
                past = look(step_folder(self._workflow, step.name), self._successes.get(step.name))
            except JournalError as error:
                self._found[step.name] = error
            else:
                self._found[step.name] = past
        return self._found[step.name]

    def is_over(self, step: Step) -> bool:
        """Whether the last success has everything: no later run of the step came so far as to begin."""
        past = self.of(step)
        return isinstance(past, Past) and past.is_over

    def committed(self, step: Step) -> Committed | None:
        """What is kept of a run that did not come to its end; None if there is none, or it cannot be believed."""
        past = self.of(step)
        return past.committed if isinstance(past, Past) and not past.is_over else None

    def left_over(self, step: Step) -> str:
        """What ``retry`` is about, ``2 failed items, 3 missing items``; empty if there is nothing."""
        past = self.of(step)
        if isinstance(past, JournalError):
            return "a journal that cannot be believed"  # nobody knows what failed: the retry is refused
        if past is None:
            return self._unnamed(step)
        kinds = [(past.committed.failed, "failed item"), (past.committed.to_do, "missing item")]
        counted = ", ".join(count(number, kind) for number, kind in kinds if number)
        return counted or ("" if past.is_over else "an output to finish")

    def _unnamed(self, step: Step) -> str:
        """What failed of a success whose journal is gone."""
        success = self._successes.get(step.name)
        failed = 0 if success is None or success.receipt is None else int(success.receipt["failed"])
        return f"{count(failed, 'failed item')} that no journal names" if failed else ""


def retry_reason(left_over: str) -> Reason:
    return Reason("retry", "", None, left_over)


def for_one_step(options: RunOptions, reasons: tuple[Reason, ...]) -> RunOptions:
    """``retry`` is meant for the steps that have that reason; what follows from them begins as in any run."""
    return replace(options, retry=any(reason.kind == "retry" for reason in reasons))


def prospect(
    step: Step,
    workflow: Workflow,
    past: Past | JournalError | None,
    signature: Mapping[str, Any],
    options: RunOptions,
    reasons: tuple[Reason, ...],
) -> Prospect:
    """What a stale step, whose inputs are all there, would do about ``past``; ``options`` are those for this step."""
    if isinstance(past, JournalError):
        if options.restart:
            return Prospect(f"begins anew; dropped: {past.message}")
        return Prospect(refusal=past)
    try:
        if options.retry and past is not None and past.is_over:
            _check_published(step, reasons)
        forced = any(reason.kind == "forced" for reason in reasons)
        return Prospect("; ".join(decide(step, workflow, past, signature, options, forced=forced).notices))
    except RefusedError as error:
        return Prospect(refusal=error)


def waiting(past: Past | JournalError | None, waits_for: list[str]) -> Prospect:
    """The same for a step that waits for others which run before it."""
    if not isinstance(past, Past) or past.is_over or not past.committed.done:
        return Prospect()
    return Prospect(f"{past.committed.describe()}; what becomes of them is known when {waits_for[0]} has run")


def cannot_retry(step: Step, why: str) -> RefusedError:
    return RefusedError(f"step {step.name}: {why}: the failed items alone cannot be tried again", hint=_RUN_HINT)


def _check_published(step: Step, reasons: tuple[Reason, ...]) -> None:
    for reason in reasons:
        if reason.kind in ("output_missing", "output_changed") and reason.name in kept_outputs(step):
            raise cannot_retry(step, f"output {reason.name} is not as the step left it")
