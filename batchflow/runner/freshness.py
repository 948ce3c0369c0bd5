"""Why a step is stale: its signature now against the one of its last success.  Pure.

Invariant: no reasons exactly when everything that decides what the step makes is as it was.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from typing import Any

from batchflow.runner.values import Reason
from batchflow.workflow.references import readable
from batchflow.workflow.values import Position, Step, Workflow

_TEXT_LENGTH_MAX = 120


def compare(old: Mapping[str, Any], new: Mapping[str, Any], step: Step, workflow: Workflow) -> list[Reason]:
    """The reasons for which what was made from ``old`` is not what ``new`` would make.

    An input that ``new`` leaves out is not compared.
    """
    reasons = _settings(old, new, step, workflow)
    for name, declared in step.inputs.items():
        before, after = old["inputs"].get(name), new["inputs"].get(name)
        # A changed pattern is a changed setting, and has its reason already.
        if before is not None and after is not None and before != after:
            was, now = states(before, after)
            reasons.append(Reason("input_changed", name, was, now, declared.position))
    for name in sorted(old["code"].keys() | new["code"].keys()):
        if name in old["code"] and old["code"][name] is None:
            continue
        was, now = old["code"].get(name), new["code"].get(name)
        if was != now:
            reasons.append(
                Reason("code_changed", name, None, None if was and now else "new" if now else "no longer used")
            )
    for name in step.dependencies:
        if name in new["upstream"] and old["upstream"].get(name) != new["upstream"][name]:
            reasons.append(Reason("upstream", name, old["upstream"].get(name), new["upstream"][name]))
    return reasons


def compare_outputs(old: Mapping[str, Any], new: Mapping[str, Any], step: Step) -> list[Reason]:
    """The reasons for which the outputs are not what the last success left."""
    reasons = []
    for name, output in step.outputs.items():
        before, after = old.get(name), new[name]
        if after["kind"] == "missing":
            reasons.append(Reason("output_missing", name, position=output.position))
        elif before is not None and before != after:
            reasons.append(Reason("output_changed", name, *states(before, after), output.position))
    return reasons


def judge(receipt: Mapping[str, Any], step: Step) -> list[Reason]:
    """The threshold of today that a past success, or what an interrupted run has done so far, does not meet.

    ``receipt``: counts of the whole step; an interrupted run has items that are neither done nor failed.
    """
    settings = step.parallel
    if settings is None:
        return []
    items_in, mini_batches = int(receipt["items_in"]), int(receipt["mini_batches"])
    from batchflow.plan import Policy, Standing

    policy = Policy(
        failed_items_limit=settings.error_threshold.limit(items_in),
        failed_mini_batches_limit=settings.mini_batch_error_threshold.limit(mini_batches),
        failed_percent_limit=settings.allowed_failed_percent,
    )
    standing = Standing(items_in, int(receipt["failed"]), mini_batches, int(receipt["failed_mini_batches"]))
    passed = policy.passed(standing)
    if passed is None:
        return []
    name, _, text = passed.rpartition(": ")
    return [Reason("threshold", name, None, text, step.key_positions.get(f"parallel.{name}"))]


def states(old: Mapping[str, Any], new: Mapping[str, Any]) -> tuple[str, str]:
    """Two states of a file or a listing, in words that differ: ``10,000 files``, ``10,002 files``."""
    was, now = _state(old), _state(new)
    if was != now:
        return was, now
    if old["kind"] == "file":
        return f"{was} of {_time(old['mtime_ns'])}", f"{now} of {_time(new['mtime_ns'])}"
    return was, f"{now}, some other or edited"


def _settings(old: Mapping[str, Any], new: Mapping[str, Any], step: Step, workflow: Workflow) -> list[Reason]:
    """A changed parameter explains the settings that differ by its value; the others speak for themselves."""
    before, after = old["settings"], new["settings"]
    keys = [key for key in [*after, *(key for key in before if key not in after)] if before.get(key) != after.get(key)]
    changed = {
        name: (old["params"][name], value)
        for name, value in new["params"].items()
        if name in old["params"] and old["params"][name] != value
    }
    explaining: list[str] = []
    unexplained = []
    for key in keys:
        names = _explanation(before.get(key), after.get(key), changed)
        explaining += names
        if not names:
            unexplained.append(key)
    reasons = [
        Reason("parameter_changed", name, *_texts(was, now), _parameter_position(workflow, name))
        for name, (was, now) in changed.items()
        if name in explaining
    ]
    for key in unexplained:
        position = step.key_positions.get(key) or step.key_positions.get(key.partition(".")[0]) or step.position
        reasons.append(Reason("setting_changed", key, *_texts(before.get(key), after.get(key)), position))
    return reasons


def _explanation(before: object, after: object, changed: Mapping[str, tuple[Any, Any]]) -> list[str]:
    """The parameters whose new values turn ``before`` into ``after``; empty if they do not."""
    if before is None or after is None:
        return []
    for name, (was, now) in changed.items():
        if before == was and after == now:
            return [name]
    text, goal, names = json.dumps(before), json.dumps(after), []
    for name, (was, now) in changed.items():
        if _inner(was) and _inner(was) in text:
            text = text.replace(_inner(was), _inner(now))
            names.append(name)
    return names if text == goal else []


def _inner(value: object) -> str:
    """A value as it stands inside the JSON text of a longer string."""
    text = json.dumps(value)
    return text[1:-1] if isinstance(value, str) else text


def _parameter_position(workflow: Workflow, name: str) -> Position | None:
    parameter = workflow.params[name]
    return parameter.position if parameter.origin == "default" else None


def _texts(old: object, new: object) -> tuple[str | None, str | None]:
    """Two values as short text that shows where they first differ: of long lines a part, of several lines one.

    A value that is not there stays None.
    """
    if old is None or new is None:
        return None if old is None else _cut(_text(old)), None if new is None else _cut(_text(new))
    was, now = _first_difference(_text(old), _text(new))
    start = _shared_length(was, now) - _TEXT_LENGTH_MAX // 2
    if start > 0 and max(len(was), len(now)) > _TEXT_LENGTH_MAX:
        was, now = f"…{was[start:]}", f"…{now[start:]}"
    return _cut(was), _cut(now)


def _shared_length(one: str, other: str) -> int:
    pairs = enumerate(zip(one, other, strict=False))
    return next((index for index, (a, b) in pairs if a != b), min(len(one), len(other)))


def _first_difference(was: str, now: str) -> tuple[str, str]:
    """The first lines of two texts that differ, if one has several."""
    if "\n" not in was + now:
        return was, now
    for index, lines in enumerate(itertools.zip_longest(was.splitlines(), now.splitlines()), start=1):
        if lines[0] != lines[1]:
            before, after = ("no line" if line is None else line.strip() or "an empty line" for line in lines)
            return f"line {index}: {before}", after
    return "the ends of its lines", "others"


def _text(value: object) -> str:
    return readable(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))


def _cut(text: str) -> str:
    text = " ".join(text.splitlines())
    return text if len(text) <= _TEXT_LENGTH_MAX else text[: _TEXT_LENGTH_MAX - 1] + "…"


def _state(found: Mapping[str, Any]) -> str:
    if found["kind"] == "missing":
        return "missing"
    if found["kind"] == "file":
        return f"{found['size']:,} bytes"
    return f"{found['count']:,} {'file' if found['count'] == 1 else 'files'}"


def _time(mtime_ns: int) -> str:
    from datetime import datetime

    return datetime.fromtimestamp(mtime_ns / 1e9).isoformat(sep=" ", timespec="milliseconds")
