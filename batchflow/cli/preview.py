"""The verb ``plan``, also ``run -n``: what a run would do.  Imports nothing that a run needs to be watched."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from batchflow.cli.arguments import Arguments
from batchflow.cli.backend import Backend
from batchflow.cli.look import load
from batchflow.cli.plans import plan_json, plan_lines
from batchflow.cli.streams import write_data, write_json
from batchflow.errors import BatchflowError, UsageError

if TYPE_CHECKING:
    from batchflow.runner.values import RunOptions
    from batchflow.workflow.values import Workflow


def plan(arguments: Arguments, backend: Backend, run_command: str) -> int:
    workflow = load(arguments, backend)
    the_plan = backend.plan(workflow, run_options(arguments, workflow))
    if arguments.json:
        write_json(plan_json(the_plan, workflow))
    elif not the_plan.steps:
        stale = stale_steps(backend, workflow, run_options(arguments, workflow))
        from batchflow.cli.messages import nothing_to_retry

        write_data("\n".join(nothing_to_retry(stale, run_command)))
    else:
        write_data("\n".join(plan_lines(the_plan, Path.cwd(), workflow if arguments.verbosity > 0 else None)))
    return 0


def run_options(arguments: Arguments, workflow: Workflow) -> RunOptions:
    from batchflow.runner.values import RunOptions

    for target in arguments.targets:
        name, equals, _ = target.partition("=")
        if equals and name in workflow.params:
            raise UsageError(f"{target!r} is not a target", hint=f"a parameter is set with --set {target}")
    return RunOptions(
        targets=arguments.targets,
        cores=arguments.cores,
        force_steps=arguments.force_steps,
        force_targets=arguments.force_targets,
        force_all=arguments.force_all,
        keep_going=arguments.keep_going,
        retry=arguments.retry,
        accept_changes=arguments.accept_changes,
        restart=arguments.restart,
        profile=arguments.profile,
    )


def stale_steps(backend: Backend, workflow: Workflow, options: RunOptions) -> tuple[str, ...]:
    """The steps that a run, which is no retry, would bring up to date."""
    with contextlib.suppress(BatchflowError):  # what is in its way is said by the run itself
        return tuple(one.step for one in backend.plan(workflow, replace(options, retry=False)).stale)
    return ()
