from __future__ import annotations

from typing import Any

import pytest

from batchflow.model import Event, Notice, StepProfiled
from batchflow.profiles import DRIVER, PHASES, WORKERS, StepProfile
from batchflow.runner import profiling
from batchflow.runner.profiling import StepTimes
from batchflow.runner.values import StepRecord

INNER = StepProfile(
    dict.fromkeys(PHASES, 1.0), dict.fromkeys(DRIVER, 0.2), dict.fromkeys(WORKERS, 1.0), 2, 2, 0.0, 0.0, 1, 1, 1
)
"""Seven seconds."""


class Stage:
    """A step that begins at second 100, when listing has taken 50 seconds for others."""

    def __init__(self, patch: pytest.MonkeyPatch, *, is_profiling: bool = True) -> None:
        self.now_s, self.cpu_s = 100.0, 7.0
        self.events: list[Event] = []
        patch.setattr(profiling.time, "monotonic", lambda: self.now_s)
        patch.setattr(profiling, "_children_cpu_s", lambda: self.cpu_s)
        self.times = StepTimes(self.events.append, 50.0, is_profiling=is_profiling)

    def record(self, elapsed_s: float) -> StepRecord:
        self.cpu_s += 3
        return self.times.completed(StepRecord("score", "done", elapsed_s, {}))


def test_what_the_run_did_before_and_after_belongs_to_the_step(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(monkeypatch)
    stage.now_s += 5
    stage.times.begins(52.0)
    stage.times.hear(Notice("hello"))
    stage.times.hear(StepProfiled("score", INNER.as_dict()))
    record = stage.record(14.0)
    profile = record.profile
    assert profile is not None
    assert profile.phases_s == dict.fromkeys(PHASES, 1.0) | {"list": 3.0, "prepare": 4.0, "finish": 3.0}
    assert profile.elapsed_s == record.elapsed_s == 14.0
    assert record.cpu_s == profile.cpu_s == 3.0
    assert stage.events == [Notice("hello"), StepProfiled("score", profile.as_dict())]


def test_a_step_of_another_kind_has_its_cpu_time(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(monkeypatch)
    record = stage.record(1.0)
    assert (record.cpu_s, record.profile, stage.events) == (3.0, None, [])


def test_who_did_not_ask_gets_the_record_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    stage: Any = Stage(monkeypatch, is_profiling=False)
    assert stage.record(1.0) == StepRecord("score", "done", 1.0, {})
