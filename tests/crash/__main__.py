"""Every part of the machine that exists, one after the other, and the sum of their figures.

    python -m tests.crash --budget quick|nightly [--seed N]

Each part is a module of its own with the same face; it prints one JSON line of totals at its end.  Exit 1 if any part
found a violation or did not come to its end.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import subprocess
import sys
import time
from collections import Counter
from typing import Any

PARTS = ("explore", "power", "simulation", "rings", "cli_kills")
_NO_FIGURES = ("seed", "elapsed_s")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.crash", description=__doc__)
    parser.add_argument("--budget", choices=("quick", "nightly"), default="quick")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    started_s = time.monotonic()
    sums: Counter[str] = Counter()
    states: dict[str, str] = {}
    for part in PARTS:
        if importlib.util.find_spec(f"tests.crash.{part}") is None:
            continue
        states[part], figures = _run(part, arguments.budget, arguments.seed)
        sums.update(figures)
    is_good = all(state in ("passed", "skipped") for state in states.values())
    elapsed_s = round(time.monotonic() - started_s, 1)
    print(json.dumps({"budget": arguments.budget, "parts": states, **sums, "elapsed_s": elapsed_s}))
    return 0 if is_good else 1


def _run(part: str, budget: str, seed: int) -> tuple[str, dict[str, int]]:
    """How it ended, and its figures; everything that it prints is passed on."""
    command = [sys.executable, "-m", f"tests.crash.{part}", "--budget", budget, "--seed", str(seed)]
    last = ""
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout or ():
            print(line, end="", flush=True)
            last = line
    totals = _totals(last)
    figures = {
        name: value
        for name, value in totals.items()
        if isinstance(value, int) and not isinstance(value, bool) and name not in _NO_FIGURES
    }
    if process.returncode != 0:
        return "failed", figures
    if not totals:
        return "failed: it printed no totals", figures
    return ("skipped" if "skipped" in totals else "passed"), figures


def _totals(line: str) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


if __name__ == "__main__":
    sys.exit(main())
