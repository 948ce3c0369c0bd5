"""``batchflow.run``: a workflow from Python, with no traces in the caller's process.

Installs no signal handlers, changes neither the working directory nor logging, never exits; any thread may call it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from batchflow.control import StopRequest
    from batchflow.model import Event
    from batchflow.runner.values import RunOptions, RunRecord
    from batchflow.workflow.values import ParameterValue


def run(
    path: str | Path,
    *,
    targets: Sequence[str] = (),
    params: Mapping[str, ParameterValue] | None = None,
    params_file: str | Path | None = None,
    cores: int | None = None,
    force: bool | Sequence[str] = False,
    keep_going: bool = False,
    retry: bool = False,
    accept_changes: bool = False,
    restart: bool = False,
    profile: bool = False,
    on_event: Callable[[Event], None] | None = None,
    stop: StopRequest | None = None,
    raise_on_error: bool = True,
) -> RunRecord:
    """Bring the targets of the workflow file ``path`` up to date; what is fresh is not run again.

    ``force``: True runs the targets and everything they depend on again, a list of step names these steps and what
    follows from them.  ``retry``: only what failed is tried again, and what follows from it runs; the record has no
    steps if there is nothing.  ``accept_changes`` and ``restart`` answer the ``RefusedError`` about an interrupted step
    that has changed since: what it has done is kept, or dropped.  ``on_event`` is called in this thread for everything
    that happens.  ``stop`` lets another thread end the run.  With ``profile`` the record says where the time of
    parallel steps went.

    Raises ``WorkflowError``, ``UsageError`` or ``RefusedError`` before anything has run; afterwards the error of the
    first step that failed (``StepFailedError`` …) or ``InterruptedRunError``, unless ``raise_on_error`` is false: then
    the record's ``exit_code`` and the errors of its steps tell.
    """
    from batchflow.runner.workflow_run import WorkflowRun
    from batchflow.workflow import load_workflow

    options = _options(
        targets=targets,
        cores=cores,
        force=force,
        keep_going=keep_going,
        retry=retry,
        accept_changes=accept_changes,
        restart=restart,
        profile=profile,
    )
    workflow = load_workflow(
        Path(path), params_file=None if params_file is None else Path(params_file), params=params or {}
    )
    workflow_run = WorkflowRun(workflow, options, on_event, stop)
    record = workflow_run.run()
    if raise_on_error and workflow_run.first_error is not None:
        raise workflow_run.first_error
    return record


def _options(
    *,
    targets: Sequence[str],
    cores: int | None,
    force: bool | Sequence[str],
    retry: bool,
    restart: bool,
    **others: bool,
) -> RunOptions:
    from batchflow.errors import UsageError
    from batchflow.runner.values import RunOptions

    if isinstance(targets, str):
        raise UsageError(f"targets is a list of step names, got {targets!r}")
    if isinstance(force, str):
        raise UsageError(f"force is True, False or a list of step names, got {force!r}")
    if cores is not None and cores < 1:
        raise UsageError(f"cores must be at least 1, cores={cores}")
    if retry and (force or restart):
        raise UsageError("retry keeps what is done: neither force nor restart goes with it")
    if restart and others["accept_changes"]:
        raise UsageError("accept_changes keeps what is done and restart drops it: choose one")
    return RunOptions(
        targets=tuple(targets),
        cores=cores,
        force_steps=() if isinstance(force, bool) else tuple(force),
        force_all=force is True,
        retry=retry,
        restart=restart,
        **others,
    )
