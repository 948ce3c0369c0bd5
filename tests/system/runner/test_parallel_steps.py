"""What the workflow runner gives a parallel step and what it makes of its end."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from system.runner.flows import FakeParallel, files, make_inputs, parallel_flow, plan, statuses
from unit.runner.builders import Flow

from batchflow.control import StopRequest
from batchflow.errors import RunAbortedError
from batchflow.model import Event, Notice, Receipt, StepFinished
from batchflow.parallel.values import ParallelJob
from batchflow.runner import last_status, plan_workflow, run_workflow
from batchflow.runner.values import RunOptions
from batchflow.workflow.values import ParallelSettings, Threshold, Workflow


def test_a_parameter_that_only_sets_the_workers_changes_nothing(tmp_path: Path) -> None:
    def flow(workers: int) -> Workflow:
        settings = ParallelSettings(
            tmp_path / "score.py",
            tmp_path,
            ("files",),
            append_row_to="rows",
            workers=workers,
            error_threshold=Threshold(count=1),
        )
        built = Flow(tmp_path, params={"workers": workers})
        built.parallel(
            "predict", settings, inputs={"files": ["in/*"]}, outputs={"rows": "rows.csv"}, params=("workers",)
        )
        return built.build()

    make_inputs(tmp_path, 2)
    run_workflow(flow(1), RunOptions(), run_parallel=FakeParallel())
    assert plan(flow(7)) == {"predict": []}


def test_a_parallel_step_is_handed_over_complete_and_published(tmp_path: Path) -> None:
    fake = FakeParallel()
    events: list[Event] = []
    workflow = parallel_flow(tmp_path).build()
    record = run_workflow(workflow, RunOptions(cores=3), on_event=events.append, run_parallel=fake)
    (job,) = fake.jobs
    assert job.output_path == tmp_path / "build/rows.csv.partial"
    assert job.output_name == f"{tmp_path}/build/rows.csv"
    assert job.output_folder == tmp_path / "build/l.partial"
    assert job.arguments == ("--log", f"{tmp_path}/build/l.partial", "--money", "${x}")
    assert (job.workers, job.folder) == (3, tmp_path)
    assert job.state_folder == tmp_path / ".batchflow/flow/steps/predict"
    assert files(tmp_path / "build") == ["failed.jsonl", "r.json", "rows.csv"]
    assert (tmp_path / "build/rows.csv").read_text() == "0.txt\n1.txt\n2.txt\n"
    assert (tmp_path / "build/failed.jsonl").read_text() == '{"item": "1.txt"}\n'
    assert json.loads((tmp_path / "build/r.json").read_text())["items_in"] == 3
    assert record.receipt("predict").succeeded == 2
    (finished,) = [one for one in events if isinstance(one, StepFinished)]
    assert finished.receipt == record.receipt("predict")
    again = run_workflow(workflow, RunOptions(), run_parallel=fake)
    assert statuses(again) == {"predict": "up_to_date"}
    assert again.receipt("predict") == record.receipt("predict")
    assert last_status(workflow)["predict"].receipt == record.receipt("predict")


def test_a_grown_dataset_is_counted_in_the_reason(tmp_path: Path) -> None:
    workflow = parallel_flow(tmp_path).build()
    run_workflow(workflow, RunOptions(), run_parallel=FakeParallel())
    make_inputs(tmp_path, 5)
    os.utime(tmp_path / "in/0.txt", ns=(1, 1))
    (predict,) = plan_workflow(workflow, RunOptions()).steps
    assert [one.describe() for one in predict.reasons] == ["input changed files: 3 files → 5 files"]


def test_a_parallel_step_that_aborts_keeps_its_rows_beside_the_old_output(tmp_path: Path) -> None:
    workflow = parallel_flow(tmp_path).build()
    run_workflow(workflow, RunOptions(), run_parallel=FakeParallel())
    (tmp_path / "build/rows.csv").write_text("old")
    record = run_workflow(workflow, RunOptions(), run_parallel=FakeParallel(RunAbortedError("too many", hint="raise")))
    assert (record.exit_code, record.steps["predict"].error, record.steps["predict"].hint) == (1, "too many", "raise")
    assert (tmp_path / "build/rows.csv").read_text() == "old"
    assert run_workflow(workflow, RunOptions(), run_parallel=FakeParallel()).exit_code == 0
    assert files(tmp_path / "build") == ["failed.jsonl", "r.json", "rows.csv"]


def test_a_past_success_is_judged_by_the_thresholds_of_today(tmp_path: Path) -> None:
    loose, strict = (parallel_flow(tmp_path, error_threshold=Threshold(count=count)).build() for count in (-1, 0))
    run_workflow(loose, RunOptions(), run_parallel=FakeParallel())
    events: list[Event] = []
    again = run_workflow(loose, RunOptions(), on_event=events.append, run_parallel=FakeParallel())
    assert statuses(again) == {"predict": "up_to_date"}
    text = "1 of 3 items failed in the run that made what is up to date; batchflow retry tries them again"
    assert Notice(text, "predict") in events
    (predict,) = plan_workflow(strict, RunOptions()).steps
    assert [one.kind for one in predict.reasons] == ["threshold"]
    assert predict.reasons[0].describe().startswith("error_threshold: 1 item")
    assert last_status(strict)["predict"].status == "done"
    fake = FakeParallel()
    assert statuses(run_workflow(strict, RunOptions(), run_parallel=fake)) == {"predict": "done"}
    assert len(fake.jobs) == 1


@pytest.mark.fault("L13")
def test_a_project_that_is_moved_is_up_to_date_where_it_lies_now(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "moved here"
    old.mkdir()

    def flow(folder: Path) -> Workflow:
        built = parallel_flow(folder).call(
            "copy",
            "copying:main",
            inputs={"log": "predict.log"},
            outputs={"all": "build/all/"},
            args={"root": str(folder)},
        )
        return built.build()

    (old / "copying.py").write_text("def main(inputs, outputs, args):\n    open(outputs['all'] + '/x', 'w').close()\n")
    workflow = flow(old)
    times = {path: path.stat().st_mtime_ns for path in (old / "in").iterdir()}
    assert run_workflow(workflow, RunOptions(), run_parallel=FakeParallel()).exit_code == 0
    old.rename(new)
    moved = flow(new)
    for path, time_ns in times.items():
        os.utime(new / path.relative_to(old), ns=(time_ns, time_ns))
    assert plan(moved) == {"predict": [], "copy": []}
    os.utime(new / "in/0.txt", ns=(1, 1))
    assert plan(moved) == {"predict": ["input_changed files"], "copy": ["upstream predict"]}
    record = run_workflow(moved, RunOptions(), run_parallel=FakeParallel())
    assert statuses(record) == {"predict": "done", "copy": "done"}


def test_a_step_that_may_not_be_reused_always_runs(tmp_path: Path) -> None:
    workflow = parallel_flow(tmp_path, allow_reuse=False).build()
    run_workflow(workflow, RunOptions(), run_parallel=FakeParallel())
    assert plan(workflow) == {"predict": ["no_reuse"]}


@pytest.mark.fault("E9")
def test_a_bug_of_ours_is_exit_code_5_and_a_full_disk_4(tmp_path: Path) -> None:
    workflow = parallel_flow(tmp_path).build()
    record = run_workflow(workflow, RunOptions(), run_parallel=FakeParallel(KeyError("slot")))
    assert (record.exit_code, record.steps["predict"].error) == (5, "step predict: KeyError: 'slot'")
    assert (record.steps["predict"].hint or "").startswith("a bug in batchflow: please report it with what follows\nTr")
    full = OSError(28, "No space left on device")
    record = run_workflow(workflow, RunOptions(), run_parallel=FakeParallel(full))
    assert (record.exit_code, record.steps["predict"].error) == (4, f"step predict: {full}")


def test_ctrl_c_without_any_handler_ends_the_run_like_a_stop(tmp_path: Path) -> None:
    def interrupt(event: Event) -> None:
        if type(event).__name__ == "Notice":
            raise KeyboardInterrupt

    class Interrupting(FakeParallel):
        def __call__(self, job: ParallelJob, *, on_event: Callable[[Event], None], stop: StopRequest) -> Receipt:
            on_event(Notice("now"))
            raise AssertionError

    workflow = parallel_flow(tmp_path).run("next", "true", after=("predict",)).build()
    record = run_workflow(workflow, RunOptions(), on_event=interrupt, run_parallel=Interrupting())
    assert (record.exit_code, statuses(record)) == (130, {"predict": "interrupted", "next": "not_run"})
