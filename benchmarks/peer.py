"""One peer, one run, in its own process: ``python -m benchmarks.peer TASK`` prints one line of JSON.

Whatever the tools print themselves goes to standard error.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from dataclasses import asdict
from typing import Any

import psutil

from benchmarks.cases.common import MissingToolError
from benchmarks.values import Task


def main(text: str) -> dict[str, Any]:
    """``text`` is a ``Task`` as JSON; the answer is an outcome, or ``{"missing": why}``."""
    fields = json.loads(text)
    task = Task(**fields | {"arguments": tuple(fields["arguments"])})
    case = importlib.import_module(f"benchmarks.cases.{task.case}")
    try:
        outcome = case.run(task)
    except ModuleNotFoundError as error:
        return {"missing": f"{error.name} is not installed"}
    except MissingToolError as error:
        return {"missing": str(error)}
    return asdict(outcome) | {"left_cpu_s": living_children_cpu_s()}


def living_children_cpu_s() -> float:
    """CPU time of helpers that outlive the run (resource trackers): they are never reaped, so no other sum has them."""
    total = 0.0
    for child in psutil.Process().children(recursive=True):
        try:
            times = child.cpu_times()
        except psutil.Error:
            continue
        total += times.user + times.system
    return total


if __name__ == "__main__":
    answer_fd = os.dup(1)
    os.dup2(2, 1)
    os.write(answer_fd, json.dumps(main(sys.argv[1])).encode() + b"\n")
