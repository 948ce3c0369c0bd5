"""What becomes of the work that an interrupted parallel step has done.  Pure, but for ``look``, which reads.

    what is split changed          begin anew, with one line of notice
    code or settings changed       less than a minute of work: begin anew, with a notice; more: refuse, with the diff
    nothing changed                go on

Invariant: work is dropped only with a notice, and never more than ``WORK_AT_STAKE_S`` of it because of an edit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from batchflow.errors import ChangedStepError, RefusedError
from batchflow.journal.commits import Journal, State
from batchflow.journal.records import Success
from batchflow.runner.freshness import compare, judge
from batchflow.runner.values import Committed, Reason, RunOptions
from batchflow.text import count
from batchflow.workflow.values import Step, Workflow

WORK_AT_STAKE_S = 60.0


@dataclass(frozen=True)
class Resumption:
    """How a parallel step begins.  Neither ``resumes`` nor ``reopens``: with nothing."""

    resumes: bool = False
    """Go on with what the journal says."""
    reopens: bool = False
    """Have what failed done again."""
    notices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Past:
    """What is left of earlier runs of one step."""

    state: State
    is_over: bool
    """It belongs to the last success, which is recorded: nothing of it was interrupted."""

    @property
    def committed(self) -> Committed:
        totals = self.state.totals
        return Committed(self.state.item_count, totals.succeeded, totals.failed, self.state.work_s, totals.rows)


def look(folder: Path, success: Success | None) -> Past | None:
    """What the journal in a step's folder says; None if there is none.

    Raises ``JournalError`` if it cannot be believed.
    """
    journal = Journal.open_for_reading(folder)
    if journal is None:
        return None
    with journal:
        return None if journal.state is None else past_of(journal.state, success)


def past_of(state: State, success: Success | None) -> Past:
    is_over = success is not None and success.run_id == state.run_id and state.phase == "finished"
    return Past(state, is_over)


def decide(
    step: Step,
    workflow: Workflow,
    past: Past | None,
    signature: Mapping[str, Any],
    options: RunOptions,
    *,
    forced: bool = False,
) -> Resumption:
    """What to do about ``past`` when ``step``, which is stale, is run as ``signature`` says.

    Raises ``ChangedStepError`` when more than ``WORK_AT_STAKE_S`` of work and a change stand against each other.
    """
    if past is None or (past.is_over and not options.retry):
        return Resumption()
    if forced or options.restart:
        return Resumption(notices=_anew(past))
    moved = _other_work(step, past.state.signature, signature)
    if moved is not None:
        if options.retry and past.state.totals.failed:
            raise RefusedError(
                f"step {step.name}: {moved} since: the failed items alone cannot be tried again",
                hint="batchflow run brings the step up to date",
            )
        return Resumption(notices=_anew(past, moved))
    changes = _changes(step, workflow, past.state.signature, signature)
    kept: tuple[str, ...] = ()
    if changes:
        said = "; ".join(one.describe() for one in changes)
        if not (options.accept_changes or options.retry):
            if past.state.work_s >= WORK_AT_STAKE_S:
                raise _refusal(step, past, changes)
            return Resumption(notices=_anew(past, said))
        done = past.committed.succeeded if options.retry else past.committed.done
        kept = (f"{count(done, 'item')} of before the change {'is' if done == 1 else 'are'} kept ({said})",)
    return _go_on(step, past, options, kept)


def _anew(past: Past, why: str = "") -> tuple[str, ...]:
    """The notice that work is dropped, if there is any."""
    if past.is_over or not past.committed.done:
        return ()
    return (f"begins anew{why and f' ({why})'}; dropped: {past.committed.amount()}",)


def _go_on(step: Step, past: Past, options: RunOptions, notices: tuple[str, ...]) -> Resumption:
    failed = past.state.totals.failed
    # What failed stays failed as long as it is tolerated; where it is not, nothing but trying again could help.
    reopens = bool(failed) and (options.retry or bool(judge(_as_receipt(past.state), step)))
    if not past.is_over and past.committed.done:
        notices += (f"goes on: {past.committed.describe()}",)
    if reopens and not options.retry:
        notices += (f"{count(failed, 'item')} that failed before {'is' if failed == 1 else 'are'} tried again",)
    return Resumption(resumes=True, reopens=reopens, notices=notices)


def _other_work(step: Step, old: Mapping[str, Any], new: Mapping[str, Any]) -> str | None:
    """Why the items, or the places of their rows, are not those of before; None if they are."""
    settings = step.parallel
    if settings is None:
        return "it was a parallel step"
    before, after = old["settings"], new["settings"]
    over = settings.over
    if before.get("parallel.over") != over or before.get(f"inputs.{over}") != after.get(f"inputs.{over}"):
        return f"input {over} is another one"
    was, now = old["inputs"].get(over), new["inputs"].get(over)
    if was != now:
        counts = [one.get("count", 1) if one else 0 for one in (was, now)]
        many = "" if counts[0] == counts[1] else f", {counts[0]:,} → {counts[1]:,} files"
        return f"files of input {over} were added, removed or changed{many}"
    if _outputs(before) != _outputs(after):
        return "the outputs are declared otherwise"
    return None


_FORM_OF_ROWS = frozenset(
    f"parallel.{name}"
    for name in ("append_row_to", "append_row_file_name", "output_action", "output_format", "header", "delimiter")
)
"""Settings of which one file cannot have two."""


def _outputs(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if name.startswith("outputs.") or name in _FORM_OF_ROWS}


def _changes(step: Step, workflow: Workflow, old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Reason]:
    """What would make other rows now, apart from what is split."""
    size = {"parallel.mini_batch_size": new["settings"].get("parallel.mini_batch_size")}
    before = {**old, "settings": {**old["settings"], **size}}
    return [reason for reason in compare(before, new, step, workflow) if reason.kind != "upstream"]


def _refusal(step: Step, past: Past, changes: list[Reason]) -> ChangedStepError:
    lines = "".join(f"\n  {one.describe()}" for one in changes)
    return ChangedStepError(
        f"step {step.name} was interrupted when {past.committed.share} were done ({past.committed.work}),"
        f" and has changed since:{lines}",
        hint="--accept-changes keeps what is done (the output will hold rows of both versions), --restart drops it",
    )


def _as_receipt(state: State) -> dict[str, Any]:
    totals = state.totals
    return {
        "items_in": state.item_count,
        "mini_batches": max(totals.mini_batches, -(-state.item_count // state.mini_batch_size)),
        "succeeded": totals.succeeded,
        "failed": totals.failed,
        "failed_mini_batches": totals.failed_mini_batches,
    }
