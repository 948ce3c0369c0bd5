"""Where the time of a run's parallel steps went, as lines for a terminal of any width.  Pure."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import TYPE_CHECKING

from batchflow.profiles import percents
from batchflow.text import count, duration, safe_text

if TYPE_CHECKING:
    from batchflow.profiles import StepProfile
    from batchflow.runner.values import RunRecord

_LABEL_WIDTH = 14
_TEXT_WIDTH_MIN = 24
_FIXED = "\N{NO-BREAK SPACE}"
"""Stands between a number and what it belongs to, until lines are broken."""
_DRIVER = {"wait": "waiting for workers"}
_WORKERS = {"run": "run()", "blocked": "blocked on the driver"}
"""What parts are called where their own name says too little."""


def profile_lines(record: RunRecord, width: int) -> list[str]:
    """A table for each parallel step that was profiled, in lines of at most ``width`` where words allow it.

    Then what else the run took, so that all of it is accounted for.
    """
    lines: list[str] = []
    for step in record.steps.values():
        if step.profile is not None:
            lines += step_lines(step.step, step.profile, width)
        elif step.cpu_s is not None:
            took = f"{short_duration(step.elapsed_s)}, {short_duration(step.cpu_s)} of CPU"
            lines.append(f"step {safe_text(step.step)} took {took}")
    rest_s = record.elapsed_s - sum(step.elapsed_s for step in record.steps.values())
    return [*(lines or ["no step has run"]), f"outside of steps: {short_duration(rest_s)} (plan and records)"]


def step_lines(step: str, profile: StepProfile, width: int) -> list[str]:
    """What driver and workers spent their time on, and the bottleneck."""
    size = f"{count(profile.workers, 'worker')}, {count(profile.mini_batches, 'mini-batch', 'mini-batches')}"
    verdict = profile.bottleneck
    took = f"{duration(profile.elapsed_s)}, workers {duration(profile.cpu_s or 0.0)} of CPU"
    title = f"where the time of step {safe_text(step)} went ({size}, {took})"
    lines = [*_wrapped(title, width, "", "    "), *_row("driver", _phases(profile), width)]
    if profile.phases_s["dispatch"] > 0:
        lines += _row("dispatch", _seconds(profile.dispatch_s, _DRIVER), width)
        shares = {name: f"{share} %" for name, share in percents(profile.workers_s).items()}
        total = f"(of {profile.workers} × {short_duration(profile.phases_s['dispatch'])})"
        lines += _row("workers", f"{_joined(shares, _WORKERS)} {_fixed(total)}", width)
    return [*lines, *_row("bottleneck", f"{verdict.what}; {verdict.hint}", width)]


def short_duration(seconds: float) -> str:
    """As ``duration``, and below a tenth of a second ``12 ms``, ``0.3 ms``."""
    milliseconds = 1000 * seconds
    return duration(seconds) if seconds >= 0.0995 else f"{milliseconds:.{0 if milliseconds >= 9.95 else 1}f} ms"


def _phases(profile: StepProfile) -> str:
    init = f" (init() {short_duration(profile.init_s)})" if profile.init_s else ""
    times = {name: short_duration(seconds) for name, seconds in profile.phases_s.items()}
    return _joined(times | {"start": times["start"] + init}, {})


def _seconds(parts: Mapping[str, float], names: Mapping[str, str]) -> str:
    return _joined({name: short_duration(seconds) for name, seconds in parts.items()}, names)


def _joined(parts: Mapping[str, str], names: Mapping[str, str]) -> str:
    return " · ".join(_fixed(f"{names.get(name, name)} {part}") for name, part in parts.items()).replace(
        " ·", f"{_FIXED}·"
    )


def _fixed(text: str) -> str:
    return text.replace(" ", _FIXED)


def _row(label: str, text: str, width: int) -> list[str]:
    return _wrapped(text, width, f"  {label:<{_LABEL_WIDTH - 2}}", " " * _LABEL_WIDTH)


def _wrapped(text: str, width: int, first: str, rest: str) -> list[str]:
    lines = textwrap.wrap(
        text,
        max(width, len(rest) + _TEXT_WIDTH_MIN),
        initial_indent=first,
        subsequent_indent=rest,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return [line.replace(_FIXED, " ") for line in lines]
