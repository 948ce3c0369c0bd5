"""Every error batchflow raises, one screen, one base.  Imports nothing of ours.

The type answers "whose fault is it?", ``exit_code`` is what the command line ends with, and ``hint`` is the cure
where we know one.  Messages are lower case, without a full stop, values as ``name=value``.
"""

from __future__ import annotations

ROOM_HINT = "make room, then run the same command again: it goes on where it stopped"


class BatchflowError(Exception):
    """Base of all errors raised by batchflow."""

    exit_code = 5

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(BatchflowError, ValueError):
    """The call or the command line is wrong: change the arguments."""

    exit_code = 2


class WorkflowError(BatchflowError, ValueError):
    """The workflow file or one of its inputs is wrong: edit the file.

    ``str(error)`` is the full report: every diagnostic with file, line, column, the line itself, a caret and a hint.
    """

    exit_code = 3


class DatasetError(WorkflowError):
    """A dataset cannot be listed completely, or matches nothing: fix the path, the pattern or the permissions."""


class EntryScriptError(BatchflowError):
    """The user's code is wrong (``init()``, ``run()``, a ``call`` function): fix the script.

    ``traceback`` is the text of the user's own frames, where code of theirs was running; empty otherwise.
    """

    exit_code = 1

    def __init__(self, message: str, *, hint: str | None = None, traceback: str = "") -> None:
        super().__init__(message, hint=hint)
        self.traceback = traceback


class ContractError(EntryScriptError):
    """``run()`` returned something it must not; the attempt has failed with kind ``contract``."""


class TableError(BatchflowError):
    """A table holds what its schema does not allow, or has changed since it was looked at: the attempt has failed.

    Correct the file, or declare the dataset otherwise.  The message says file, line, column and value as far as they
    are known.
    """

    exit_code = 1


class StepFailedError(BatchflowError):
    """A step ended without success (non-zero exit, threshold, exception): read the message, then run again."""

    exit_code = 1


class RunAbortedError(StepFailedError):
    """A threshold was passed or the workers kept dying: read the summary.

    ``tolerated_with`` is the setting that would tolerate what failed, ``error_threshold = 2 or more``; empty where
    none does; None if it was no threshold.
    """

    def __init__(self, message: str, *, hint: str | None = None, tolerated_with: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.tolerated_with = tolerated_with


class WorkerDiedError(BatchflowError):
    """A child process went away while it held work; says which, how, and what it was doing."""

    exit_code = 1


class ResourceError(BatchflowError):
    """The machine gave out (disk full, no memory, i/o error); the same command continues once it is cured."""

    exit_code = 4


class NoRoomError(ResourceError):
    """The disk is full, or the quota used up."""


class RefusedError(BatchflowError):
    """Refused, nothing changed: another run holds the lock, or an output was edited."""

    exit_code = 6


class JournalError(RefusedError):
    """A record of ours is damaged or not ours: start a new run or restore it."""


class ChangedStepError(RefusedError):
    """An interrupted step has changed since, and much of it is done: say whether that is kept or dropped.

    ``can_be_kept`` is false where what is done has no use after the change: put that back, or have it dropped.
    """

    def __init__(self, message: str, *, hint: str | None = None, can_be_kept: bool = True) -> None:
        super().__init__(message, hint=hint)
        self.can_be_kept = can_be_kept


class InternalError(BatchflowError):
    """A bug in batchflow: please report it."""

    exit_code = 5


class InterruptedRunError(BatchflowError):
    """The run was ended by a signal; ``exit_code`` is 128 + its number."""

    def __init__(self, message: str, *, signal_number: int = 2, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.signal_number = signal_number
        self.exit_code = 128 + signal_number
