"""An error that ended a command, as the JSON object that ``--json`` prints instead of a result.  Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from batchflow.cli.plans import JSON_VERSION, position_json
from batchflow.errors import BatchflowError

if TYPE_CHECKING:
    from batchflow.workflow.diagnostics import Diagnostic


def error_json(error: BaseException, exit_code: int) -> dict[str, Any]:
    """Its type, message, hint and exit code; ``problems`` has each fault of a workflow file with its place.

    ``report`` is what a person is shown.
    """
    problems: tuple[Diagnostic, ...] = getattr(error, "diagnostics", ())
    report = str(error)
    return {
        "version": JSON_VERSION,
        "ok": False,
        "error": {
            "type": type(error).__name__,
            "message": _message(problems) or report,
            "hint": error.hint if isinstance(error, BatchflowError) else None,
            "exit_code": exit_code,
        },
        "problems": [problem_json(one) for one in problems],
        "report": report,
    }


def _message(problems: tuple[Diagnostic, ...]) -> str:
    """One line for all of them, empty without any."""
    if not problems:
        return ""
    first = problems[0].message
    return first if len(problems) == 1 else f"{first} (and {len(problems) - 1} more)"


def problem_json(problem: Diagnostic) -> dict[str, Any]:
    """One fault or warning with its place."""
    return {
        "code": problem.code,
        "message": problem.message,
        "hint": problem.hint,
        "origin": problem.origin,
        "position": None if problem.position is None else position_json(problem.position),
        "other": None if problem.other is None else position_json(problem.other),
    }
