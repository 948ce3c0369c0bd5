"""What the workflow runner takes and gives: options, plans with reasons, records of runs.  All frozen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

from batchflow.model import Receipt
from batchflow.text import count, duration
from batchflow.workflow.values import Position

if TYPE_CHECKING:
    from batchflow.profiles import StepProfile


@dataclass(frozen=True)
class RunOptions:
    """What the caller asked for.  ``targets`` are step names or output paths; empty means the workflow's default."""

    targets: tuple[str, ...] = ()
    cores: int | None = None
    """How many CPUs to use; None: all that this process may use."""
    force_steps: tuple[str, ...] = ()
    """``-R``: these steps run again, and what follows from them."""
    force_targets: bool = False
    """``-f``: the targets run again."""
    force_all: bool = False
    """``-F``: the targets and everything they depend on run again."""
    keep_going: bool = False
    """``-k``: after a failure go on with the steps that do not depend on the failed one."""
    retry: bool = False
    """``batchflow retry``: what failed in a parallel step, and only that, is tried again."""
    accept_changes: bool = False
    """An interrupted step goes on although its code or settings have changed since."""
    restart: bool = False
    """What interrupted steps have done is dropped, also where it is damaged."""
    profile: bool = False
    """``--profile-run``: each parallel step measures where its time goes."""


@dataclass(frozen=True)
class Reason:
    """One reason why a step is stale: ``kind`` says what changed, ``old`` and ``new`` how, as short text.

    kinds: ``never_run``, ``forced``, ``failed_before``, ``interrupted_before`` (stopped or killed while it ran),
    ``running`` (by another process, just now), ``output_missing``, ``output_changed``, ``input_changed``,
    ``parameter_changed``, ``code_changed``, ``setting_changed``, ``upstream`` (a step it depends on will run),
    ``no_reuse``, ``threshold`` (more failed in the past success than is tolerated now), ``retry`` (items that failed).
    """

    kind: str
    name: str
    """What it is about: the output's, input's or parameter's name, the code file, the step upstream."""
    old: str | None = None
    new: str | None = None
    position: Position | None = None
    """Where in the workflow file the new value stands, if it stands there."""

    def describe(self) -> str:
        """One line, ``parameter limit: 200 → 500``."""
        if self.kind == "threshold":
            return f"{self.name}: {self.new}"
        if self.kind == "retry":
            return f"retry: {self.new}"
        subject = " ".join(part for part in (self.kind.replace("_", " "), self.name) if part)
        if self.old is None and self.new is None:
            return subject
        if self.kind == "code_changed":
            return f"{subject}: {self.new}"
        return f"{subject}: {self.old if self.old is not None else '-'} → {self.new if self.new is not None else '-'}"


@dataclass(frozen=True)
class StepPlan:
    """Whether one step will run, and why; ``reasons`` is empty exactly when it is up to date."""

    step: str
    reasons: tuple[Reason, ...]
    note: str = ""
    """What becomes of the work of an interrupted run, in words."""
    is_refused: bool = False
    """The run would be refused because of this step; ``note`` says why."""

    @property
    def stale(self) -> bool:
        return bool(self.reasons)


@dataclass(frozen=True)
class WorkflowPlan:
    """The steps the targets need, in an order in which they can run."""

    steps: tuple[StepPlan, ...]
    going_on: str | None = None
    """The run of this workflow that is going on just now, ``pid=7, host=h, started=…``: the plan changes with it."""

    @property
    def stale(self) -> tuple[StepPlan, ...]:
        return tuple(step for step in self.steps if step.stale)


StepStatus: TypeAlias = Literal["done", "up_to_date", "failed", "interrupted", "not_run", "running", "never_run"]
"""``interrupted``: it did not end by itself, the run was stopped while it ran."""


@dataclass(frozen=True)
class Committed:
    """What a parallel step that is not at its end has done so far: on disk, and in its journal."""

    item_count: int
    succeeded: int
    failed: int
    work_s: float
    """How long that took."""
    rows: int = 0
    """Rows of the output; with ``summary_only`` those that were returned."""

    @property
    def done(self) -> int:
        return self.succeeded + self.failed

    @property
    def to_do(self) -> int:
        return self.item_count - self.done

    def describe(self) -> str:
        """``4,200 of 10,000 items are done, 2 of them failed (12 min of work), 5,800 to do``."""
        are = "is" if self.done == 1 else "are"
        failed = f", {self.failed:,} of them failed" if self.failed else ""
        left = f", {self.to_do:,} to do" if self.to_do else ""
        return f"{self.share} {are} done{failed} ({self.work}){left}"

    def amount(self) -> str:
        """``4,200 of 10,000 items (12 min of work)``."""
        return f"{self.share} ({self.work})"

    @property
    def share(self) -> str:
        """``4,200 of 10,000 items``."""
        return f"{self.done:,} of {count(self.item_count, 'item')}"

    @property
    def work(self) -> str:
        """``12 min of work``."""
        return f"{duration(self.work_s)} of work"


@dataclass(frozen=True)
class StepRecord:
    """How one step ended in one run."""

    step: str
    status: StepStatus
    elapsed_s: float
    outputs: Mapping[str, Path]
    receipt: Receipt | None = None
    error: str | None = None
    hint: str | None = None
    committed: Committed | None = None
    """What is kept of a parallel step that did not come to its end, and is no success of before."""
    note: str = ""
    """What would become of that now, in words."""
    is_refused: bool = False
    """The next run would be refused because of this step; ``note`` says why."""
    tolerated_with: str | None = None
    """The setting that would tolerate the items that failed; empty where none does; None if they are not the cause."""
    profile: StepProfile | None = None
    """Where the time of a parallel step went, if the run was asked for it."""
    cpu_s: float | None = None
    """CPU time of its processes, if the run was asked for it; those of other threads, too, that ended meanwhile."""


@dataclass(frozen=True)
class RunRecord:
    """How one run of a workflow ended."""

    run_id: str
    workflow: Path
    exit_code: int
    elapsed_s: float
    steps: Mapping[str, StepRecord] = field(default_factory=dict)

    def receipt(self, step: str) -> Receipt:
        """The receipt of a parallel step; raises ``KeyError`` if the step made none."""
        receipt = self.steps[step].receipt
        if receipt is None:
            raise KeyError(f"step {step!r} has no receipt: it is not a parallel step, or did not finish")
        return receipt
