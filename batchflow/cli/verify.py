"""The verb ``verify``: what was found, one line for each step, and one for each problem."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batchflow.cli.arguments import Arguments
from batchflow.cli.backend import Backend
from batchflow.cli.look import load
from batchflow.cli.plans import JSON_VERSION, committed_json
from batchflow.cli.streams import write_data, write_json
from batchflow.cli.text import short_path, size
from batchflow.errors import BatchflowError, RefusedError
from batchflow.text import count, safe_text

if TYPE_CHECKING:
    from batchflow.output.audit import Problem
    from batchflow.runner.verify import StepReport
    from batchflow.workflow.values import Workflow


_AS_WRITTEN = "everything is as it was written"
_READ_AS_WRITTEN = "what was read is as it was written"
_SEEN = frozenset({"output_missing", "output_changed"})
"""Why a run makes an output again that is not as it was written."""


@dataclass(frozen=True)
class Ways:
    """How what is damaged is made again: the steps ``made_again`` by ``run_command``, others by force."""

    run_command: str = "batchflow run"
    made_again: Collection[str] = ()


def verify(arguments: Arguments, backend: Backend, run_command: str) -> int:
    workflow = load(arguments, backend)
    reports = backend.verify(workflow, arguments.targets)
    if arguments.json:
        write_json(verify_json(workflow.path, reports))
    else:
        ways = Ways(run_command, _made_again(backend, workflow, arguments.targets, reports))
        write_data("\n".join(verify_lines(reports, Path.cwd(), ways)))
    return RefusedError.exit_code if any(one.problems for one in reports.values()) else 0


def verify_lines(reports: Mapping[str, StepReport], folder: Path, ways: Ways) -> list[str]:
    """What was checked of each step, with its problems; the last line says what it comes to."""
    lines: list[str] = []
    for name, report in reports.items():
        lines.append(f"{safe_text(name)}: {_summary(report)}{_unread(report, folder)}")
        lines += [f"  {safe_text(one.describe(short_path(one.path, folder)))}" for one in report.problems]
    total = sum(len(one.problems) for one in reports.values())
    if not total:
        nothing = all(one.status == "nothing" for one in reports.values())
        as_written = _READ_AS_WRITTEN if any(one.unread for one in reports.values()) else _AS_WRITTEN
        return [*lines, "nothing was verified: no step has succeeded yet" if nothing else as_written]
    lines.append(f"{count(total, 'problem')} found, nothing was changed")
    for name in (name for name, one in reports.items() if one.problems):
        if name in ways.made_again:
            lines.append(f"{ways.run_command} makes {safe_text(name)} again")
        else:
            lines.append(f"to make {safe_text(name)} anew: batchflow run {safe_text(name)} -f --restart")
    return lines


def _made_again(
    backend: Backend, workflow: Workflow, targets: tuple[str, ...], reports: Mapping[str, StepReport]
) -> frozenset[str]:
    """The steps with problems that a run of the ``targets`` would make again, because it sees them too."""
    names = {name for name, one in reports.items() if one.problems and one.status == "succeeded"}
    if not names:
        return frozenset()
    with contextlib.suppress(BatchflowError):  # then nothing is known about what a run does
        from batchflow.runner.values import RunOptions

        plan = backend.plan(workflow, RunOptions(targets=targets))
        seen = {one.step for one in plan.stale if _SEEN.intersection(reason.kind for reason in one.reasons)}
        return frozenset(names & seen) if not any(one.is_refused for one in plan.steps) else frozenset()
    return frozenset()


def _summary(report: StepReport) -> str:
    problems = count(len(report.problems), "problem") if report.problems else ""
    if report.status == "nothing":
        return problems or "nothing to verify, it has not succeeded yet"
    return f"{_checked(report)}, {problems or 'ok'}"


def _unread(report: StepReport, folder: Path) -> str:
    if not report.unread:
        return ""
    how = "only seen to be there" if report.status == "unfinished" else "compared by size and time only"
    return f"; {how}: {', '.join(safe_text(short_path(one, folder)) for one in report.unread)}"


def _checked(report: StepReport) -> str:
    if report.committed is None:
        return f"{count(report.output_count, 'output')} as recorded"
    committed = report.committed
    left = f", {committed.to_do:,} to do" if report.status == "unfinished" else ""
    items = (
        f"{committed.done:,} of {count(committed.item_count, 'item')}" if left else count(committed.item_count, "item")
    )
    good, rows = f"{committed.succeeded:,} succeeded", ""
    if report.row_count is not None:
        same = report.row_count == committed.succeeded
        good = count(report.row_count, "row") if same else good
        rows = f"{'' if same else ', ' + count(report.row_count, 'row')}, {size(report.size)}, {report.checksum}"
    start = "unfinished: " if report.status == "unfinished" else ""
    return f"{start}{items} = {good} + {committed.failed:,} failed{left}{rows}"


def verify_json(path: Path, reports: Mapping[str, StepReport]) -> dict[str, Any]:
    return {
        "version": JSON_VERSION,
        "workflow": str(path),
        "ok": not any(one.problems for one in reports.values()),
        "steps": {name: _report_json(one) for name, one in reports.items()},
    }


def _report_json(report: StepReport) -> dict[str, Any]:
    return {
        "status": report.status,
        "committed": None if report.committed is None else committed_json(report.committed),
        "row_count": report.row_count,
        "size": report.size,
        "checksum": report.checksum,
        "output_count": report.output_count,
        "unread": [str(one) for one in report.unread],
        "problems": [_problem_json(one) for one in report.problems],
    }


def _problem_json(problem: Problem) -> dict[str, Any]:
    return {
        "path": str(problem.path),
        "offset": problem.offset,
        "message": problem.message,
        "expected": problem.expected,
        "found": problem.found,
    }
