"""What the user reads when a parallel step ends badly.  Pure: from values to text; the cause comes first."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from batchflow.mini_batches import MiniBatches
from batchflow.parallel.inputs import StepInputs
from batchflow.parallel.outcomes import Outcomes
from batchflow.plan import Plan
from batchflow.pool.events import LoadedLate, WorkerDied
from batchflow.pool.slot import Slot
from batchflow.text import count, mebibytes


def aborted(reason: str, outcomes: Outcomes, mini_batches: MiniBatches, inputs: StepInputs, failed_path: Path) -> str:
    """The threshold that was passed, then the first failure with the item and the user's own frames."""
    lines = [reason]
    if outcomes.first_lost is not None:
        lost = outcomes.first_lost
        dispatch = lost.dispatch
        number = mini_batches.number(dispatch.mini_batch_index)
        which = inputs.told(dispatch.start, dispatch.start + dispatch.count)
        lines.append(f"first failure: mini_batch_index={number}, attempt={dispatch.attempt}, {which}")
        lines.append(_cause(lost.failure.error_type, lost.failure.message, lost.failure.traceback))
        if lost.failure.output_tail:
            lines.append("last output of the worker:")
            lines.extend(f"  {line}" for line in lost.failure.output_tail.splitlines()[-10:])
    elif outcomes.first_shortfall is not None:
        shortfall = outcomes.first_shortfall
        number = mini_batches.number(shortfall.mini_batch_index)
        lines.append(
            f"first shortfall: mini_batch_index={number}, "
            f"run() returned {count(shortfall.returned_count, 'element')} for {count(shortfall.item_count, 'item')}"
        )
        if not shortfall.returned_count:
            lines.append("is `return` missing in run()?")
    lines.append(f"all failed items: {failed_path}")
    return "\n".join(lines)


def tolerated_with(reason: str, plan: Plan) -> str:
    """The setting, of the one that was passed, which would tolerate all that has failed so far; empty if none does."""
    setting = reason.partition(":")[0]
    percent = math.ceil(100 * plan.failed_mini_batch_count / max(1, plan.mini_batches.grid.count))
    needed = {
        "error_threshold": plan.failed_item_count,
        "mini_batch_error_threshold": plan.failed_mini_batch_count,
        "allowed_failed_percent": percent,
    }
    is_all = plan.failed_item_count == plan.item_count
    return "" if is_all or setting not in needed else f"{setting} = {needed[setting]} or more"


def ways_on(tolerated_with: str) -> str:
    cure = "fix the cause, then `batchflow retry`"
    return f"{cure}; or tolerate them: {tolerated_with}, then `batchflow run`" if tolerated_with else cure


def _cause(error_type: str, message: str, traceback: str) -> str:
    """The traceback and the error, which is said once: most tracebacks end in it, those of our own errors do not."""
    text = traceback.rstrip()
    last_part = text.rpartition("Traceback (most recent call last):")[2]
    if any(line.partition(":")[0] == error_type for line in last_part.splitlines()):
        return text
    error = f"{error_type}: {message}" if message else error_type
    return f"{text}\n{error}" if text else error


def skipped(hidden_count: int, special_count: int) -> str:
    """What the listing left out, in one line; empty if nothing."""
    kinds = [
        (hidden_count, "hidden file or folder", "hidden files and folders"),
        (special_count, "special file", None),
    ]
    named = [count(number, kind, plural) for number, kind, plural in kinds if number]
    return f"not part of the input: {', '.join(named)}" if named else ""


def surplus(element_count: int) -> str:
    return f"run() returned {count(element_count, 'element')} more than there are items; all of them are in the output"


def death(died: WorkerDied) -> str:
    if died.stuck:
        what = "does not end although it was killed: the kernel holds it"
    elif died.timed_out:
        what = "was killed, run() took too long"
    elif died.memory_held:
        what = f"was killed, it held {mebibytes(died.memory_held)}"
    elif died.out_of_memory:
        what = f"was killed by the kernel because memory ran out, peak memory {mebibytes(died.peak_rss)}"
    else:
        what = f"died, {died.exit.describe()}{died.crashed_at and f' at {died.crashed_at}'}"
    return f"worker {died.worker} {what}, pid={died.exit.pid}"


def load_failed(script: Path, description: dict[str, Any]) -> str:
    cause = _cause(description["error_type"], description["message"], description["traceback"])
    return f"the entry script cannot be used: {script}\n{cause}"


def init_failed(count: int, description: dict[str, Any]) -> str:
    cause = _cause(description["error_type"], description["message"], description["traceback"])
    return f"init() failed {count} times in a row\n{cause}"


def describe_init_death(death: WorkerDied) -> dict[str, Any]:
    """A worker that died before it was ready, in the form of a failure's description."""
    how = "memory ran out" if death.out_of_memory else death.exit.describe()
    message = f"worker {death.worker} died before it was ready: {how}, pid={death.exit.pid}"
    if death.output_tail:
        message += f"\nlast output of the worker:\n{death.output_tail}"
    return {"error_type": "WorkerDiedError", "message": message, "traceback": ""}


def loaded_late(event: LoadedLate, script: Path) -> str:
    culprit = f" (it was {event.culprit})" if event.culprit else ""
    return (
        f"importing {script.name} started {event.thread_count - 1} threads{culprit}, so each worker imports it "
        "for itself; start threads in init() to share the import"
    )


def keep_dying(too_often: str, death: WorkerDied) -> str:
    """``too_often``: as ``RestartLimit.passed`` says it."""
    text = f"{too_often}, the last one of {death.exit.describe()}"
    return f"{text}\nits last output:\n{death.output_tail}" if death.output_tail else text


def zygote_died(status: int | None, output_tail: str, importing: Path | None) -> str:
    """``importing``: the script that it had not finished to import."""
    text = f"the process that workers are forked from keeps dying, status={status}"
    if importing is not None:
        text = f"importing {importing} ends the process that does it, status={status}"
    return f"{text}\nits last output:\n{output_tail}" if output_tail else text


def no_progress(limit_s: float, slots: Sequence[Slot], mini_batches: MiniBatches) -> str:
    """Names what every worker is doing."""
    lines = [f"nothing was completed for progress_update_timeout={limit_s:g} s"]
    for slot in slots:
        if slot.asked_for:
            doing: str = slot.channel.state
            for index, attempt, _, _ in slot.channel.flights()[:1]:
                doing += f", mini_batch_index={mini_batches.number(index)}, attempt={attempt}"
            lines.append(f"worker {slot.number}, pid={slot.pid}: {doing} for {slot.watch.elapsed_s:.0f} s")
    return "\n".join(lines)


def bad_shutdown(death: WorkerDied) -> str:
    tail = death.output_tail.splitlines()
    last = f": {tail[-1]}" if tail else ""
    return f"worker {death.worker} ended badly in shutdown(), {death.exit.describe()}{last}"
