"""What steps say about their time, completed with what the run does for them before and after."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from batchflow.model import Event, StepProfiled
from batchflow.runner.values import StepRecord

if TYPE_CHECKING:
    from batchflow.profiles import StepProfile


class StepTimes:
    """Of one step: ``hear`` its events, say when its work ``begins``, then have its record ``completed``."""

    def __init__(self, emit: Callable[[Event], None], list_s: float, *, is_profiling: bool) -> None:
        """``list_s``: what listing inputs has taken so far, for all steps together."""
        self._emit = emit
        self._is_profiling = is_profiling
        self._started_s = time.monotonic()
        self._children_s = _children_cpu_s()
        self._list_s = list_s
        self._before_s = 0.0
        self._profile: StepProfile | None = None

    def begins(self, list_s: float) -> None:
        """What comes before the work is over; ``list_s`` as before."""
        self._before_s = time.monotonic() - self._started_s
        self._list_s = list_s - self._list_s

    def hear(self, event: Event) -> None:
        """Pass on what the step says, but for its profile, which is not complete."""
        if isinstance(event, StepProfiled):
            from batchflow.profiles import StepProfile

            self._profile = StepProfile.from_dict(event.profile)
        else:
            self._emit(event)

    def completed(self, record: StepRecord) -> StepRecord:
        """With what the step took, where somebody asks; a profile is told, too."""
        if not self._is_profiling:
            return record
        cpu_s = _children_cpu_s() - self._children_s
        record = replace(record, cpu_s=cpu_s)
        if self._profile is None:
            return record
        from batchflow.profiles import within

        before_s, list_s = self._before_s, self._list_s
        whole = within(self._profile, list_s=list_s, before_s=before_s, elapsed_s=record.elapsed_s, cpu_s=cpu_s)
        self._emit(StepProfiled(record.step, whole.as_dict()))
        return replace(record, profile=whole)


def _children_cpu_s() -> float:
    """Of all children of this process, and theirs, that have been waited for."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
