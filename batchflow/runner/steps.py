"""One step, executed: its command, its function or its parallel job, from prepared temporary outputs.

Decides nothing about freshness, publishes nothing: it returns when the step has done its work, or raises.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from batchflow._core import Listing
from batchflow.control import StopRequest
from batchflow.errors import InternalError, InterruptedRunError, StepFailedError
from batchflow.journal.state_folder import make_state_folder
from batchflow.model import Event, Receipt
from batchflow.output.publish import PendingOutput
from batchflow.parallel.values import OverInput, ParallelJob
from batchflow.runner.parallel_steps import Beginning, rows_path, script_folder, written_folders
from batchflow.runner.places import kept_outputs, step_folder
from batchflow.runner.process import CommandEnd, read_tail, run_command
from batchflow.worker import call_child
from batchflow.workflow.references import render
from batchflow.workflow.values import Input, ParallelSettings, Step, Workflow

LOG_NAME = "log.txt"
_BROKEN_PIPE = "a command of a pipeline still wrote when its reader had ended: if it may, say `set +o pipefail` first; "
_REPORT_SIZE_MAX = 1 << 20


class RunParallel(Protocol):
    """``batchflow.parallel.runner.run_parallel_step``, or what a test puts in its place."""

    def __call__(self, job: ParallelJob, *, on_event: Callable[[Event], None], stop: StopRequest) -> Receipt: ...


@dataclass(frozen=True)
class StepJob:
    """One step that is about to run."""

    step: Step
    workflow: Workflow
    run_id: str
    cores: int
    outputs: Mapping[str, PendingOutput]
    on_event: Callable[[Event], None]
    stop: StopRequest
    run_parallel: RunParallel
    listings: Mapping[str, Listing] = field(default_factory=dict)
    """Of the inputs that a parallel step splits, as they were signed."""
    signature: Mapping[str, Any] = field(default_factory=dict)
    beginning: Beginning = field(default_factory=Beginning)
    """With what a parallel step begins."""
    profile: bool = False

    @property
    def state_folder(self) -> Path:
        return step_folder(self.workflow, self.step.name)

    @property
    def temporary_paths(self) -> dict[str, Path]:
        return {name: output.temporary for name, output in self.outputs.items()}


def pending_outputs(step: Step) -> dict[str, PendingOutput]:
    """The outputs of a step with their temporary places.

    The rows of a parallel step go to ``NAME.partial``; a file that the user's code names keeps its own name.
    """
    rows = None if step.parallel is None else step.parallel.append_row_to
    return {
        name: PendingOutput(name, output.path, output.is_folder, keeps_name=not output.is_folder and name != rows)
        for name, output in step.outputs.items()
    }


def execute(job: StepJob) -> Receipt | None:
    """Run the step; returns the receipt of a parallel one.

    The string of a ``run`` step goes to ``bash -e -o pipefail -c``, or ``sh -e -c`` where there is no bash: it fails
    with its first command that fails, and does not go on.
    Raises ``StepFailedError`` and what the parallel runner raises, ``InterruptedRunError`` when ``stop`` asked.
    """
    make_state_folder(job.state_folder)
    if job.step.parallel is not None:
        return _run_parallel(job, job.step.parallel)
    if job.step.kind == "call":
        _run_call(job)
    else:
        _run_shell(job)
    return None


def _run_shell(job: StepJob) -> None:
    template = job.step.command or ()
    if isinstance(template, str):
        command = [*_strict_shell(), render(template, job.temporary_paths, shell=True)]
    else:
        command = list(render(template, job.temporary_paths))
    log_path = job.state_folder / LOG_NAME
    end = run_command(command, folder=job.workflow.folder, log_path=log_path, environment=_environment(), stop=job.stop)
    if end.exit_code != 0:
        _raise_interrupted(end, job)
        cure = _BROKEN_PIPE if isinstance(template, str) and end.exit_code == 128 + signal.SIGPIPE else ""
        raise StepFailedError(
            _with_tail(f"the command of step {job.step.name} ended with {end.describe()}", log_path),
            hint=f"{cure}its whole output: {log_path}",
        )


def _strict_shell() -> list[str]:
    """The shell of ``run`` strings: it ends at the first command that fails, in a pipeline too where it is bash."""
    if Path("/bin/bash").exists():
        return ["/bin/bash", "-e", "-o", "pipefail", "-c"]
    return ["/bin/sh", "-e", "-c"]


def _run_call(job: StepJob) -> None:
    """Job and report go through memory files that only the child inherits: no name, no size limit of a pipe."""
    step, log_path = job.step, job.state_folder / LOG_NAME
    content = {
        "package": str(Path(call_child.__file__).parents[1]),
        "folder": str(job.workflow.folder),
        "function": step.function,
        # A name with a dot was not declared as an input: the file is named in another place of the step.
        "inputs": {name: _input_value(declared) for name, declared in step.inputs.items() if "." not in name},
        "outputs": {name: str(path) for name, path in job.temporary_paths.items()},
        "args": render(step.args, job.temporary_paths),
    }
    job_file, report_file = os.memfd_create("batchflow-job"), os.memfd_create("batchflow-report")
    try:
        with os.fdopen(os.dup(job_file), "wb") as file:
            file.write(json.dumps(content).encode())
        os.lseek(job_file, 0, os.SEEK_SET)
        end = run_command(
            [sys.executable, call_child.__file__, str(job_file), str(report_file)],
            folder=job.workflow.folder,
            log_path=log_path,
            environment=_environment(),
            stop=job.stop,
            descriptors=(job_file, report_file),
        )
        report = _read_report(report_file)
    finally:
        os.close(job_file)
        os.close(report_file)
    if end.exit_code != 0 or "done" not in report:
        _raise_interrupted(end, job)
        raise _call_error(step, end, report, log_path)


def _call_error(step: Step, end: CommandEnd, report: Mapping[str, Any], log_path: Path) -> StepFailedError:
    if "traceback" in report:
        message = f"{report['type']}: {report['message']}" if report["message"] else str(report["type"])
        text = f"{step.function} of step {step.name} raised {message}\n{str(report['traceback']).rstrip()}"
        return StepFailedError(text, hint=f"its whole output: {log_path}")
    when = "after it returned" if "done" in report else "before it returned"
    text = f"the process of {step.function} in step {step.name} ended {when}: {end.describe()}"
    return StepFailedError(_with_tail(text, log_path), hint=f"its whole output: {log_path}")


def _run_parallel(job: StepJob, settings: ParallelSettings) -> Receipt:
    step = job.step
    folder = script_folder(job.outputs)
    final = rows_path(settings, job.outputs, final=True)
    resumption = job.beginning.resumption
    if resumption.mini_batch_size is not None:
        settings = replace(settings, mini_batch_size=resumption.mini_batch_size)
    receipt = job.run_parallel(
        ParallelJob(
            step=step.name,
            run_id=job.run_id,
            settings=settings,
            arguments=render(settings.arguments, job.temporary_paths),
            inputs=tuple(_over(step.inputs[name], job.listings.get(name)) for name in settings.over),
            folder=job.workflow.folder,
            state_folder=job.state_folder,
            output_path=rows_path(settings, job.outputs, final=False),
            output_name=None if final is None else str(final),
            output_folder=None if folder is None else folder.temporary,
            workers=settings.workers or job.cores,
            cores=job.cores,
            signature=job.signature,
            resumes=resumption.resumes,
            reopens=resumption.reopens,
            copies=job.beginning.copies,
            is_published=job.beginning.is_published,
            outputs={name: job.outputs[name].temporary for name in sorted(kept_outputs(step))},
            folders=written_folders(step, job.outputs),
            profile=job.profile,
        ),
        on_event=job.on_event,
        stop=job.stop,
    )
    if not receipt.balances():
        raise InternalError(
            f"the receipt does not balance, step={step.name}, items_in={receipt.items_in},"
            f" succeeded={receipt.succeeded}, failed={receipt.failed}"
        )
    _copy_reports(job, settings, receipt)
    return receipt


def _over(declared: Input, listing: Listing | None) -> OverInput:
    return OverInput(declared.name, declared.listing_patterns, listing, declared.table, declared.partition_format)


def _copy_reports(job: StepJob, settings: ParallelSettings, receipt: Receipt) -> None:
    """Fill the outputs that the user declared for the failures and for the receipt."""
    if settings.failed_to is not None:
        target, source = job.outputs[settings.failed_to].temporary, job.state_folder / "failed.jsonl"
        if receipt.failed:
            shutil.copyfile(source, target)
        else:
            target.write_bytes(b"")
    if settings.receipt_to is not None:
        target = job.outputs[settings.receipt_to].temporary
        target.write_text(json.dumps(receipt.as_dict(), indent=2, default=str) + "\n", encoding="utf-8")


def _input_value(declared: Input) -> str | list[str]:
    """What a ``call`` function is given for an input: a path, or the paths of a dataset."""
    if declared.kind == "path":
        return declared.patterns[0].rstrip("/") or "/"
    from batchflow.data import list_files

    listing = list_files(declared.patterns)
    return listing.paths(0, listing.item_count)


def _environment() -> dict[str, str]:
    """This process's environment with its interpreter first on PATH, so that ``python`` is this Python."""
    environment = dict(os.environ)
    own = str(Path(sys.executable).parent)
    environment["PATH"] = os.pathsep.join([own, environment.get("PATH", os.defpath)])
    return environment


def _read_report(descriptor: int) -> dict[str, Any]:
    text = os.pread(descriptor, _REPORT_SIZE_MAX, 0)
    try:
        value = json.loads(text) if text else {}
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _raise_interrupted(end: CommandEnd, job: StepJob) -> None:
    if end.stopped:
        raise InterruptedRunError(
            f"step {job.step.name} was stopped: {end.describe()}", signal_number=job.stop.signal_number
        )


def _with_tail(message: str, log_path: Path) -> str:
    tail = read_tail(log_path)
    return f"{message}; its last lines:\n{tail}" if tail else f"{message}; it printed nothing"
