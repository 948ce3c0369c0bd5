"""From settings to what plan, pool and workers are made with."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchflow.parallel.setup import plan_policy, pool_limits, worker_spec
from batchflow.parallel.values import OverInput, ParallelJob
from batchflow.plan import Policy
from batchflow.tables.options import TableOptions
from batchflow.worker.spec import WorkerSpec
from batchflow.workflow.values import ParallelSettings, Threshold


def job(**settings: Any) -> ParallelJob:
    return ParallelJob(
        step="score",
        run_id="r1",
        settings=ParallelSettings(Path("/w/score.py"), Path("/w/src"), ("files",), **settings),
        arguments=("--a", "b"),
        inputs=(OverInput("files", ("/in/",)),),
        folder=Path("/w"),
        state_folder=Path("/w/.batchflow/w/steps/score"),
        output_path=Path("/w/out.partial"),
        output_name="/w/out",
        output_folder=None,
        workers=3,
        cores=6,
    )


def test_the_defaults_make_the_strict_policy() -> None:
    assert plan_policy(job(), 100, 10) == Policy(
        attempts_max=3,
        isolate=True,
        failed_items_limit=0,
        failed_mini_batches_limit=None,
        failed_percent_limit=100.0,
    )


@pytest.mark.parametrize(
    ("items", "isolate_failures", "isolate"),
    [
        ("at_least", True, True),
        ("exact", True, True),
        ("any", True, False),
        ("at_least", False, False),
        ("any", False, False),
    ],
)
def test_what_is_isolated(items: str, isolate_failures: bool, isolate: bool) -> None:
    """Not where a mini-batch may be one thing to the script."""
    assert plan_policy(job(items=items, isolate_failures=isolate_failures), 100, 10).isolate == isolate


def test_thresholds_are_taken_of_items_and_of_mini_batches() -> None:
    settings = job(
        run_max_try=1,
        error_threshold=Threshold(percent=2.5),
        mini_batch_error_threshold=Threshold(percent=50),
        allowed_failed_percent=7.5,
    )
    assert plan_policy(settings, 200, 20) == Policy(
        attempts_max=1, failed_items_limit=5, failed_mini_batches_limit=10, failed_percent_limit=7.5
    )


@pytest.mark.parametrize(
    ("threshold", "total", "limit"),
    [
        (Threshold(count=0), 100, 0),
        (Threshold(count=7), 100, 7),
        (Threshold(count=-1), 100, None),
        (Threshold(), 100, None),
        (Threshold(percent=0), 100, 0),
        (Threshold(percent=1), 250, 2),
        (Threshold(percent=1), 99, 0),
        (Threshold(percent=100), 99, 99),
        (Threshold(percent=12.5), 8, 1),
    ],
)
def test_how_many_failures_a_threshold_tolerates(threshold: Threshold, total: int, limit: int | None) -> None:
    assert threshold.limit(total) == limit


@given(st.integers(0, 10**9), st.integers(0, 100))
def test_a_percentage_is_rounded_down_exactly(total: int, percent: int) -> None:
    assert Threshold(percent=percent).limit(total) == total * percent // 100


def test_limits_of_the_pool() -> None:
    limits = pool_limits(job(init_timeout_s=5.0, run_invocation_timeout_s=7.0, max_result_size=99))
    assert (limits.init_timeout_s, limits.run_timeout_s, limits.max_result_size) == (5.0, 7.0, 99)


def test_the_worker_spec_survives_its_journey(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.setenv("MKL_NUM_THREADS", "3")
    monkeypatch.delenv("NUMBA_NUM_THREADS", raising=False)
    spec = worker_spec(job(environment_variables={"MKL_NUM_THREADS": "5", "COLOUR": "é\udcff"}, delimiter=";"))
    assert spec.thread_environment["OMP_NUM_THREADS"] == "3"
    assert spec.thread_environment["MKL_NUM_THREADS"] == "5"
    assert "NUMBA_NUM_THREADS" not in spec.thread_environment
    assert spec.environment == {"MKL_NUM_THREADS": "5", "COLOUR": "é\udcff"}
    assert (spec.worker_count, spec.cores, spec.folder, spec.script) == (3, 6, "/w", "/w/score.py")
    assert spec.scratch_folder == "/w/.batchflow/w/steps/score/scratch"
    assert (spec.arguments, spec.delimiter, spec.output_folder) == (("--a", "b"), ";", None)
    assert spec.frame is None
    assert WorkerSpec.from_json(spec.to_json()) == spec
    rows = replace(job(frame="arrow"), inputs=(OverInput("rows", ("/in/*.csv",), table=TableOptions("csv")),))
    assert worker_spec(rows).frame == "arrow"


@pytest.mark.parametrize(
    ("percent", "total", "tolerated"),
    [
        (0.57, 10_000, 57),
        (1.0, 99, 0),
        (1.0, 100, 1),
        (33.3, 1_000, 333),
        (0.1, 30_000, 30),
        (100.0, 7, 7),
        (0.0, 7, 0),
    ],
)
def test_a_percentage_is_taken_as_it_was_written(percent: float, total: int, tolerated: int) -> None:
    assert Threshold(percent=percent).limit(total) == tolerated
