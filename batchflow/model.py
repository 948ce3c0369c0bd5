"""The frozen values that rooms hand to each other: work, outcomes, receipts, events.

Knows no files, processes or clocks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias


@dataclass(frozen=True)
class Dispatch:
    """One attempt (numbered from 1) of items ``start`` to ``start + count``: a mini-batch, or a part of one.

    ``mini_batch_index`` is its ordinal.  The attempt of a part says how often its items are given to ``run()``, this
    time included.
    """

    mini_batch_index: int
    attempt: int
    start: int
    count: int
    is_part: bool = False


@dataclass(frozen=True)
class Failure:
    """Why an attempt did not succeed.

    ``kind`` is one of ``exception`` (``run()`` raised), ``contract`` (it returned something it must not),
    ``died`` (the worker went away), ``timeout`` (it was killed for taking too long), ``memory`` (it was killed because
    memory ran out).
    """

    dispatch: Dispatch
    kind: Literal["exception", "contract", "died", "timeout", "memory"]
    error_type: str
    message: str
    traceback: str = ""
    signal: int | None = None
    exit_code: int | None = None
    worker: int = -1
    pid: int = 0
    output_tail: str = ""
    """The last lines that the worker printed, when it died."""


@dataclass(frozen=True)
class Shortfall:
    """A mini-batch, or a part of one, that returned fewer elements than it has items, under ``items = "at_least"``."""

    mini_batch_index: int
    attempt: int
    returned_count: int
    missing_count: int
    start: int
    item_count: int


@dataclass(frozen=True)
class FailureEntry:
    """What ``failed.jsonl`` and the journal say about consecutive items that failed.

    ``entry`` is the JSON object of each item, without kind and item; kind ``shortfall`` is about all of them together.
    """

    first_item: int
    item_count: int
    kind: str
    entry: Mapping[str, Any]


@dataclass(frozen=True)
class WorkerExit:
    """How a worker ended: exactly one of ``signal`` and ``exit_code`` is set."""

    worker: int
    generation: int
    pid: int
    signal: int | None
    exit_code: int | None

    def describe(self) -> str:
        """``signal 9 (SIGKILL)`` or ``exit code 0``."""
        if self.signal is None:
            return f"exit code {self.exit_code}"
        import signal as signals

        try:
            return f"signal {self.signal} ({signals.Signals(self.signal).name})"
        except ValueError:
            return f"signal {self.signal}"


@dataclass(frozen=True)
class Receipt:
    """What a parallel step did with its input: ``items_in == succeeded + failed`` or it is not a receipt."""

    step: str
    run_id: str
    items_in: int
    succeeded: int
    failed: int
    mini_batches: int
    failed_mini_batches: int
    rows_out: int
    surplus: int
    """Elements returned beyond the number of items of their mini-batches."""
    output: str | None
    output_size: int
    output_checksum: str
    """``crc32c:`` and eight hexadecimal digits of the output file's bytes; empty with ``summary_only``."""
    workers: int
    elapsed_s: float
    attempts: int
    worker_deaths: int
    details: Mapping[str, Any] = field(default_factory=dict)
    failed_checksum: str = ""
    """The same of ``failed.jsonl``."""

    def balances(self) -> bool:
        return self.items_in == self.succeeded + self.failed

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


# Events: what a run says while it goes on.  ``as_event_dict`` is their JSON form.


@dataclass(frozen=True)
class RunStarted:
    run_id: str
    workflow: str
    steps: tuple[str, ...]


@dataclass(frozen=True)
class StepSkipped:
    """The step is up to date."""

    step: str


@dataclass(frozen=True)
class StepStarted:
    step: str
    kind: Literal["run", "call", "parallel"]
    reason: str
    item_count: int | None = None


@dataclass(frozen=True)
class StepProgress:
    """Where a parallel step stands: ``done`` counts items that succeeded, ``total`` is None while listing."""

    step: str
    done: int
    failed: int
    total: int | None
    workers: int
    elapsed_s: float
    note: str = ""
    """What it waits for, in words, when no item is done yet: ``starting workers``."""
    kept: int = 0
    """Of ``done`` and ``failed``, those of earlier runs."""


@dataclass(frozen=True)
class StepProfiled:
    """Where the time of a parallel step went, as far as it came: ``profiles.StepProfile.as_dict``."""

    step: str
    profile: Mapping[str, Any]


@dataclass(frozen=True)
class StepFinished:
    step: str
    elapsed_s: float
    outputs: tuple[Path, ...]
    receipt: Receipt | None = None


@dataclass(frozen=True)
class StepFailed:
    step: str
    elapsed_s: float
    error_type: str
    message: str
    hint: str | None = None


@dataclass(frozen=True)
class StepNotRun:
    """The step was not started because a step it depends on failed, or the run stopped."""

    step: str
    reason: str


@dataclass(frozen=True)
class Notice:
    """One line the user should see; never an error."""

    message: str
    step: str | None = None


@dataclass(frozen=True)
class RunFinished:
    run_id: str
    elapsed_s: float
    exit_code: int


Event: TypeAlias = (
    RunStarted
    | StepSkipped
    | StepStarted
    | StepProgress
    | StepProfiled
    | StepFinished
    | StepFailed
    | StepNotRun
    | Notice
    | RunFinished
)


def as_event_dict(event: Event) -> dict[str, Any]:
    """The event as plain JSON values, tagged with ``event``: its class name."""

    def plain(value: Any) -> Any:  # noqa: ANN401
        if isinstance(value, Path):
            return str(value)
        if isinstance(value, Mapping):
            return {str(key): plain(one) for key, one in value.items()}
        if isinstance(value, (list, tuple)):
            return [plain(one) for one in value]
        return value

    return {"event": type(event).__name__} | {name: plain(value) for name, value in asdict(event).items()}
