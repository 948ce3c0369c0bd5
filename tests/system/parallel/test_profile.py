"""Where the time of real workers goes: told by what they are made to spend it on, however fast the machine is."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from system.parallel.steps import Outcome, Steps, script

from batchflow.control import StopLevel, StopRequest
from batchflow.errors import InterruptedRunError, RunAbortedError
from batchflow.model import StepProfiled
from batchflow.profiles import StepProfile

SLOW_ROWS = """
class Slow:
    def __init__(self, path):
        self.path = path
    def __str__(self):
        time.sleep(0.03)
        return name(self.path)


def run(mini_batch):
    time.sleep(0.12)
    return [Slow(path) for path in mini_batch]
"""
WILD = """
def overwrite(path):
    for line in open("/proc/self/maps"):
        if "batchflow-rings" in line:
            start = int(line.split("-")[0], 16)
            ctypes.memset(start + 1024, 255, 64)
"""


@pytest.fixture
def profiled(steps: Steps, monkeypatch: pytest.MonkeyPatch) -> Steps:
    """Steps whose jobs ask where the time goes."""
    make = steps.job
    monkeypatch.setattr(steps, "job", lambda *words, **keys: replace(make(*words, **keys), profile=True))
    return steps


def told(outcome: Outcome) -> StepProfile:
    """The only profile; its parts add up, and the receipt says the same, if there is one."""
    (event,) = [one for one in outcome.events if isinstance(one, StepProfiled)]
    profile = StepProfile.from_dict(event.profile)
    assert all(seconds >= 0 for one in profile[:3] for seconds in one.values())
    assert sum(profile.dispatch_s.values()) == pytest.approx(profile.phases_s["dispatch"])
    assert sum(profile.workers_s.values()) >= profile.workers * profile.phases_s["dispatch"] * 0.999
    if outcome.receipt is not None:
        assert outcome.receipt.details["profile"] == event.profile
        assert sum(outcome.receipt.details["timings"].values()) == pytest.approx(profile.elapsed_s)
    return profile


def test_run_and_encoding_are_told_apart(profiled: Steps) -> None:
    profile = told(
        profiled.run(script("", before=SLOW_ROWS).partition("def run(mini_batch, context)")[0], mini_batch_size=1)
    )
    spent = profile.workers_s
    assert spent["run"] >= 15 * 0.12
    assert spent["encode"] >= 15 * 0.03
    assert spent["run"] > spent["encode"] > spent["decode"] + spent["publish"] + spent["blocked"]


def test_init_is_told_apart_from_the_rest_of_the_start(profiled: Steps) -> None:
    profile = told(profiled.run(script("", before="def init():\n    time.sleep(1.5)\n")))
    assert profile.init_s >= 1.5
    assert profile.phases_s["start"] >= 1.5


def test_a_long_import_is_not_taken_for_init(profiled: Steps) -> None:
    profile = told(profiled.run(script("", before="time.sleep(1.5)\n")))
    assert profile.init_s < 1.5 <= profile.phases_s["start"]


def test_a_worker_that_waits_for_the_last_one_is_seen(profiled: Steps) -> None:
    """One begins to sleep when the other has nothing to do any more."""
    other = repr(f"{profiled.folder}/other")
    body = f"if '00000' in names:\n    wait_for({other})\n    time.sleep(2)\nelse:\n    Path({other}).touch()"
    profile = told(profiled.run(script(body), files=10))
    assert 1.0 < profile.straggling_s <= profile.workers_s["wait"]
    assert profile.workers_s["run"] >= 2


def test_the_time_of_a_worker_that_was_killed_counts(profiled: Steps) -> None:
    body = "if '00000' in names and context.attempt == 1:\n    time.sleep(1)\n    os.kill(os.getpid(), 9)"
    outcome = profiled.run(script(body))
    profile = told(outcome)
    assert outcome.done().worker_deaths == 1
    assert profile.workers_s["run"] >= 1.0
    assert (profile.workers, profile.mini_batches) == (2, outcome.done().attempts)


def test_a_worker_that_writes_over_its_laps_is_left_out(profiled: Steps) -> None:
    body = "if '00000' in names:\n    overwrite(mini_batch[0])\nelse:\n    time.sleep(0.2)"
    profile = told(profiled.run(script(body, before=WILD), files=15))
    assert profile.workers_s["run"] <= profile.workers * profile.elapsed_s
    assert profile.bottleneck.hint


@pytest.mark.parametrize("level", [StopLevel.DRAIN, StopLevel.NOW])
def test_a_step_that_is_stopped_tells_what_was_until_then(level: StopLevel, profiled: Steps) -> None:
    stop = StopRequest()
    body = f"Path({str(profiled.folder)!r}, 'begun').touch()\ntime.sleep(0.5)"

    def meanwhile() -> None:
        while not (profiled.folder / "begun").exists():
            time.sleep(0.005)
        time.sleep(0.2)
        stop.request(level)

    outcome = profiled.run(script(body), files=100, stop=stop, meanwhile=meanwhile)
    assert outcome.message(InterruptedRunError).startswith("stopped with ")
    profile = told(outcome)
    assert profile.workers_s["run"] >= 0.2
    assert profile.phases_s["dispatch"] >= 0.2


def test_a_step_that_fails_tells_it_too(profiled: Steps) -> None:
    outcome = profiled.run(script("time.sleep(0.1)\nraise ValueError"), run_max_try=1)
    outcome.message(RunAbortedError)
    assert told(outcome).workers_s["run"] >= 0.1


def test_the_working_directory_is_still_gone_back_to(profiled: Steps, tmp_path: Path) -> None:
    body = f"assert os.getcwd() == {str(profiled.folder)!r}\nos.chdir('/')"
    settings: dict[str, Any] = {"mini_batch_size": 1}
    assert told(profiled.run(script(body), **settings)).mini_batches == 15
