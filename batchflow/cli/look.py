"""The verbs that only look: check, list, dag, status, schema; and init, which writes a starter."""

from __future__ import annotations

import shlex
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from batchflow.cli.arguments import Arguments
from batchflow.cli.backend import Backend
from batchflow.cli.graph import graph_dot, graph_json, graph_mermaid, graph_tree
from batchflow.cli.plans import JSON_VERSION, list_json, list_lines, step_json
from batchflow.cli.problems import problem_json
from batchflow.cli.streams import json_text, standard_error, write_data, write_drawing, write_json
from batchflow.cli.text import one_line, short_path
from batchflow.errors import ResourceError, WorkflowError
from batchflow.text import count, duration, safe_text

if TYPE_CHECKING:
    from batchflow.runner.values import StepRecord
    from batchflow.workflow.diagnostics import Diagnostic
    from batchflow.workflow.values import Workflow

_WARNING = ("check", "plan", "retry", "run")


def load(arguments: Arguments, backend: Backend) -> Workflow:
    """The workflow the command line names, or the nearest one above the working directory.

    The verbs that check or use all of it show its warnings, on standard error.
    """
    path = arguments.file
    if path is None or path.is_dir():
        path = _found(Path.cwd() if path is None else path, arguments.targets, backend)
    workflow = backend.load(path, arguments.params_file, arguments.overrides)
    if workflow.warnings and arguments.verb in _WARNING and arguments.verbosity >= 0:
        _warn(workflow.warnings)
    return workflow


def _warn(warnings: Sequence[Diagnostic]) -> None:
    from batchflow.workflow.diagnostics import render_warning

    for warning in warnings:
        standard_error().line(render_warning(warning, Path.cwd()))


def _found(start: Path, targets: Sequence[str], backend: Backend) -> Path:
    try:
        return backend.find(start)
    except WorkflowError as error:
        if not targets:
            raise
        # What was meant as a workflow file or folder has become a target.
        target = Path(targets[0])
        what = "a workflow file" if target.is_file() else "a folder with one" if target.is_dir() else "there"
        hint = "a workflow file ends in .toml; make a new workflow with `batchflow init`"
        message = f"{targets[0]} is not {what}, and as a target it needs a workflow: {error.message.splitlines()[0]}"
        raise WorkflowError(message, hint=hint) from None


def check(arguments: Arguments, backend: Backend) -> int:
    workflow = load(arguments, backend)
    unmatched = backend.unmatched(workflow)
    if arguments.json:
        warnings = [problem_json(one) for one in (*workflow.warnings, *unmatched)]
        write_json({"version": JSON_VERSION, "ok": True, "workflow": str(workflow.path), "warnings": warnings})
    else:
        _warn(unmatched)
        steps = count(len(workflow.steps), "step")
        write_data(f"{short_path(workflow.path, Path.cwd())}: {steps}, no problems")
    return 0


def list_steps(arguments: Arguments, backend: Backend) -> int:
    workflow = load(arguments, backend)
    if arguments.json:
        write_json(list_json(workflow))
    else:
        write_data("\n".join(list_lines(workflow, Path.cwd())))
    return 0


def dag(arguments: Arguments, backend: Backend) -> int:
    workflow = load(arguments, backend)
    if arguments.json or arguments.format == "json":
        write_json(graph_json(workflow))
    elif arguments.format == "mermaid":
        write_data(graph_mermaid(workflow))
    elif arguments.format == "dot":
        write_data(graph_dot(workflow))
    else:
        from batchflow.cli.drawing import rendered

        write_drawing(rendered(graph_tree(workflow)))
    return 0


def status(arguments: Arguments, backend: Backend, run_command: str) -> int:
    workflow = load(arguments, backend)
    records = backend.status(workflow)
    if arguments.json:
        steps = {name: step_json(record) for name, record in records.items()}
        write_json({"version": JSON_VERSION, "workflow": str(workflow.path), "steps": steps})
        return 0
    from rich.table import Table

    from batchflow.cli.drawing import cell, rendered

    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("step", "state", "items", "failed", "rows", "age", "outputs"):
        number = title in ("items", "failed", "rows", "age")
        table.add_column(title, justify="right" if number else "left", overflow="fold", no_wrap=title == "step")
    for name, record in records.items():
        table.add_row(*(cell(one) for one in status_row(name, record, Path.cwd(), time.time())))
    write_drawing(rendered(table))
    write_data("\n".join(status_notes(records, run_command)))
    return 0


def status_notes(records: Mapping[str, StepRecord], run_command: str) -> list[str]:
    """For each step about which there is more to say: how it ended, what is kept, why it would run again.

    Then what continues, if something was interrupted and nothing is in its way.
    """
    lines = []
    for name, record in records.items():
        kept = record.note or ("" if record.committed is None else record.committed.describe())
        first, *more = kept.split("\n")
        ended = record.error or record.hint
        if first and record.status == "interrupted" and ended and ended.startswith("stopped with "):
            ended = None  # what is kept says as much
        told = [one_line(one) for one in (ended, first) if one]
        lines += [f"{safe_text(name)}: {'; '.join(told)}"] if told else []
        lines += [f"  {safe_text(one)}" for one in more]
    interrupted = [one for one in records.values() if one.status == "interrupted"]
    if interrupted and not any(one.is_refused for one in records.values()):
        lines.append(f"to continue: {run_command}")
    return lines


def status_row(name: str, record: StepRecord, folder: Path, now: float) -> tuple[str, ...]:
    """The cells of one step; its age is that of its newest output."""
    receipt, committed = record.receipt, record.committed
    items = ("", "", "")
    if receipt is not None:
        items = (f"{receipt.items_in:,}", f"{receipt.failed:,}", f"{receipt.rows_out:,}")
    elif committed is not None:
        items = (f"{committed.done:,}/{committed.item_count:,}", f"{committed.failed:,}", f"{committed.rows:,}")
    written = [path.stat().st_mtime for path in record.outputs.values() if path.exists()]
    age = duration(now - max(written)) if written else ""
    outputs = ", ".join(short_path(path, folder) for path in record.outputs.values())
    return (safe_text(name), record.status.replace("_", " "), *items, age, outputs)


def schema(arguments: Arguments, backend: Backend) -> int:
    if arguments.output is None:
        write_json(backend.schema())
        return 0
    try:
        arguments.output.write_text(json_text(backend.schema()) + "\n", encoding="utf-8")
    except OSError as error:
        raise ResourceError(f"cannot write the schema to {arguments.output}: {error.strerror}") from None
    return 0


def init(arguments: Arguments, backend: Backend) -> int:
    written = backend.starter(arguments.folder)
    lines = [f"wrote {short_path(path, Path.cwd())}" for path in written]
    write_data("\n".join([*lines, f"next: {_next_command(arguments.folder)}"]))
    return 0


def _next_command(folder: Path) -> str:
    return (
        "batchflow run"
        if folder.resolve() == Path.cwd()
        else f"cd {shlex.quote(safe_text(str(folder)))} && batchflow run"
    )
