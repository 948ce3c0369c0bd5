"""One run of a workflow: plan, execute the stale steps one after another, publish, record.

Never raises for a step that failed: the record says how each step ended.  Needs no signal handlers, changes neither
the working directory nor anything else of the process.

Invariant: a step's success is recorded only after its outputs are published, with the signature from before it ran.
"""

from __future__ import annotations

import errno
import secrets
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Literal

from batchflow._core import Listing
from batchflow.control import StopLevel, StopRequest
from batchflow.cpus import available_cpus
from batchflow.errors import (
    BatchflowError,
    EntryScriptError,
    InternalError,
    InterruptedRunError,
    ResourceError,
    RunAbortedError,
)
from batchflow.failpoints import reach
from batchflow.journal.lock import WorkflowLock
from batchflow.journal.records import Attempt, PastRun, Records, Success
from batchflow.model import (
    Event,
    Notice,
    Receipt,
    RunFinished,
    RunStarted,
    StepFailed,
    StepFinished,
    StepNotRun,
    StepSkipped,
    StepStarted,
)
from batchflow.output.in_the_way import check_mounts, check_temporaries, mount_points
from batchflow.output.publish import (
    PendingOutput,
    check_final,
    check_written,
    discard,
    final_states,
    prepare,
    publish,
    recover,
)
from batchflow.parallel.values import ParallelJob
from batchflow.redaction import masked, redact
from batchflow.runner.code import CodeReader
from batchflow.runner.parallel_steps import Beginning, begin
from batchflow.runner.places import step_folder
from batchflow.runner.planning import Planner, read_memory
from batchflow.runner.profiling import StepTimes
from batchflow.runner.prospects import Pasts, for_one_step
from batchflow.runner.signature import code_of, settle_code, sign
from batchflow.runner.status import receipt_from
from batchflow.runner.steps import RunParallel, StepJob, execute, pending_outputs
from batchflow.runner.values import RunOptions, RunRecord, StepPlan, StepRecord, StepStatus, WorkflowPlan
from batchflow.workflow.values import Step, Workflow

_MACHINE_ERRORS = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS, errno.ENOSYS, errno.EPERM}
    | {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN}
)


def run_workflow(
    workflow: Workflow,
    options: RunOptions,
    *,
    on_event: Callable[[Event], None] | None = None,
    stop: StopRequest | None = None,
    run_parallel: RunParallel | None = None,
) -> RunRecord:
    """Bring the targets up to date; ``exit_code`` of the record is 0, that of the first error, or 128 + signal.

    Raises ``WorkflowError``, ``UsageError``, ``RefusedError`` (another run, an output that is not ours, an interrupted
    step that has changed since), ``JournalError`` or ``ResourceError`` when nothing was started.
    """
    return WorkflowRun(workflow, options, on_event, stop, run_parallel).run()


class WorkflowRun:
    """``run()`` once; afterwards ``first_error`` is what the first failed step raised, if any."""

    def __init__(
        self,
        workflow: Workflow,
        options: RunOptions,
        on_event: Callable[[Event], None] | None = None,
        stop: StopRequest | None = None,
        run_parallel: RunParallel | None = None,
    ) -> None:
        self._workflow = workflow
        self._options = options
        self._emit = on_event or _ignore
        self._stop = stop or StopRequest()
        self._run_parallel = run_parallel or _run_parallel_step
        self._run_id = ""
        self._results: dict[str, StepRecord] = {}
        self.first_error: BatchflowError | None = None

    def run(self) -> RunRecord:
        started = time.monotonic()
        workflow = self._workflow
        with WorkflowLock(workflow.state_folder), Records.open_for_run(workflow.state_folder) as records:
            for step in workflow.steps.values():
                for output in pending_outputs(step).values():
                    recover(output)
            self._memory = read_memory(records)
            planner = Planner(workflow, self._options, self._memory)
            plan = planner.plan()
            for refusal in planner.refusals:
                raise refusal
            self._check_outputs(plan, records.claims(), planner.pasts)
            self._records, self._code, self._observer = records, planner.code, planner.observer
            records.drop_claims_except(workflow.steps)
            self._begin()
            self._emit(RunStarted(self._run_id, workflow.name, tuple(one.step for one in plan.steps)))
            for step_plan in plan.steps:
                self._take(step_plan)
            exit_code = self._exit_code()
            elapsed_s = time.monotonic() - started
            records.put_digests(self._code.fresh.values())
            records.put_run(replace(self._past_run, exit_code=exit_code, elapsed_s=elapsed_s))
        self._emit(RunFinished(self._run_id, elapsed_s, exit_code))
        return RunRecord(self._run_id, workflow.path, exit_code, elapsed_s, self._results)

    def _begin(self) -> None:
        now = datetime.now(timezone.utc)
        self._run_id = f"{now:%Y%m%dT%H%M%S}-{secrets.token_hex(2)}"
        params = {name: masked(name, parameter.value) for name, parameter in self._workflow.params.items()}
        started_at = now.isoformat(timespec="milliseconds")
        self._past_run = PastRun(self._run_id, started_at, params)
        self._records.put_run(self._past_run)

    def _check_outputs(self, plan: WorkflowPlan, claims: Mapping[Path, str], pasts: Pasts) -> None:
        """Raise ``RefusedError`` if what is not ours stands where a step is going to write."""
        mounts = mount_points()
        for step_plan in plan.stale:
            forced = any(reason.kind == "forced" for reason in step_plan.reasons)
            step = self._workflow.steps[step_plan.step]
            for output in pending_outputs(step).values():
                check_mounts(output, mounts)
                check_final(output, is_ours=forced or output.final in claims)
                attempt = self._memory.attempts.get(claims.get(output.final, ""))
                is_unfinished = attempt is not None and attempt.status != "done"
                # Where the records are lost, a journal of the step still says that a run of it had begun.
                is_known = is_unfinished or (not self._memory.attempts and pasts.of(step) is not None)
                check_temporaries(output, is_ours=is_known)

    def _take(self, plan: StepPlan) -> None:
        """Skip, refuse or run one step."""
        step = self._workflow.steps[plan.step]
        obstacle = self._obstacle(step)
        if not plan.stale:
            self._emit(StepSkipped(step.name))
            success = self._memory.successes[step.name]
            receipt = receipt_from(success.receipt)
            self._results[step.name] = self._record(step, "up_to_date", 0.0, receipt=receipt)
            if receipt is not None and receipt.failed:
                text = (
                    f"{receipt.failed:,} of {receipt.items_in:,} items failed in the run that made what is up to date;"
                    " batchflow retry tries them again"
                )
                self._emit(Notice(text, step.name))
        elif obstacle is not None:
            self._emit(StepNotRun(step.name, obstacle))
            self._results[step.name] = replace(self._record(step, "not_run", 0.0), error=obstacle)
        else:
            self._run_step(step, plan)

    def _obstacle(self, step: Step) -> str | None:
        """Why a stale step must not start; None if it may."""
        if self._stop.level > StopLevel.NONE:
            return "the run was stopped"
        ended_badly = [name for name, one in self._results.items() if one.status in ("failed", "interrupted")]
        unfinished = {*ended_badly, *(name for name, one in self._results.items() if one.status == "not_run")}
        failed = next(iter(ended_badly), None)
        if failed is not None and not self._options.keep_going:
            return f"step {failed} failed"
        blocker = next((name for name in step.dependencies if name in unfinished), None)
        return None if blocker is None else f"step {blocker}, which it depends on, did not succeed"

    def _run_step(self, step: Step, plan: StepPlan) -> None:
        started = time.monotonic()
        reason = "; ".join(one.describe() for one in plan.reasons)
        self._emit(StepStarted(step.name, step.kind, reason))
        self._signature: dict[str, Any] | None = None
        self._times = StepTimes(self._emit, self._observer.list_s, is_profiling=self._options.profile)
        self._records.put_attempt(Attempt(self._run_id, step.name, "running", 0.0))
        try:
            receipt = self._make(step, plan, started)
        except KeyboardInterrupt:
            self._stop.request(StopLevel.NOW)
            self._fail(step, started, InterruptedRunError(f"step {step.name} was interrupted", signal_number=2))
        except Exception as error:
            self._fail(step, started, _without_secrets(_as_ours(error, step)))
        else:
            elapsed_s = time.monotonic() - started
            record = self._record(step, "done", elapsed_s, receipt=receipt)
            self._results[step.name] = self._times.completed(record)
            self._emit(StepFinished(step.name, elapsed_s, tuple(one.path for one in step.outputs.values()), receipt))

    def _make(self, step: Step, plan: StepPlan, started: float) -> Receipt | None:
        """Sign, run, publish, record."""
        self._observer.forget()
        successes = self._memory.successes
        upstream = {name: successes[name].run_id for name in step.dependencies if name in successes}
        signature = sign(step, self._workflow, observer=self._observer, code=self._code, upstream=upstream)
        self._signature = signature
        self._records.put_attempt(Attempt(self._run_id, step.name, "running", 0.0, signature=signature))
        outputs = pending_outputs(step)
        self._records.put_claims(step.name, [output.final for output in outputs.values()])
        beginning = self._beginning(step, plan, outputs, signature)
        written = {name: one for name, one in outputs.items() if name not in beginning.published}
        for name, output in written.items():
            prepare(output, keep=name in beginning.kept)
        before = final_states(written.values())
        self._times.begins(self._observer.list_s)
        try:
            receipt = execute(self._job(step, outputs, signature, beginning))
            check_written(written.values(), before)
        except BaseException:
            # What a parallel step has committed is what the next run goes on with.
            if step.kind != "parallel":
                for output in outputs.values():
                    discard(output)
            raise
        strays = publish(written.values())
        if strays:
            names = ", ".join(sorted(path.name for path in strays))
            self._emit(Notice(f"files that are not declared as outputs were removed: {names}", step.name))
        reach("before_success")
        self._remember(step, signature, receipt, time.monotonic() - started)
        reach("after_success")
        return receipt

    def _beginning(
        self, step: Step, plan: StepPlan, outputs: Mapping[str, PendingOutput], signature: Mapping[str, Any]
    ) -> Beginning:
        """What becomes of what earlier runs of a parallel step left."""
        beginning = begin(
            step,
            self._workflow,
            step_folder(self._workflow, step.name),
            outputs,
            signature,
            self._memory.successes.get(step.name),
            for_one_step(self._options, plan.reasons),
            forced=any(reason.kind == "forced" for reason in plan.reasons),
        )
        for notice in beginning.resumption.notices:
            self._emit(Notice(notice, step.name))
        return beginning

    def _job(
        self,
        step: Step,
        outputs: dict[str, PendingOutput],
        signature: Mapping[str, Any],
        beginning: Beginning,
    ) -> StepJob:
        return StepJob(
            step=step,
            workflow=self._workflow,
            run_id=self._run_id,
            cores=self._options.cores or available_cpus(),
            outputs=outputs,
            on_event=self._times.hear,
            stop=self._stop,
            run_parallel=self._run_parallel,
            profile=self._options.profile,
            signature=signature,
            beginning=beginning,
            listings=self._listings(step),
        )

    def _listings(self, step: Step) -> dict[str, Listing]:
        """What was seen of the inputs that a parallel step splits."""
        over = () if step.parallel is None else step.parallel.over
        seen = {name: self._observer.listing_of(step.inputs[name]) for name in over}
        return {name: listing for name, listing in seen.items() if listing is not None}

    def _remember(self, step: Step, signature: dict[str, Any], receipt: Receipt | None, elapsed_s: float) -> None:
        old = self._memory.successes.get(step.name)
        if step.kind == "run":
            after = code_of(step, self._workflow, CodeReader(self._workflow.folder, self._memory.digests))
            own = {} if old is None else old.signature["code"]
            signature["code"], changed = settle_code(signature["code"], after, own)
            if changed:
                text = f"changed while the step ran and is taken for what it writes itself: {', '.join(changed)}"
                self._emit(Notice(text, step.name))
        receipt_json = None if receipt is None else receipt.as_dict()
        success = Success(
            step.name,
            self._run_id,
            elapsed_s,
            signature,
            self._observer.keep_outputs(step.outputs),
            receipt_json,
        )
        attempt = Attempt(self._run_id, step.name, "done", elapsed_s, receipt=receipt_json)
        self._records.put_success(attempt, success)
        self._memory.successes[step.name] = success

    def _fail(self, step: Step, started: float, error: BatchflowError) -> None:
        elapsed_s = time.monotonic() - started
        kind = type(error).__name__
        status: Literal["failed", "interrupted"] = "interrupted" if isinstance(error, InterruptedRunError) else "failed"
        record = replace(
            self._record(step, status, elapsed_s),
            error=error.message,
            hint=error.hint,
            committed=Pasts(self._workflow, self._memory.successes).committed(step),
            tolerated_with=error.tolerated_with if isinstance(error, RunAbortedError) else None,
        )
        self._results[step.name] = self._times.completed(record)
        if self.first_error is None:
            self.first_error = error
        self._records.put_attempt(
            Attempt(
                self._run_id, step.name, status, elapsed_s, kind, error.message, error.hint, signature=self._signature
            )
        )
        self._emit(StepFailed(step.name, elapsed_s, kind, error.message, error.hint))

    def _record(self, step: Step, status: StepStatus, elapsed_s: float, receipt: Receipt | None = None) -> StepRecord:
        outputs = {name: output.path for name, output in step.outputs.items()}
        return StepRecord(step.name, status, elapsed_s, outputs, receipt)

    def _exit_code(self) -> int:
        if self.first_error is not None:
            return self.first_error.exit_code
        if any(one.status == "not_run" for one in self._results.values()):
            self.first_error = InterruptedRunError("the run was stopped", signal_number=self._stop.signal_number)
            return self.first_error.exit_code
        return 0


def _as_ours(error: Exception, step: Step) -> BatchflowError:
    """Whose fault is it?  Ours, unless the machine gave out."""
    if isinstance(error, BatchflowError):
        return error
    if isinstance(error, MemoryError):
        return ResourceError(f"out of memory in step {step.name}")
    if isinstance(error, OSError) and error.errno in _MACHINE_ERRORS:
        return ResourceError(f"step {step.name}: {error}")
    trace = "".join(traceback.format_exception(error)).rstrip()
    ours = InternalError(
        f"step {step.name}: {type(error).__name__}: {error}",
        hint=f"a bug in batchflow: please report it with what follows\n{trace}",
    )
    ours.__cause__ = error
    return ours


def _without_secrets(error: BatchflowError) -> BatchflowError:
    """The same error: what a step's own code says has come into its text."""
    error.message, error.hint = redact(error.message), None if error.hint is None else redact(error.hint)
    error.args = (error.message,)
    if isinstance(error, EntryScriptError):
        error.traceback = redact(error.traceback)
    return error


def _run_parallel_step(job: ParallelJob, *, on_event: Callable[[Event], None], stop: StopRequest) -> Receipt:
    from batchflow.parallel.runner import run_parallel_step

    return run_parallel_step(job, on_event=on_event, stop=stop)


def _ignore(event: Event) -> None:
    """For callers who want no events."""
