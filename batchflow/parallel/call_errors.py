"""Why a call has no result, as its caller reads it.  Pure, but for reading what the worker has pickled."""

from __future__ import annotations

import pickle

from batchflow.errors import BatchflowError, EntryScriptError, WorkerDiedError
from batchflow.pool.events import WorkerDied
from batchflow.text import mebibytes


class RemoteTraceback(Exception):
    """The traceback in the worker; the cause of an exception that came from there."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return f"\n{self.text}"


def exception_of(payload: bytes) -> BaseException:
    """The exception that the worker raised, with its traceback as the cause; one of ours if it cannot be rebuilt."""
    description, pickled = pickle.loads(payload)
    traceback = description["traceback"]
    error: object = None
    if pickled is not None:
        try:
            error = pickle.loads(pickled)
        except (Exception, SystemExit):
            error = None
    if isinstance(error, Exception):
        error.__cause__ = RemoteTraceback(traceback)
        return error
    text = traceback or f"{description['error_type']}: {description['message']}"
    return EntryScriptError(text, traceback=traceback)


def death_error(death: WorkerDied, attempt: int, timeout_s: float | None, *, damaged: bool) -> BatchflowError:
    """Why a call has no result although it was tried as often as allowed."""
    if death.timed_out and timeout_s is not None:
        return WorkerDiedError(f"the call took longer than timeout_s={timeout_s:g}, attempt={attempt}")
    what = f"died: {death.exit.describe()}{death.crashed_at and f' at {death.crashed_at}'}"
    if damaged:
        what = "wrote over memory that is not its own and was killed"
    elif death.out_of_memory:
        what = f"was killed by the kernel because memory ran out, peak memory {mebibytes(death.peak_rss)}"
    return WorkerDiedError(f"worker {death.worker} {what}, pid={death.exit.pid}, attempt={attempt}")
