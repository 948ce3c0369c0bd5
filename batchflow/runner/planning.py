"""Which steps of a workflow have to run, and why.

Reads the disk and the records; changes, creates and locks nothing.

Invariant: a step that is not stale, none of whose dependencies is, would make again what is there.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batchflow.errors import BatchflowError, JournalError, RefusedError, ResourceError, UsageError
from batchflow.runner.freshness import compare, compare_outputs, judge
from batchflow.runner.prospects import Pasts, Prospect, cannot_retry, for_one_step, prospect, retry_reason, waiting
from batchflow.runner.resume import Past
from batchflow.runner.values import Reason, RunOptions, StepPlan, WorkflowPlan
from batchflow.text import count
from batchflow.workflow import step_order
from batchflow.workflow.diagnostics import Problems
from batchflow.workflow.values import Step, Workflow

if TYPE_CHECKING:
    from batchflow.journal.records import Attempt, Digest, Records, Success
    from batchflow.runner.code import CodeReader
    from batchflow.runner.signature import Observer


@dataclass(frozen=True)
class Memory:
    """What earlier runs left: see ``journal.records``."""

    successes: dict[str, Success] = field(default_factory=dict)
    attempts: Mapping[str, Attempt] = field(default_factory=dict)
    digests: Mapping[tuple[bytes, str], Digest] = field(default_factory=dict)


def is_missing(path: Path) -> bool:
    """Whether nothing at all has this name; what cannot be looked at is not missing."""
    try:
        path.lstat()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return False


def read_memory(records: Records) -> Memory:
    return Memory(records.successes(), records.last_attempts(), records.digests())


def plan_workflow(workflow: Workflow, options: RunOptions) -> WorkflowPlan:
    """The steps that the targets need, each with the reasons for which it would run.

    Raises ``WorkflowError`` for an input that is missing and an output that another workflow writes, ``UsageError``
    for a forced step that is not needed, ``JournalError`` for records that cannot be read.
    """
    if is_missing(workflow.state_folder):  # it never ran
        return Planner(workflow, options, Memory()).plan()
    from batchflow.journal.lock import describe_live_holder
    from batchflow.journal.records import Records

    records = Records.open_for_reading(workflow.state_folder)
    if records is None:
        memory = Memory()
    else:
        with records:
            memory = read_memory(records)
    going_on = describe_live_holder(workflow.state_folder)
    return Planner(workflow, options, memory, going_on=going_on).plan()


class Planner:
    """Makes one plan; ``code`` and ``observer`` keep what was seen meanwhile.

    ``going_on``: the live run of another process, if there is one.
    """

    def __init__(
        self,
        workflow: Workflow,
        options: RunOptions,
        memory: Memory,
        observer: Observer | None = None,
        *,
        going_on: str | None = None,
    ) -> None:
        self._going_on = going_on
        self._workflow = workflow
        self._options = options
        self._memory = memory
        self._order = tuple(step_order(workflow, options.targets))
        self._stale: set[str] = set()
        self._retried: set[str] = set()
        self._blocked: dict[str, RefusedError] = {}
        self._signatures: dict[str, dict[str, Any]] = {}
        self._problems = Problems(Path.cwd())
        self._given_observer = observer
        self.pasts = Pasts(workflow, memory.successes)
        self.refusals: list[BatchflowError] = []
        """Why a run must not even begin, as far as that is known now."""

    @functools.cached_property
    def observer(self) -> Observer:
        from batchflow.runner.signature import Observer

        return self._given_observer or Observer(self._workflow.folder)

    @functools.cached_property
    def code(self) -> CodeReader:
        from batchflow.runner.code import CodeReader

        return CodeReader(self._workflow.folder, self._memory.digests)

    def plan(self) -> WorkflowPlan:
        forced = self._forced()
        self._check_claims()
        plans = []
        for name in self._order:
            reasons = self._reasons(self._workflow.steps[name], name in forced)
            if reasons:
                self._stale.add(name)
            plans.append(StepPlan(name, tuple(reasons)))
        self._problems.raise_if_any()
        if self._options.retry:
            scope = self._scope_of_retry()
            plans = [one for one in plans if one.step in scope]
        return WorkflowPlan(tuple(self._with_prospect(one) for one in plans), self._going_on)

    def _scope_of_retry(self) -> set[str]:
        """The steps that are tried again, what follows from them, and what that needs."""
        scope = set(self._retried)
        for name in self._order:
            if scope.intersection(self._workflow.steps[name].dependencies):
                scope.add(name)
        for name in reversed(self._order):
            if name in scope:
                scope.update(self._workflow.steps[name].dependencies)
        for name in self._order:
            step = self._workflow.steps[name]
            if name not in scope and self.pasts.left_over(step):
                waits_for = next(one for one in step.dependencies if one in self._stale)
                self._blocked[name] = cannot_retry(step, f"step {waits_for}, which it needs, is not up to date")
        scope.update(self._blocked)
        return scope

    def _with_prospect(self, plan: StepPlan) -> StepPlan:
        """The plan of a step with what becomes of the work of earlier runs."""
        step = self._workflow.steps[plan.step]
        if not plan.stale or self._going_on is not None:
            return plan
        past = self.pasts.of(step)
        if past is None and step.name not in self._retried and step.name not in self._blocked:
            return plan
        waits_for = [name for name in step.dependencies if name in self._stale]
        if step.name in self._blocked:
            found = Prospect(refusal=self._blocked[step.name])
        elif waits_for:
            found = waiting(past, waits_for)
        else:
            options = for_one_step(self._options, plan.reasons)
            found = prospect(step, self._workflow, past, self._sign(step, [], frozenset()), options, plan.reasons)
        if found.refusal is None:
            return replace(plan, note=found.note or _failed_before(past, plan.reasons))
        self.refusals.append(found.refusal)
        return replace(plan, note=_explained(found.refusal), is_refused=True)

    def _forced(self) -> set[str]:
        options = self._options
        for name in options.force_steps:
            if name not in self._order:
                known = name in self._workflow.steps
                raise UsageError(
                    f"step {name} cannot be forced: {'no target needs it' if known else 'there is no such step'}",
                    hint=f"name it as a target too: {name}" if known else "steps: " + ", ".join(self._workflow.steps),
                )
        if options.force_all:
            return set(self._order)
        forced = set(options.force_steps)
        return forced | self._targets() if options.force_targets else forced

    def _targets(self) -> set[str]:
        """The steps that the targets name: those of the order that no other target needed to bring in."""
        named = self._options.targets or self._workflow.default
        return {step_order(self._workflow, (target,))[-1] for target in named}

    def _reasons(self, step: Step, forced: bool) -> list[Reason]:
        waits_for = [name for name in step.dependencies if name in self._stale]
        unknown = self._unknown_inputs(step, bool(waits_for))
        success = self._memory.successes.get(step.name)
        attempt = self._memory.attempts.get(step.name)
        reasons = [Reason("forced", "")] if forced else []
        if attempt is not None and attempt.status != "done" and not self.pasts.is_over(step):
            reasons.append(self._unfinished(attempt))
        elif success is None:
            reasons.append(Reason("never_run", ""))
        if success is not None:
            reasons += self._changes(step, success.signature, waits_for, unknown)
            found: dict[str, Any] = self.observer.look_at_outputs(step.outputs, success.outputs)
            reasons += compare_outputs(success.outputs, found, step)
            if success.receipt is not None:
                reasons += judge(success.receipt, step)
        elif attempt is not None and attempt.signature is not None:
            reasons += self._changes(step, attempt.signature, waits_for, unknown)
        reasons += [Reason("upstream", name) for name in waits_for]
        if step.parallel is not None and not step.parallel.allow_reuse:
            reasons.append(Reason("no_reuse", "", position=step.key_positions.get("parallel.allow_reuse")))
        if self._options.retry and not waits_for and (left_over := self.pasts.left_over(step)):
            reasons.append(retry_reason(left_over))
            self._retried.add(step.name)
        return reasons

    def _unfinished(self, attempt: Attempt) -> Reason:
        if attempt.status == "running" and self._going_on is not None:
            return Reason("running", self._going_on)
        return Reason("failed_before" if attempt.status == "failed" else "interrupted_before", "")

    def _changes(
        self, step: Step, old: Mapping[str, Any], waits_for: list[str], unknown: frozenset[str]
    ) -> list[Reason]:
        """What is no longer as it was in the signature ``old``."""
        return compare(old, self._sign(step, waits_for, unknown), step, self._workflow)

    def _sign(self, step: Step, waits_for: list[str], unknown: frozenset[str]) -> dict[str, Any]:
        from batchflow.runner.signature import sign

        if step.name not in self._signatures:
            made_by = {
                name: self._memory.successes[name].run_id
                for name in step.dependencies
                if name not in waits_for and name in self._memory.successes
            }
            self._signatures[step.name] = sign(
                step, self._workflow, observer=self.observer, code=self.code, upstream=made_by, unknown_inputs=unknown
            )
        return self._signatures[step.name]

    def _unknown_inputs(self, step: Step, waits: bool) -> frozenset[str]:
        """The inputs that a stale step is going to make or may make; those missing otherwise are problems."""
        unknown = set()
        for name, declared in step.inputs.items():
            if declared.producer in self._stale:
                unknown.add(name)
                continue
            from batchflow.runner.signature import input_is_missing

            fault = input_is_missing(declared, self.observer)
            if fault is not None:
                unknown.add(name)
                if not waits:
                    self._problems.add(
                        "BF050", f"input `{name}` of step `{step.name}`: {fault}", position=declared.position
                    )
        return frozenset(unknown)

    def _check_claims(self) -> None:
        foreign = foreign_claims(self._workflow)
        for name in self._order:
            for output in self._workflow.steps[name].outputs.values():
                for path, owner in foreign.items():
                    if path == output.path or path in output.path.parents or output.path in path.parents:
                        self._problems.add(
                            "BF042",
                            f"output `{output.name}` of step `{name}` belongs to another workflow of this folder:"
                            f" {owner} writes {path}",
                            position=output.position,
                            hint="declare another path",
                        )
        self._problems.raise_if_any()


def _failed_before(past: Past | JournalError | None, reasons: tuple[Reason, ...]) -> str:
    """Of a step whose code was changed after a success with failures: perhaps in order to mend these alone."""
    kinds = {reason.kind for reason in reasons}
    if not isinstance(past, Past) or not past.is_over or "code_changed" not in kinds or kinds & {"retry", "forced"}:
        return ""
    failed = past.committed.failed
    text = f"{count(failed, 'item')} failed in the last run; `batchflow retry` does only these and keeps the others"
    return text if failed else ""


def _explained(error: BatchflowError) -> str:
    return error.message if error.hint is None else f"{error.message}\nhint: {error.hint}"


def foreign_claims(workflow: Workflow) -> dict[Path, str]:
    """The output paths that the other workflows of the same folder write → the name of the workflow's file.

    Records that cannot be read claim nothing: they concern their own workflow, which will say so.
    """
    found: dict[Path, str] = {}
    if is_missing(workflow.state_folder.parent):
        return found
    from batchflow.journal.records import RECORDS_NAME, Records

    for path in sorted(workflow.state_folder.parent.glob(f"*/{RECORDS_NAME}")):
        owner = workflow.folder / (path.parent.name + workflow.path.suffix)
        if path.parent == workflow.state_folder or not owner.is_file():
            continue
        try:
            records = Records.open_for_reading(path.parent)
            if records is not None:
                with records:
                    found |= dict.fromkeys(records.claims(), owner.name)
        except (JournalError, RefusedError, ResourceError):
            continue
    return found
