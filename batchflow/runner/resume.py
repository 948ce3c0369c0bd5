"""What becomes of the work that an interrupted parallel step has done.  Pure, but for ``look``, which reads.

    nothing changed, or nothing that what is done depends on      go on
    input files were added, removed or changed                    begin anew, with one line of notice
    code or settings changed, and what is done could be kept      less than a minute of work: begin anew, with a
    places or form of the outputs changed, it cannot be kept      notice; more: refuse, with what changed

Only the first of the last two can be accepted.

Invariant: work is dropped only with a notice, and never more than ``WORK_AT_STAKE_S`` of it because of an edit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batchflow.errors import ChangedStepError, RefusedError
from batchflow.runner.freshness import compare, judge
from batchflow.runner.values import Committed, Reason, RunOptions
from batchflow.text import count
from batchflow.workflow.values import ParallelSettings, Step, Workflow

if TYPE_CHECKING:
    from batchflow.journal.records import Success
    from batchflow.journal.state import State

WORK_AT_STAKE_S = 60.0


@dataclass(frozen=True)
class Resumption:
    """How a parallel step begins.  Neither ``resumes`` nor ``reopens``: with nothing."""

    resumes: bool = False
    """Go on with what the journal says."""
    reopens: bool = False
    """Have what failed done again."""
    notices: tuple[str, ...] = ()
    mini_batch_size: int | None = None
    """Items of a mini-batch if they have to be as they were, whatever is declared now."""


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
    from batchflow.journal.commits import Journal

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

    Raises ``ChangedStepError`` when more than ``WORK_AT_STAKE_S`` of work and a change stand against each other,
    ``RefusedError`` when ``retry`` cannot find, or not put into their places, the items that failed.
    """
    anew = forced or options.restart
    if past is None:
        if options.retry and not anew:
            raise _without_journal(step)
        return Resumption()
    if past.is_over and not options.retry:
        return Resumption()
    if anew:
        return Resumption(notices=_anew(past))
    if step.parallel is None:
        return Resumption(notices=_anew(past, "it was a parallel step"))
    usability = _Usability(step.parallel, past.state.signature, signature)
    if options.retry and past.state.totals.failed and (what := usability.describe()):
        raise RefusedError(
            f"step {step.name}: {what} since: the failed items alone cannot be tried again",
            hint="batchflow run brings the step up to date",
        )
    if usability.other_items:
        return Resumption(notices=_anew(past, usability.other_items))
    changes = usability.changes(step, workflow)
    may_be_kept = not usability.keys
    kept: tuple[str, ...] = ()
    if changes:
        said = "; ".join(one.describe() for one in changes)
        if not (may_be_kept and (options.accept_changes or options.retry)):
            if past.state.work_s >= WORK_AT_STAKE_S:
                raise _refusal(step, past, changes, usability.keys)
            return Resumption(notices=_anew(past, said))
        done = past.committed.succeeded if options.retry else past.committed.done
        kept = (f"{count(done, 'item')} of before the change {'is' if done == 1 else 'are'} kept ({said})",)
    return _go_on(step, step.parallel, past, options, kept)


def _without_journal(step: Step) -> RefusedError:
    return RefusedError(
        f"step {step.name}: its journal, which names what failed, is gone:"
        " the failed items alone cannot be tried again",
        hint=f"batchflow run {step.name} -f does all of the step again",
    )


def _anew(past: Past, why: str = "") -> tuple[str, ...]:
    """The notice that work is dropped, if there is any."""
    if past.is_over or not past.committed.done:
        return ()
    return (f"begins anew{why and f' ({why})'}; dropped: {past.committed.amount()}",)


def _go_on(
    step: Step, settings: ParallelSettings, past: Past, options: RunOptions, notices: tuple[str, ...]
) -> Resumption:
    state = past.state
    failed = state.totals.failed
    # What failed stays failed as long as it is tolerated; where it is not, nothing but trying again could help.
    reopens = bool(failed) and (options.retry or bool(judge(_as_receipt(state), step)))
    size: int | None = state.mini_batch_size
    is_done = not (past.committed.to_do or reopens)
    is_cut = bool(state.cut_count)  # then it is as the first run made it, whatever is declared now
    is_other = (size, state.mini_batch_unit) != (settings.mini_batch_size, settings.mini_batch_unit)
    if is_cut and is_other and not (settings.partition_keys or is_done):
        notices += ("mini-batches stay as the first run of the step made them",)
    if is_cut or not is_other or is_done or not _writes_files(step, settings):
        size = None
    if not past.is_over and past.committed.done:
        notices += (f"goes on: {past.committed.describe()}",)
    if reopens and not options.retry:
        notices += (f"{count(failed, 'item')} that failed before {'is' if failed == 1 else 'are'} tried again",)
    if size is not None:
        notices += (f"mini-batches keep their {count(size, 'item')}: the script's own files may be named by them",)
    return Resumption(resumes=True, reopens=reopens, notices=notices, mini_batch_size=size)


def _writes_files(step: Step, settings: ParallelSettings) -> bool:
    """Whether the script makes outputs itself: what it has written for mini-batches of one size, nobody replaces when
    these items come in mini-batches of another."""
    kept = step.outputs.keys() - {settings.failed_to, settings.receipt_to}
    return any(name != settings.append_row_to or step.outputs[name].is_folder for name in kept)


_FORM_OF_ROWS = tuple(
    f"parallel.{name}"
    for name in (
        "append_row_to",
        "append_row_file_name",
        "output_action",
        "output_format",
        "header",
        "delimiter",
        "partition_keys",
    )
)
"""Settings of which one file cannot have two."""
_ITEMS = ("format", "delimiter", "quote", "escape", "header", "encoding", "partition_format")
"""Options of a dataset that say what its items are, and in which order."""
_REPORTS = ("parallel.failed_to", "parallel.receipt_to")
_HARMLESS = ("parallel.mini_batch_size", "parallel.order")
"""Settings of which a file may have had two: what is left is split anew, and the order is made in the end."""


class _Usability:
    """What the rows and files made under one signature are worth under another."""

    def __init__(self, settings: ParallelSettings, old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
        self._old, self._new = old, new
        before, after = old["settings"], new["settings"]
        changed = [name for name in settings.over if old["inputs"].get(name) != new["inputs"].get(name)]
        same = [f"inputs.{name}" for name in settings.over if name not in changed]
        is_over_others = before.get("parallel.over") != after.get("parallel.over")
        self.other_items = ""
        """Why the items are others though nobody edited anything; empty if they are not."""
        for name in changed:
            if not is_over_others and before.get(f"inputs.{name}") == after.get(f"inputs.{name}"):
                self.other_items = _other_items(name, old["inputs"].get(name), new["inputs"].get(name))
        places, places_now = _kept_places(before), _kept_places(after)
        options = [f"inputs.{name}.{option}" for name in settings.over for option in _ITEMS]
        form = ["parallel.over", *_FORM_OF_ROWS, *options, *(f"inputs.{name}" for name in changed)]
        self.keys = [key for key in form if before.get(key) != after.get(key)]
        """Settings whose edit leaves what is done without a use."""
        self.keys += sorted(key for key in places.keys() | places_now if places.get(key) != places_now.get(key))
        outputs = {key for key in before.keys() | after if key.startswith("outputs.")}
        copies = outputs - places.keys() - places_now.keys()
        # An output that becomes a copy, or one no more, has its place as before: then that is the change to tell.
        reports = set() if self.keys else {*_REPORTS, *copies}
        self._harmless = {*_HARMLESS, *reports, *same}

    def describe(self) -> str:
        """Why what is done cannot be completed; empty if it can."""
        return self.other_items or (f"{', '.join(self.keys)} changed" if self.keys else "")

    def changes(self, step: Step, workflow: Workflow) -> list[Reason]:
        """What would make other rows or files now."""
        before, after = self._old["settings"], self._new["settings"]
        same = {key: value for key, value in after.items() if key in self._harmless}
        settings = {key: value for key, value in before.items() if key not in self._harmless} | same
        reasons = compare({**self._old, "settings": settings}, self._new, step, workflow)
        return [reason for reason in reasons if reason.kind != "upstream"]


def _other_items(name: str, was: Mapping[str, Any] | None, now: Mapping[str, Any] | None) -> str:
    counts = [one.get("count", 1) if one else 0 for one in (was, now)]
    many = "" if counts[0] == counts[1] else f", {counts[0]:,} → {counts[1]:,} files"
    return f"files of input {name} were added, removed or changed{many}"


def _kept_places(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Where outputs are that the runs of a step write, one after another; copies of reports are made in the end."""
    reports = {f"outputs.{settings.get(key)}" for key in _REPORTS}
    return {key: value for key, value in settings.items() if key.startswith("outputs.") and key not in reports}


def _refusal(step: Step, past: Past, changes: list[Reason], unusable: list[str]) -> ChangedStepError:
    lines = "".join(f"\n  {one.describe()}" for one in changes)
    hint = "--accept-changes keeps what is done (the output will hold rows of both versions), --restart drops it"
    if unusable:
        names = " and ".join(unusable)
        lines += f"\nwith another {names} nothing of what is done can be kept: put that back to go on"
        hint = "--restart drops what is done"
    return ChangedStepError(
        f"step {step.name} was interrupted when {past.committed.share} were done ({past.committed.work}),"
        f" and has changed since:{lines}",
        hint=hint,
        can_be_kept=not unusable,
    )


def _as_receipt(state: State) -> dict[str, Any]:
    totals = state.totals
    return {
        "items_in": state.item_count,
        "mini_batches": state.mini_batch_count,
        "succeeded": totals.succeeded,
        "failed": totals.failed,
        "failed_mini_batches": totals.failed_mini_batches,
    }
