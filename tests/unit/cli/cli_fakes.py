"""A small workflow, and rooms below the command line that only pretend."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from batchflow.control import StopRequest
from batchflow.model import Event, Receipt
from batchflow.runner.values import Reason, RunOptions, RunRecord, StepPlan, StepRecord, WorkflowPlan
from batchflow.runner.verify import StepReport
from batchflow.workflow.diagnostics import Diagnostic
from batchflow.workflow.values import Output, Parameter, Position, Step, Workflow


def make_step(name: str, folder: Path, kind: Any = "run", dependencies: tuple[str, ...] = (), help: str = "") -> Step:
    output = Output("result", folder / "build" / f"{name}.csv", False, Position(folder / "workflow.toml", 9, 1))
    return Step(
        name=name,
        kind=kind,
        help=help,
        inputs={},
        outputs={"result": output},
        after=(),
        dependencies=dependencies,
        params=("limit",),
    )


def make_workflow(folder: Path) -> Workflow:
    path = folder / "workflow.toml"
    limit = Parameter("limit", "int", 500, 200, "number of images", "--set", Position(path, 6, 13))
    steps = [
        make_step("prepare", folder, help="Unpack the images"),
        make_step("predict", folder, "parallel", ("prepare",)),
        make_step("evaluate", folder, "call", ("predict", "prepare")),
    ]
    return Workflow(path, "digits", ("evaluate",), {"limit": limit}, {}, {}, {step.name: step for step in steps})


def make_receipt(output: str | None = "/w/build/predict.csv", failed: int = 0) -> Receipt:
    return Receipt(
        step="predict",
        run_id="r1",
        items_in=10_000,
        succeeded=10_000 - failed,
        failed=failed,
        mini_batches=100,
        failed_mini_batches=0,
        rows_out=10_000,
        surplus=0,
        output=output,
        output_size=123_456,
        output_checksum="crc32c:00000000",
        workers=4,
        elapsed_s=7.5,
        attempts=100,
        worker_deaths=0,
    )


def make_plan() -> WorkflowPlan:
    changed = Reason("parameter_changed", "limit", "200", "500", Position(Path("/w/workflow.toml"), 6, 13))
    return WorkflowPlan(
        (
            StepPlan("prepare", ()),
            StepPlan("predict", (changed, Reason("output_missing", "result"))),
            StepPlan("evaluate", (Reason("upstream", "predict"),)),
        )
    )


class FakeRooms:
    """Answers as told and notes what it was asked."""

    def __init__(
        self,
        folder: Path,
        record: RunRecord | None = None,
        error: BaseException | None = None,
        events: tuple[Event, ...] = (),
    ) -> None:
        self.workflow = make_workflow(folder)
        self.record = record or RunRecord("r1", self.workflow.path, 0, 0.08, {})
        self.error = error
        self.events = events
        self.loaded: list[tuple[Path, Path | None, tuple[str, ...]]] = []
        self.options: RunOptions | None = None
        self.ran_with: RunOptions | None = None
        self.warnings: tuple[Diagnostic, ...] = ()
        self.verified: tuple[str, ...] = ()
        self.reports: dict[str, StepReport] = {}

    def find(self, start: Path) -> Path:
        return start / "workflow.toml"

    def load(self, path: Path, params_file: Path | None, overrides: tuple[str, ...]) -> Workflow:
        self.loaded.append((path, params_file, overrides))
        return self.workflow

    def unmatched(self, workflow: Workflow) -> tuple[Diagnostic, ...]:
        return self.warnings

    def plan(self, workflow: Workflow, options: RunOptions) -> WorkflowPlan:
        self.options = options
        return make_plan()

    def run(
        self, workflow: Workflow, options: RunOptions, on_event: Callable[[Event], None], stop: StopRequest
    ) -> RunRecord:
        self.options = self.ran_with = options
        for event in self.events:
            on_event(event)
        if self.error is not None:
            raise self.error
        return self.record

    def status(self, workflow: Workflow) -> Mapping[str, StepRecord]:
        return self.record.steps

    def verify(self, workflow: Workflow, steps: tuple[str, ...]) -> Mapping[str, StepReport]:
        self.verified = steps
        return self.reports

    def schema(self) -> Mapping[str, Any]:
        return {"type": "object"}

    def starter(self, folder: Path) -> tuple[Path, ...]:
        return (folder / "workflow.toml",)
