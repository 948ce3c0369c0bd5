"""One poison item in a mini-batch costs only itself, whatever it does to its worker; through real processes."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
from system.parallel.steps import ALL, Steps, numbered, script
from system.runner.processes import wait_until

from batchflow.control import StopLevel, StopRequest
from batchflow.errors import InterruptedRunError, RunAbortedError
from batchflow.parallel import runner
from batchflow.parallel.runner import run_parallel_step
from batchflow.workflow.values import Threshold

ONE = Threshold(count=1)
COUNTS = """
FOLDER = Path(__file__).parent


def note(names, context):
    with open(FOLDER / "calls", "a") as file:
        file.write(f"{context.attempt} {' '.join(names)}\\n")
"""


def calls(steps: Steps) -> list[tuple[int, list[str]]]:
    """The attempt and the names of every call of ``run()``."""
    lines = [line.split() for line in (steps.folder / "calls").read_text().splitlines()]
    return [(int(attempt), names) for attempt, *names in lines]


@pytest.mark.fault("A2", "A5", "A6", "A10", "A11", "C2", "C7")
@pytest.mark.parametrize(
    ("fault", "kind", "signal", "pieces"),
    [
        ("raise ValueError('odd picture')", "exception", None, ["odd picture"]),
        ("return 7", "contract", None, ["int"]),
        ("return 'rows'", "contract", None, ["str"]),
        ("os.abort()", "died", 6, ["signal 6 (SIGABRT)"]),
        ("ctypes.string_at(0)", "died", 11, ["signal 11 (SIGSEGV)"]),
        ("os.kill(os.getpid(), signal.SIGKILL)", "died", 9, ["signal 9 (SIGKILL)"]),
        ("os._exit(0)", "died", None, ["exit code 0"]),
        ("bytearray(1 << 60)", "exception", None, []),
    ],
)
def test_a_poison_item_costs_only_itself(
    steps: Steps, fault: str, kind: str, signal: int | None, pieces: list[str]
) -> None:
    body = f"note(names, context)\nif '00021' in names:\n    {fault}"
    outcome = steps.run(script(body, before=COUNTS), files=64, mini_batch_size=16, error_threshold=ONE)
    receipt = outcome.done()
    assert outcome.rows == numbered((0, 21), (22, 64))
    (entry,) = outcome.failed
    assert (entry["item"], entry["kind"], entry["signal"]) == (f"{steps.folder}/in/00021", kind, signal)
    assert (entry["mini_batch"], entry["attempts"]) == (1, 5)
    assert all(piece in entry["message"] for piece in pieces)
    assert (receipt.succeeded, receipt.failed, receipt.failed_mini_batches) == (63, 1, 1)
    # Item 21 is the sixth of its mini-batch, 16 to 31: 8 bad, 4 good, then 20 and 21 bad, 20 good, 21 bad.
    assert sorted(calls(steps)) == sorted(
        [
            *[(1, numbered((start, start + 16))) for start in (0, 16, 32, 48)],
            (2, numbered((16, 32))),
            (3, numbered((16, 24))),
            (4, numbered((16, 20))),
            (4, numbered((20, 22))),
            (5, ["00020"]),
            (5, ["00021"]),
            (4, numbered((22, 24))),
            (3, numbered((24, 32))),
        ]
    )
    assert receipt.attempts == len(calls(steps))


@pytest.mark.fault("B1", "B4")
@pytest.mark.parametrize("fault", ["while True: pass", "time.sleep(1000)", "os.kill(os.getpid(), signal.SIGSTOP)"])
def test_a_hanging_item_costs_only_itself(steps: Steps, fault: str) -> None:
    body = f"if '00005' in names:\n    {fault}"
    outcome = steps.run(
        script(body), files=16, mini_batch_size=4, error_threshold=ONE, run_invocation_timeout_s=0.5, run_max_try=1
    )
    assert outcome.rows == numbered((0, 5), (6, 16))
    (entry,) = outcome.failed
    assert (entry["kind"], entry["item"]) == ("timeout", f"{steps.folder}/in/00005")
    assert entry["attempts"] == 3
    assert outcome.done().worker_deaths == 3


@pytest.mark.fault("C7")
@pytest.mark.parametrize("bad", [{0}, {63}, {31, 32}, {1, 17, 40}, set(range(20, 30))])
def test_extra_work_is_bounded(steps: Steps, bad: set[int]) -> None:
    names = {f"{number:05}" for number in bad}
    body = f"note(names, context)\nif not {names!r}.isdisjoint(names): os._exit(9)"
    outcome = steps.run(script(body, before=COUNTS), files=64, mini_batch_size=64, error_threshold=ALL, workers=3)
    assert sorted(outcome.failed_names) == sorted(names)
    assert outcome.rows == [f"{number:05}" for number in range(64) if number not in bad]
    given = sum(len(items) for _, items in calls(steps))
    assert given - 64 <= 3 * 64 * len(bad)


@pytest.mark.fault("A14")
def test_workers_that_die_in_parts_end_no_step(steps: Steps) -> None:
    """Far more deaths than the limit for restarts: in parts they do not count."""
    body = "if len(names) > 1 or names[0][-1] in '3579': os._exit(9)"
    outcome = steps.run(script(body), files=20, mini_batch_size=20, workers=1, error_threshold=ALL)
    assert outcome.rows == [one for one in numbered((0, 20)) if one[-1] not in "3579"]
    assert sorted(outcome.failed_names) == ["00003", "00005", "00007", "00009", "00013", "00015", "00017", "00019"]
    # All but the twelve good items, alone, ended their worker.
    assert outcome.done().worker_deaths == outcome.done().attempts - 12
    assert outcome.done().worker_deaths > 10


@pytest.mark.fault("A14")
def test_workers_that_die_on_every_mini_batch_end_the_step_soon_and_in_few_words(steps: Steps) -> None:
    since = time.monotonic()
    outcome = steps.run(script("os._exit(9)"), files=100, error_threshold=ALL)
    message = outcome.message(RunAbortedError)
    assert message.startswith("7 workers died within 60 s without any result in between, the last one of exit code 9")
    assert time.monotonic() - since < 15
    assert len(outcome.notices) == 3
    assert outcome.rows == []


def test_a_result_now_and_then_lets_workers_die(steps: Steps) -> None:
    body = "if context.attempt == 1: os._exit(9)"
    outcome = steps.run(script(body), files=40, mini_batch_size=2, workers=2)
    assert outcome.rows == numbered((0, 40))
    assert outcome.done().worker_deaths == 20


def test_without_isolation_one_item_costs_its_mini_batch(steps: Steps) -> None:
    body = "if '00007' in names: raise ValueError('x')"
    outcome = steps.run(script(body), error_threshold=ALL, isolate_failures=False)
    assert outcome.rows == numbered((0, 5), (10, 15))
    assert [(entry["kind"], entry["attempts"]) for entry in outcome.failed] == [("exception", 3)] * 5
    assert outcome.done().attempts == 5


def test_where_a_mini_batch_may_be_one_thing_it_is_not_taken_apart(steps: Steps) -> None:
    body = "note(names, context)\nif '00007' in names: raise ValueError('x')"
    outcome = steps.run(script(body, before=COUNTS), error_threshold=ALL, items="any", oracle=False)
    assert outcome.failed_names == numbered((5, 10))
    assert {len(names) for _, names in calls(steps)} == {5}


def test_a_single_item_has_as_many_attempts_as_it_may(steps: Steps) -> None:
    body = "if '00002' in names: raise ValueError('x')\nif '00001' in names and context.attempt < 4: os._exit(9)"
    outcome = steps.run(script(body), files=4, mini_batch_size=1, error_threshold=ALL, run_max_try=4)
    assert outcome.rows == ["00000", "00001", "00003"]
    assert [(entry["item"][-5:], entry["attempts"]) for entry in outcome.failed] == [("00002", 4)]


@pytest.mark.parametrize("order", ["input", "completion"])
def test_many_bad_items_in_many_mini_batches(steps: Steps, order: str) -> None:
    body = """
time.sleep(0.001 * (int(names[0]) % 7))
if any(int(one) % 13 == 5 for one in names): raise ValueError("x")
if any(int(one) % 37 == 7 for one in names): os._exit(9)
"""
    outcome = steps.run(script(body), files=200, mini_batch_size=8, workers=3, error_threshold=ALL, order=order)
    bad = {f"{number:05}" for number in range(200) if number % 13 == 5 or number % 37 == 7}
    assert set(outcome.failed_names) == bad
    good = [f"{number:05}" for number in range(200) if f"{number:05}" not in bad]
    assert (outcome.rows if order == "input" else sorted(outcome.rows)) == good


def test_a_worker_that_dies_idle_while_a_mini_batch_is_isolated_loses_no_part(steps: Steps) -> None:
    body = """
if len(names) > 1 and '00001' in names: raise ValueError("x")
if names == ["00001"] and not (FOLDER / "died").exists():
    (FOLDER / "died").touch()
    os.kill(os.getpid(), signal.SIGKILL)
"""
    outcome = steps.run(script(body, before=COUNTS), files=4, mini_batch_size=4, workers=1, error_threshold=ALL)
    # Alone it was given to run() once, and died then: a part has one attempt.
    assert (outcome.rows, outcome.failed_names) == (["00000", "00002", "00003"], ["00001"])


@pytest.mark.parametrize("level", [StopLevel.DRAIN, StopLevel.NOW])
def test_isolation_that_was_interrupted_goes_on_with_what_is_left(
    steps: Steps, monkeypatch: pytest.MonkeyPatch, level: StopLevel
) -> None:
    monkeypatch.setattr(runner, "GRACE_S", 0.2)
    body = """
note(names, context)
if "00005" in names: raise ValueError("x")
if "00006" in names: wait_for(FOLDER / "go")
"""
    source, settings = script(body, before=COUNTS), {"mini_batch_size": 8, "workers": 1, "error_threshold": ALL}
    stop = StopRequest()

    def meanwhile() -> None:
        wait_until(lambda: (steps.folder / "calls").exists() and (3, ["00006", "00007"]) in calls(steps))
        stop.request(level)

    outcome = steps.run(source, files=8, stop=stop, meanwhile=meanwhile, **settings)
    assert outcome.message(InterruptedRunError) == "stopped with 5 of 8 items done"
    assert (outcome.rows, outcome.failed_names) == (numbered((0, 5)), ["00005"])
    (steps.folder / "go").touch()
    (steps.folder / "calls").unlink()
    job = replace(steps.job(source, **settings), resumes=True)
    receipt = run_parallel_step(job, on_event=lambda event: None, stop=StopRequest())
    assert outcome.rows == numbered((0, 5), (6, 8))
    assert (outcome.failed_names, calls(steps)) == (["00005"], [(1, ["00006", "00007"])])
    assert (receipt.succeeded, receipt.failed, receipt.failed_mini_batches) == (7, 1, 1)
