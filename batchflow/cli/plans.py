"""Plans, workflows and records as text and as JSON values.  Pure."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batchflow.cli.text import short_path
from batchflow.redaction import masked
from batchflow.text import count, safe_text

if TYPE_CHECKING:
    from batchflow.runner.values import Committed, Reason, RunRecord, StepRecord, WorkflowPlan
    from batchflow.workflow.values import Parameter, ParameterValue, Position, Step, Workflow

JSON_VERSION = 1
"""Of every object that ``--json`` prints; grows when a key changes its meaning or goes away."""


def plan_lines(plan: WorkflowPlan, folder: Path, workflow: Workflow | None = None) -> list[str]:
    """Each step that will run with its reasons, then the others in one line; with ``workflow`` the commands too."""
    lines = [] if plan.going_on is None else [f"a run of this workflow is going on: {safe_text(plan.going_on)}"]
    for step in plan.stale:
        lines.append(f"{safe_text(step.step)}: {'would be refused' if step.is_refused else 'will run'}")
        lines += [f"  {_reason_line(reason, folder)}" for reason in step.reasons]
        lines += [f"  {line}" for line in safe_text(step.note, multiline=True).split("\n") if line]
        if workflow is not None:
            lines += _command_lines(workflow.steps[step.step])
    fresh = [safe_text(step.step) for step in plan.steps if not step.stale]
    if not plan.stale:
        verb = "is" if len(fresh) == 1 else "are"
        return [*lines, f"nothing to do: {count(len(fresh), 'step')} {verb} up to date ({', '.join(fresh)})"]
    if fresh:
        lines.append(f"up to date: {', '.join(fresh)}")
    if any(step.is_refused for step in plan.steps):
        return [*lines, "the run would be refused; nothing was changed"]
    return [*lines, f"{len(plan.stale):,} of {count(len(plan.steps), 'step')} would run; nothing was changed"]


def _command_lines(step: Step) -> list[str]:
    """The command of a ``run`` step, quoted as a shell takes it; its outputs by the names they end up with."""
    if step.command is None:
        return []
    from batchflow.workflow.references import render

    outputs = {name: output.path for name, output in step.outputs.items()}
    if isinstance(step.command, str):
        command = render(step.command, outputs, shell=True)
    else:
        command = shlex.join(render(step.command, outputs))
    first, *more = safe_text(command.strip(), multiline=True).split("\n")
    return [f"  $ {first}", *(f"    {line}" for line in more)]


def _reason_line(reason: Reason, folder: Path) -> str:
    place = "" if reason.position is None else f" ({_place(reason.position, folder)})"
    return safe_text(reason.describe()) + place


def _place(position: Position, folder: Path) -> str:
    return f"{short_path(position.path, folder)}:{position.line}:{position.column}"


def plan_json(plan: WorkflowPlan, workflow: Workflow) -> dict[str, Any]:
    return {
        "version": JSON_VERSION,
        "workflow": str(workflow.path),
        "steps": [
            {
                "step": step.step,
                "stale": step.stale,
                "reasons": [_reason_json(reason) for reason in step.reasons],
                "note": step.note,
                "refused": step.is_refused,
            }
            for step in plan.steps
        ],
    }


def _reason_json(reason: Reason) -> dict[str, Any]:
    return {
        "kind": reason.kind,
        "name": reason.name,
        "old": reason.old,
        "new": reason.new,
        "position": None if reason.position is None else position_json(reason.position),
    }


def position_json(position: Position) -> dict[str, Any]:
    return {
        "path": str(position.path),
        "line": position.line,
        "column": position.column,
        "length": position.length,
    }


def list_lines(workflow: Workflow, folder: Path) -> list[str]:
    """The steps with their kind and help, the default ones marked, then the parameters with their values."""
    steps = [
        (safe_text(step.name) + ("*" if step.name in workflow.default else ""), step.kind, safe_text(step.help))
        for step in workflow.steps.values()
    ]
    lines = [f"{safe_text(workflow.name)} ({short_path(workflow.path, folder)})", "steps (* built by default):"]
    lines += _aligned(steps)
    if workflow.params:
        lines.append("parameters (--set NAME=VALUE):")
        lines += _aligned(
            (
                safe_text(one.name),
                one.type,
                f"{safe_text(_value_text(masked(one.name, one.value)))}{_origin_note(one)}",
                safe_text(one.help),
            )
            for one in workflow.params.values()
        )
    return lines


def _value_text(value: ParameterValue | None) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return f"[{', '.join(_value_text(one) for one in value)}]"
    return repr(value) if value == "" else str(value)


def _origin_note(parameter: Parameter) -> str:
    if parameter.origin == "default":
        return ""
    return safe_text(f" ({parameter.origin}; default {_value_text(masked(parameter.name, parameter.default))})")


def _aligned(rows: Iterable[tuple[str, ...]]) -> list[str]:
    """Each row on one line, indented, its columns as wide as their widest cell."""
    rows = list(rows)
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    return ["  " + "  ".join(f"{cell:<{w}}" for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows]


def list_json(workflow: Workflow) -> dict[str, Any]:
    return {
        "version": JSON_VERSION,
        "workflow": str(workflow.path),
        "name": workflow.name,
        "default": list(workflow.default),
        "steps": [
            {
                "step": step.name,
                "kind": step.kind,
                "help": step.help,
                "dependencies": list(step.dependencies),
                "params": list(step.params),
                "outputs": {output.name: str(output.path) for output in step.outputs.values()},
            }
            for step in workflow.steps.values()
        ],
        "params": [
            {
                "name": one.name,
                "type": one.type,
                "value": masked(one.name, one.value),
                "default": masked(one.name, one.default),
                "origin": one.origin,
                "help": one.help,
            }
            for one in workflow.params.values()
        ],
    }


def record_json(record: RunRecord) -> dict[str, Any]:
    return {
        "version": JSON_VERSION,
        "run_id": record.run_id,
        "workflow": str(record.workflow),
        "exit_code": record.exit_code,
        "elapsed_s": record.elapsed_s,
        "steps": {name: step_json(step) for name, step in record.steps.items()},
    }


def step_json(step: StepRecord) -> dict[str, Any]:
    return {
        "status": step.status,
        "elapsed_s": step.elapsed_s,
        "outputs": {name: str(path) for name, path in step.outputs.items()},
        "receipt": None if step.receipt is None else step.receipt.as_dict(),
        "error": step.error,
        "hint": step.hint,
        "committed": None if step.committed is None else committed_json(step.committed),
        "note": step.note,
        "cpu_s": step.cpu_s,
        "profile": None if step.profile is None else step.profile.as_dict(),
    }


def committed_json(committed: Committed) -> dict[str, Any]:
    return {
        "item_count": committed.item_count,
        "succeeded": committed.succeeded,
        "failed": committed.failed,
        "to_do": committed.to_do,
        "work_s": committed.work_s,
    }
