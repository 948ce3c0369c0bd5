"""``python -m tests.crash.simulation``: seeds, one after another; one line of JSON at the end."""

from __future__ import annotations

import argparse
import contextlib
import json
import time

from tests.crash.simulation.bugs import BUGS
from tests.crash.simulation.run import simulate

BUDGETS = {"quick": 2_000, "nightly": 100_000, "release": 2_000_000}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.crash.simulation", description=__doc__)
    parser.add_argument("--budget", choices=BUDGETS, default="quick")
    parser.add_argument("--seeds", type=int, help="how many, instead of a budget")
    parser.add_argument("--start", "--seed", type=int, default=1, help="the first seed")
    parser.add_argument("--bug", choices=BUGS, help="with this known bug put into the product")
    asked = parser.parse_args()
    count = BUDGETS[asked.budget] if asked.seeds is None else asked.seeds
    bug = f" --bug {asked.bug}" if asked.bug else ""
    violations = []
    began_s, cpu_began_s = time.monotonic(), time.process_time()
    with BUGS[asked.bug]() if asked.bug else contextlib.nullcontext():
        for seed in range(asked.start, asked.start + count):
            what = simulate(seed)
            if what is not None:
                replay = f"python -m tests.crash.simulation --seeds 1 --start {seed}{bug}"
                violations.append({"seed": seed, "what": what, "replay": replay})
    cpu_s = time.process_time() - cpu_began_s  # of one core: what else the machine does is no matter
    report = {
        "seeds": count,
        "seconds": round(cpu_s, 3),
        "seeds_per_s": round(count / max(cpu_s, 1e-9)),
        "elapsed_s": round(time.monotonic() - began_s, 3),
        "violations": len(violations),
        "found": violations[:20],
    }
    print(json.dumps(report))
    return 1 if violations else 0


raise SystemExit(main())
