"""L7: hours of work while workers die every few seconds and the driver every half minute.

    python -m tests.crash.soak --minutes 60 [--seed N]

One step over as many items as two workers score in that time.  Workers are killed, stopped or killed with all others;
the driver is killed and started again; the script has items that kill, hang and raise.  At the end every item is
accounted for, the bytes are those that the input says, nothing is left, and the driver's memory and descriptors did not
grow: its last life is watched for that.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from tests.crash.real import Project

ITEMS_PER_MINUTE = 20_000
PAUSE_S = 0.005
RSS_SLOPE_MAX = 2 << 20
"""Bytes that the driver may grow in its life after the first seconds, with up to a hundred thousand items more."""
DESCRIPTORS_MORE_MAX = 8
MISBEHAVE = """
        number = int(name)
        if context.attempt == 1 and number % 9973 == 1: os.kill(os.getpid(), 11)
        if context.attempt == 1 and number % 9973 == 2: raise ValueError(name)
        if context.attempt == 1 and number % 29989 == 3: time.sleep(60)
        if number % 49999 == 4: os._exit(0)
        pass"""


def resident(pid: int) -> int:
    with contextlib.suppress(OSError, IndexError):
        return int(Path(f"/proc/{pid}/statm").read_bytes().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return 0


def descriptors(pid: int) -> int:
    with contextlib.suppress(OSError):
        return len(os.listdir(f"/proc/{pid}/fd"))
    return 0


class Life:
    """One driver, watched."""

    def __init__(self, project: Project) -> None:
        self.process: subprocess.Popen[bytes] = project.start()
        self.started_s = time.monotonic()
        self.memory: list[int] = []
        self.descriptors: list[int] = []

    def look(self) -> None:
        memory, count = resident(self.process.pid), descriptors(self.process.pid)
        if memory and count and time.monotonic() - self.started_s > 5:
            self.memory.append(memory)
            self.descriptors.append(count)


def growth(values: list[int]) -> int:
    """How much larger the largest of the last tenth is than that of the first."""
    tenth = max(1, len(values) // 10)
    return max(values[-tenth:], default=0) - max(values[:tenth], default=0)


def soak(project: Project, minutes: float, seed: int) -> dict[str, Any]:
    choose, counts = random.Random(seed), Counter[str]()
    end_s = time.monotonic() + minutes * 60
    # The last third belongs to one driver, so that its growth can be seen.
    calm_s = time.monotonic() + minutes * 40
    life = Life(project)
    next_driver_s = time.monotonic() + choose.uniform(15, 40)
    while life.process.poll() is None and time.monotonic() < end_s + 600:
        time.sleep(choose.uniform(0.5, 3))
        life.look()
        _hurt(project, life.process.pid, choose, counts)
        if next_driver_s < time.monotonic() < calm_s:
            life.process.kill()
            life.process.wait()
            counts["driver_kills"] += 1
            counts["violations"] += len(project.leftovers())
            life = Life(project)
            next_driver_s = time.monotonic() + choose.uniform(15, 40)
    life.process.kill()
    code = life.process.wait()
    failed = [name for name in project.names if int(name) % 49999 == 4]
    violations = [f"exit code {code}"] if code != 0 else project.check(failed)
    if growth(life.memory) > RSS_SLOPE_MAX:
        violations.append(f"the driver grew by {growth(life.memory):,} bytes in its last life")
    if growth(life.descriptors) > DESCRIPTORS_MORE_MAX:
        violations.append(f"the driver has {growth(life.descriptors)} descriptors more than at first")
    for one in violations:
        print(f"VIOLATION {one}", flush=True)
    return {
        **counts,
        "items": len(project.names),
        "violations": len(violations) + counts["violations"],
        "driver_growth_bytes": growth(life.memory),
        "descriptors_more": growth(life.descriptors),
        "last_life_s": round(time.monotonic() - life.started_s),
    }


def _hurt(project: Project, driver: int, choose: random.Random, counts: Counter[str]) -> None:
    workers = [pid for pid in project.processes() if pid != driver and resident(pid)]
    if not workers:
        return
    number = choose.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGSTOP])
    with contextlib.suppress(OSError):
        os.kill(choose.choice(workers), number)
        counts["others_hurt"] += 1


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.crash.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="batchflow-soak-") as folder:
        project = Project(
            Path(folder) / "p",
            count=int(arguments.minutes * ITEMS_PER_MINUTE),
            pause=PAUSE_S,
            misbehave=MISBEHAVE,
            size=20,
        )
        result = soak(project, arguments.minutes, arguments.seed)
    print(json.dumps({"layer": "soak", "minutes": arguments.minutes, "seed": arguments.seed, **result}))
    return 1 if result["violations"] else 0


if __name__ == "__main__":
    sys.exit(main())
