"""L1b and L4: the real command, killed at each of its system calls that change files, and at random moments.

    python -m tests.crash.cli_kills --budget quick|nightly --seed N [--only ROUND]

Every third round is over tables, every fifth makes a parquet file.  L4 also kills and stops workers, zygote, guardian
and the process that makes the file while the driver goes on, several in a row, with a script whose items kill their
workers.  After every kill the same command is typed again; what it leaves is held against the input.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.crash.real import Project, TableProject, ended

BUDGETS = {"quick": {"random_kills": 40, "calls": 30}, "nightly": {"random_kills": 600, "calls": 10_000}}
TYPED_EACH = 5
"""One round of so many has a parquet file to make, by another process."""
CALLS = "write,pwrite64,fsync,fdatasync,syncfs,ftruncate,rename,renameat2,unlink,unlinkat,mkdir,rmdir"
POISON = "000123"
MISBEHAVE = f"""if name == "{POISON}" or (context.attempt == 1 and name.endswith("77")): os.kill(os.getpid(), 11)"""


class Campaign:
    """Counts what was done and what was wrong."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.counts: Counter[str] = Counter()

    def report(self, violations: list[str], replay: str) -> None:
        if violations:
            self.counts["violations"] += 1
            told = "".join(f"\n    {one}" for one in violations[:5])
            print(f"VIOLATION python -m tests.crash.cli_kills {replay}{told}", flush=True)


def random_round(campaign: Campaign, number: int) -> None:
    """Up to six kills in a row, then to the end."""
    choose = random.Random(f"{campaign.seed} {number}")
    replay = f"--seed {campaign.seed} --only {number}"
    folder = Path(tempfile.mkdtemp(prefix="batchflow-kills-"))
    kind = TableProject if number % 3 == 2 else Project
    size, is_typed = choose.choice([1, 7, 10, 50]), number % TYPED_EACH == 0
    project = kind(folder / "p", count=300, pause=0.004, misbehave=MISBEHAVE, size=size, is_typed=is_typed)
    violations: list[str] = []
    for _ in range(choose.randint(2, 6)):
        with ended(project.start()) as process:
            time.sleep(choose.uniform(0.05, 1.2))
            if choose.random() < 0.4:
                _hurt_another(project, process.pid, choose, campaign)
                time.sleep(choose.uniform(0, 0.2))
            campaign.counts["real_kills"] += process.poll() is None
        violations += project.check_killed([POISON])
    code = project.finish()
    violations += [f"exit code {code}"] if code != 0 else project.check([POISON])
    campaign.report(violations, replay)
    if not violations:
        shutil.rmtree(folder)


def _hurt_another(project: Project, driver: int, choose: random.Random, campaign: Campaign) -> None:
    """Kill or stop a process of the run that is not its driver."""
    others = [pid for pid in project.processes() if pid != driver]
    if others:
        number = choose.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGSTOP])
        with contextlib.suppress(OSError):
            os.kill(choose.choice(others), number)
            campaign.counts["others_hurt"] += 1


def list_calls() -> list[tuple[str, int]]:
    """Every system call of one run that may change a file: name and how many of the name."""
    with tempfile.TemporaryDirectory(prefix="batchflow-calls-") as name:
        project = Project(Path(name) / "p", count=60, pause=0.0005)
        log = Path(name) / "log"
        with ended(project.start(before=["strace", "-qq", "-o", str(log), "-e", f"trace={CALLS}"])) as process:
            process.wait(60)
        names = re.findall(r"^(\w+)\(", log.read_text(errors="replace"), flags=re.MULTILINE)
    return [(call, number) for call, count in Counter(names).items() for number in range(1, count + 1)]


def call_round(campaign: Campaign, call: str, number: int) -> None:
    """Killed when it makes this system call for the n-th time; then to the end."""
    folder = Path(tempfile.mkdtemp(prefix="batchflow-calls-"))
    project = Project(folder / "p", count=60, pause=0.0005)
    inject = ["strace", "-qq", "-o", "/dev/null", "-e", f"trace={call}"]
    inject += ["-e", f"inject={call}:signal=SIGKILL:when={number}"]
    with ended(project.start(before=inject)) as process:
        process.wait(60)
    campaign.counts["real_kills"] += process.returncode != 0
    campaign.counts["syscall_kills"] += process.returncode != 0
    violations = project.check_killed()
    code = project.finish()
    violations += [f"exit code {code}"] if code != 0 else project.check()
    campaign.report(violations, f"--call {call}:{number}")
    if not violations:
        shutil.rmtree(folder)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.crash.cli_kills", description=__doc__)
    parser.add_argument("--budget", choices=tuple(BUDGETS), default="quick")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, help="one round of random kills")
    parser.add_argument("--call", help="one kill at a system call, NAME:NUMBER")
    arguments = parser.parse_args()
    started_s = time.monotonic()
    campaign = Campaign(arguments.seed)
    if arguments.call:
        name, _, number = arguments.call.partition(":")
        call_round(campaign, name, int(number))
    elif arguments.only is not None:
        random_round(campaign, arguments.only)
    else:
        budget = BUDGETS[arguments.budget]
        for number in range(budget["random_kills"]):  # more than one in nearly every round, on a machine of any speed
            if campaign.counts["real_kills"] < budget["random_kills"]:
                random_round(campaign, number)
        if shutil.which("strace") is None:
            print("L1b is skipped: strace is not installed")
        else:
            calls = list_calls()
            random.Random(arguments.seed).shuffle(calls)
            for name, number in calls[: budget["calls"]]:
                call_round(campaign, name, number)
            campaign.counts["syscalls_enumerated"] = len(calls)
    totals = {"layer": "cli_kills", "seed": arguments.seed, "violations": 0, **campaign.counts}
    print(json.dumps({**totals, "elapsed_s": round(time.monotonic() - started_s, 1)}))
    return 1 if campaign.counts["violations"] else 0


if __name__ == "__main__":
    sys.exit(main())
