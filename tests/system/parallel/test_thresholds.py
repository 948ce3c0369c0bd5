"""When a step gives up, and what it keeps then."""

from __future__ import annotations

from typing import Any

import pytest
from system.parallel.steps import ALL, Steps, numbered, script

from batchflow.errors import RunAbortedError
from batchflow.workflow.values import Threshold

FAILS = "if int(names[0]) // 5 in {failing}: raise ValueError('x')"


def count(number: int) -> Threshold:
    return Threshold(count=number)


def percent(number: float) -> Threshold:
    return Threshold(percent=number)


@pytest.mark.parametrize(
    ("failing", "settings", "cause"),
    [
        # Three mini-batches of five items.
        ({1}, {}, "error_threshold: 1 item failed, 0 are tolerated"),
        ({1}, {"isolate_failures": False}, "error_threshold: 5 items failed, 0 are tolerated"),
        ({1}, {"error_threshold": count(4)}, "error_threshold: 5 items failed, 4 are tolerated"),
        ({1}, {"error_threshold": count(5)}, None),
        ({1, 2}, {"error_threshold": count(9)}, "error_threshold: 10 items failed, 9 are tolerated"),
        ({1, 2}, {"error_threshold": count(10)}, None),
        ({1}, {"error_threshold": percent(33)}, "error_threshold: 5 items failed, 4 are tolerated"),
        ({1}, {"error_threshold": percent(34)}, None),
        (
            {1},
            {"error_threshold": ALL, "mini_batch_error_threshold": count(0)},
            "mini_batch_error_threshold: 1 mini-batch failed, 0 are tolerated",
        ),
        ({1}, {"error_threshold": ALL, "mini_batch_error_threshold": count(1)}, None),
        (
            {1},
            {"error_threshold": ALL, "mini_batch_error_threshold": percent(33)},
            "mini_batch_error_threshold: 1 mini-batch failed, 0 are tolerated",
        ),
        ({1}, {"error_threshold": ALL, "mini_batch_error_threshold": percent(34)}, None),
        (
            {1},
            {"error_threshold": ALL, "allowed_failed_percent": 33.0},
            "allowed_failed_percent: 33.3 % of the mini-batches failed, 33 % are tolerated",
        ),
        ({1}, {"error_threshold": ALL, "allowed_failed_percent": 33.4}, None),
        ({0, 1, 2}, {"error_threshold": ALL}, "every item failed"),
        ({0, 1, 2}, {"error_threshold": percent(100)}, "every item failed"),
        ({0, 1, 2}, {"error_threshold": ALL, "order": "completion"}, "every item failed"),
    ],
)
def test_a_threshold_is_passed_or_kept(
    steps: Steps, failing: set[int], settings: dict[str, Any], cause: str | None
) -> None:
    outcome = steps.run(script(FAILS.format(failing=failing)), run_max_try=1, workers=1, **settings)
    if cause is None:
        assert outcome.done().failed == 5 * len(failing)
        assert sorted(outcome.failed_names) == [
            one for index in sorted(failing) for one in numbered((5 * index, 5 * index + 5))
        ]
    else:
        lines = outcome.message(RunAbortedError).splitlines()
        assert lines[0] == cause
        assert lines[1].startswith("first failure: mini_batch_index=")


def test_a_shortfall_counts_as_a_failed_mini_batch(steps: Steps) -> None:
    source = script("if '00007' in names: return names[:4]")
    kept = steps.run(source, error_threshold=ALL, mini_batch_error_threshold=count(1))
    assert (kept.done().failed, kept.done().failed_mini_batches) == (1, 1)
    passed = steps.run(source, error_threshold=ALL, mini_batch_error_threshold=count(0))
    cause = "mini_batch_error_threshold: 1 mini-batch failed, 0 are tolerated"
    assert passed.message(RunAbortedError).splitlines()[0] == cause


def test_what_is_in_flight_when_a_threshold_is_passed_is_finished_and_kept(steps: Steps) -> None:
    body = """
if "00000" in names:
    wait_for(FOLDER / "other")
    (FOLDER / "failed").touch()
    raise ValueError("x")
if "00005" in names:
    (FOLDER / "other").touch()
    wait_for(FOLDER / "failed")
    time.sleep(1)
"""
    outcome = steps.run(script(body, before="FOLDER = Path(__file__).parent\n"), run_max_try=1, isolate_failures=False)
    assert "error_threshold" in outcome.message(RunAbortedError)
    assert outcome.rows == numbered((5, 10))
    assert outcome.failed_names == numbered((0, 5))


def test_what_isolation_had_saved_when_a_threshold_is_passed_is_kept(steps: Steps) -> None:
    outcome = steps.run(script("if '00007' in names: raise ValueError('x')"), files=10, workers=1)
    assert outcome.message(RunAbortedError).startswith("error_threshold: 1 item failed, 0 are tolerated\n")
    assert outcome.rows == numbered((0, 7))
    assert outcome.failed_names == ["00007"]


@pytest.mark.parametrize("attempts", [1, 2, 5])
def test_a_mini_batch_has_as_many_attempts_as_it_may(steps: Steps, attempts: int) -> None:
    body = "if '00007' in names:\n    print('attempt', context.attempt)\n    raise ValueError('x')"
    outcome = steps.run(script(body), run_max_try=attempts, error_threshold=ALL, workers=1, isolate_failures=False)
    assert [line for line in outcome.log().splitlines() if "attempt" in line] == [
        f"attempt {number}" for number in range(1, attempts + 1)
    ]
    assert {entry["attempts"] for entry in outcome.failed} == {attempts}
    assert outcome.done().attempts == 2 + attempts


def test_a_retry_goes_to_another_worker_and_a_success_leaves_no_failure(steps: Steps) -> None:
    body = """
me = os.environ["BATCHFLOW_WORKER"]
(FOLDER / f"ran-{me}").touch()
if "00000" in names:
    wait_for(FOLDER / "ran-0")
    wait_for(FOLDER / "ran-1")
    if context.attempt == 1:
        (FOLDER / f"failed-on-{me}").touch()
        raise ValueError("x")
    assert not (FOLDER / f"failed-on-{me}").exists()
"""
    outcome = steps.run(script(body, before="FOLDER = Path(__file__).parent\n"), run_max_try=2)
    assert outcome.rows == numbered((0, 15))
    assert (outcome.failed, outcome.done().attempts) == ([], 4)
    assert len(list(steps.folder.glob("failed-on-*"))) == 1


def test_a_worker_that_fails_at_everything_costs_nothing(steps: Steps) -> None:
    body = """
(FOLDER / f"ran-{os.environ['BATCHFLOW_WORKER']}").touch()
if os.environ["BATCHFLOW_WORKER"] == "0":
    wait_for(FOLDER / "ran-1")
    raise OSError("GPU 0 is broken")
"""
    source = script(body, before="FOLDER = Path(__file__).parent\n")
    outcome = steps.run(source, files=60, mini_batch_size=2, run_max_try=2)
    assert outcome.rows == numbered((0, 60))
    assert outcome.failed == []


@pytest.mark.fault("B10")
def test_nothing_completed_for_too_long_ends_the_step_and_says_what_everyone_does(steps: Steps) -> None:
    body = "if '00007' in names: time.sleep(1000)\nif '00012' in names: time.sleep(1000)"
    outcome = steps.run(script(body), progress_update_timeout_s=4.0)
    lines = outcome.message(RunAbortedError).splitlines()
    assert lines[0] == "nothing was completed for progress_update_timeout=4 s"
    doing = sorted(line.partition(": ")[2] for line in lines[1:])
    assert [one.rpartition(" for ")[0] for one in doing] == [
        "running, mini_batch_index=1, attempt=1",
        "running, mini_batch_index=2, attempt=1",
    ]
    assert outcome.rows == numbered((0, 5))


def test_a_thousand_mini_batches_may_fail(steps: Steps) -> None:
    """Each with its traceback: 3,000 attempts of 1,000 mini-batches."""
    outcome = steps.run(
        script("if names[0] != '00000': raise ValueError('x' * 8000)"),
        files=1000,
        mini_batch_size=1,
        error_threshold=ALL,
    )
    assert outcome.rows == ["00000"]
    assert outcome.done().attempts == 1 + 3 * 999
