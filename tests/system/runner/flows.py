"""Workflows that the tests here run, a parallel runner that only pretends, and short ways to look at results."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from unit.runner.builders import Flow

from batchflow.control import StopRequest
from batchflow.model import Event, Receipt
from batchflow.parallel.values import ParallelJob
from batchflow.runner import plan_workflow, run_workflow
from batchflow.runner.values import RunOptions, RunRecord
from batchflow.workflow.values import ParallelSettings, Threshold, Workflow

PREPARE = """\
import json, sys
import helpers
with open(sys.argv[1], "w") as file:
    json.dump({"limit": int(sys.argv[2]), "helper": helpers.FACTOR}, file)
"""


EVALUATE = """\
import json
import helpers

def main(inputs, outputs, args):
    data = json.load(open(inputs["numbers"]))
    with open(outputs["report"], "w") as file:
        file.write(f"{data['limit'] * args['scale']}\\n")
    with open(outputs["plots"] + "/plot.txt", "w") as file:
        file.write("plot")
"""


def make_flow(folder: Path, limit: int = 3) -> Flow:
    """prepare (run) → evaluate (call), with a local module that both import."""
    for name, text in {"prepare.py": PREPARE, "evaluate.py": EVALUATE, "helpers.py": "FACTOR = 2\n"}.items():
        if not (folder / name).exists():
            (folder / name).write_text(text)
    flow = Flow(folder, params={"limit": limit})
    flow.run(
        "prepare",
        f"python prepare.py ${{outputs.numbers}} {limit}",
        outputs={"numbers": "build/numbers.json"},
        params=("limit",),
    )
    return flow.call(
        "evaluate",
        "evaluate:main",
        inputs={"numbers": "prepare.numbers"},
        outputs={"report": "build/report.txt", "plots": "build/plots/"},
        args={"scale": 10},
    )


def run(workflow: Workflow, **options: Any) -> RunRecord:
    return run_workflow(workflow, RunOptions(**options))


def plan(workflow: Workflow, **options: Any) -> dict[str, list[str]]:
    found = plan_workflow(workflow, RunOptions(**options))
    return {one.step: [f"{reason.kind} {reason.name}".strip() for reason in one.reasons] for one in found.steps}


def statuses(record: RunRecord) -> dict[str, str]:
    return {name: step.status for name, step in record.steps.items()}


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def make_inputs(folder: Path, count: int) -> None:
    (folder / "in").mkdir(exist_ok=True)
    (folder / "score.py").write_text("def run(mini_batch):\n    return mini_batch\n")
    for index in range(count):
        (folder / f"in/{index}.txt").write_text(str(index))


class FakeParallel:
    """Writes one row for each input file of the first pattern's folder, or raises ``error``; one item fails."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.jobs: list[ParallelJob] = []

    def __call__(self, job: ParallelJob, *, on_event: Callable[[Event], None], stop: StopRequest) -> Receipt:
        self.jobs.append(job)
        names = sorted(os.listdir(Path(job.inputs[0].patterns[0]).parent))
        assert job.output_path is not None
        job.output_path.write_text("".join(f"{name}\n" for name in names))
        (job.state_folder / "failed.jsonl").write_text('{"item": "1.txt"}\n')
        if self.error is not None:
            raise self.error
        count = len(names)
        return Receipt(
            job.step, job.run_id, count, count - 1, 1, 1, 0, count, 0, job.output_name, 1, "", job.workers, 0.1, 1, 0
        )


def parallel_flow(folder: Path, **settings: Any) -> Flow:
    make_inputs(folder, 3)
    keys = ParallelSettings(
        folder / "score.py",
        folder,
        ("files",),
        append_row_to="rows",
        arguments=("--log", "${outputs.log}", "--money", "${$}{x}"),
        failed_to="failures",
        receipt_to="receipt",
        **{"error_threshold": Threshold(count=1)} | settings,
    )
    outputs = {"rows": "build/rows.csv", "failures": "build/failed.jsonl", "receipt": "build/r.json", "log": "build/l/"}
    return Flow(folder).parallel("predict", keys, inputs={"files": ["in/*"]}, outputs=outputs)
