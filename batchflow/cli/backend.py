"""The rooms below, as the verbs see them.  Each is imported when it is first used, so that ``--help`` is instant."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from batchflow.control import StopRequest
    from batchflow.model import Event
    from batchflow.runner.values import RunOptions, RunRecord, StepRecord, WorkflowPlan
    from batchflow.runner.verify import StepReport
    from batchflow.workflow.diagnostics import Diagnostic
    from batchflow.workflow.values import Workflow


class Backend(Protocol):
    """What the command line stands on; tests hand in another one."""

    def find(self, start: Path) -> Path: ...

    def load(self, path: Path, params_file: Path | None, overrides: tuple[str, ...]) -> Workflow: ...

    def unmatched(self, workflow: Workflow) -> tuple[Diagnostic, ...]: ...

    def plan(self, workflow: Workflow, options: RunOptions) -> WorkflowPlan: ...

    def run(
        self, workflow: Workflow, options: RunOptions, on_event: Callable[[Event], None], stop: StopRequest
    ) -> RunRecord: ...

    def status(self, workflow: Workflow) -> Mapping[str, StepRecord]: ...

    def verify(self, workflow: Workflow, steps: tuple[str, ...]) -> Mapping[str, StepReport]: ...

    def schema(self) -> Mapping[str, Any]: ...

    def starter(self, folder: Path) -> tuple[Path, ...]: ...


class Rooms:
    """The real ones."""

    def find(self, start: Path) -> Path:
        from batchflow.workflow import find_workflow

        return find_workflow(start)

    def load(self, path: Path, params_file: Path | None, overrides: tuple[str, ...]) -> Workflow:
        from batchflow.workflow import load_workflow

        return load_workflow(
            path, params_file=params_file, overrides=list(overrides), environ=os.environ, caller_folder=Path.cwd()
        )

    def unmatched(self, workflow: Workflow) -> tuple[Diagnostic, ...]:
        try:
            from batchflow.runner.unmatched import unmatched_datasets
        except ImportError:  # the core is not built: the rest can be checked all the same
            return ()
        return unmatched_datasets(workflow)

    def plan(self, workflow: Workflow, options: RunOptions) -> WorkflowPlan:
        from batchflow.runner import plan_workflow

        return plan_workflow(workflow, options)

    def run(
        self, workflow: Workflow, options: RunOptions, on_event: Callable[[Event], None], stop: StopRequest
    ) -> RunRecord:
        from batchflow.runner import run_workflow

        return run_workflow(workflow, options, on_event=on_event, stop=stop)

    def status(self, workflow: Workflow) -> Mapping[str, StepRecord]:
        from batchflow.runner import last_status

        return last_status(workflow)

    def verify(self, workflow: Workflow, steps: tuple[str, ...]) -> Mapping[str, StepReport]:
        from batchflow.runner import verify_workflow

        return verify_workflow(workflow, steps)

    def schema(self) -> Mapping[str, Any]:
        from batchflow.workflow import json_schema

        return json_schema()

    def starter(self, folder: Path) -> tuple[Path, ...]:
        from batchflow.workflow import starter

        return tuple(starter(folder))
