"""What parallel steps say about their time, completed with what the run does for them before and after."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from batchflow.model import Event, StepProfiled

if TYPE_CHECKING:
    from batchflow.profiles import StepProfile


class StepTimes:
    """Of one step: ``hear`` its events, say when its work ``begins``, then ``tell`` how it was as a whole."""

    def __init__(self, emit: Callable[[Event], None], list_s: float) -> None:
        """``list_s``: what listing inputs has taken so far, for all steps together."""
        self._emit = emit
        self._started_s = time.monotonic()
        self._list_s = list_s
        self._before_s = 0.0
        self._profile: StepProfile | None = None

    def begins(self, list_s: float) -> None:
        self._before_s = time.monotonic() - self._started_s
        self._list_s = list_s - self._list_s

    def hear(self, event: Event) -> None:
        if isinstance(event, StepProfiled):
            from batchflow.profiles import StepProfile

            self._profile = StepProfile.from_dict(event.profile)
        else:
            self._emit(event)

    def tell(self, step: str, elapsed_s: float) -> StepProfile | None:
        """The profile of a step that took so long, if it was asked for one and came so far."""
        if self._profile is None:
            return None
        from batchflow.profiles import within

        whole = within(self._profile, list_s=self._list_s, before_s=self._before_s, elapsed_s=elapsed_s)
        self._emit(StepProfiled(step, whole.as_dict()))
        return whole
