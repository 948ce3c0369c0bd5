"""What of a step fits on one line of a terminal.  Pure.

Invariant: the step's name and its count are there at any width at which they can be; first the bar shrinks, then the
facts go, the least important first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

_BAR_WIDTH, _BAR_WIDTH_MIN = 24, 6
_DROPPED = ("workers", "rate", "eta", "elapsed", "note", "failed")
"""In this order, when the line is too narrow."""
_NAME_WIDTH_MIN = 8
_SEPARATOR = " · "


@dataclass(frozen=True)
class StepLine:
    """The pieces of a line, in order; ``bar_width`` is 0 without a bar."""

    name: str
    bar_width: int
    facts: str

    @property
    def width(self) -> int:
        return len(self.name) + (1 + self.bar_width if self.bar_width else 0) + (1 + len(self.facts))


def fit(name: str, facts: Mapping[str, str], short_count: str, *, has_bar: bool, width: int) -> StepLine:
    """The line of a step in at most ``width`` columns, unless not even a shortened name and count fit.

    ``facts`` are keyed as in ``StepView.facts``; ``short_count`` stands for ``facts["count"]`` where that is too long.
    """
    left = dict(facts)

    def free() -> int:
        return width - len(name) - 1 - len(_SEPARATOR.join(left.values()))

    for key in _DROPPED:
        if free() >= 0:
            break
        left.pop(key, None)
    if free() < 0 and "count" in left:
        left["count"] = short_count
    text = _SEPARATOR.join(left.values())
    name_width = max(_NAME_WIDTH_MIN, width - 1 - len(text))
    if len(name) > name_width:
        name = name[: name_width - 1] + "…"
    bar_width = min(_BAR_WIDTH, free() - 1) if has_bar and left == facts else 0
    return StepLine(name, bar_width if bar_width >= _BAR_WIDTH_MIN else 0, text)
