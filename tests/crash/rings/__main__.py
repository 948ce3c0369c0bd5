"""``python -m tests.crash.rings``: deaths, wild bytes, lack of memory, sleep; one line of JSON at the end."""

from __future__ import annotations

import argparse
import json
import sys
import time
from typing import Any

from tests.crash.rings import ports, programs

BUDGETS = {
    "quick": {"kills": 20_000, "ports": 500, "fuzz": 1_000_000, "wakes": 5_000},
    "nightly": {"kills": 1_000_000, "ports": 20_000, "fuzz": 10_000_000, "wakes": 200_000},
    "release": {"kills": 10_000_000, "ports": 200_000, "fuzz": 100_000_000, "wakes": 1_000_000},
}
TIMEOUT_S = 36_000.0


def arguments(words: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.crash.rings", description=__doc__)
    parser.add_argument("--budget", choices=BUDGETS, help="how many of each, unless a number is given")
    parser.add_argument("--seed", type=int, default=time.time_ns() % 1_000_000)
    parser.add_argument("--kills", type=int, help="workers in C, half of them with yields")
    parser.add_argument("--ports", type=int, help="workers in Python")
    parser.add_argument("--fuzz", type=int, help="mappings with wild or forged bytes, and allocations that fail")
    parser.add_argument(
        "--wakes", type=int, help="bursts of requests between sleepers, a third of them with a sanitizer of threads"
    )
    parser.add_argument("--first", type=int, default=0, help="the first life, to replay one")
    parser.add_argument(
        "--again", type=int, default=1, help="so many deaths of each life: the instant is never the same"
    )
    asked = parser.parse_args(words)
    named = any(getattr(asked, name) is not None for name in BUDGETS["quick"])
    budget = BUDGETS[asked.budget or "quick"] if asked.budget or not named else dict.fromkeys(BUDGETS["quick"], 0)
    for name, count in budget.items():
        if getattr(asked, name) is None:
            setattr(asked, name, count)
    return asked


def kills(asked: argparse.Namespace) -> dict[str, Any]:
    """Half of them with yields around atomic accesses, both halves at the same time."""
    seed, again, halves = str(asked.seed), str(asked.again), [asked.kills - asked.kills // 2, asked.kills // 2]
    first = [asked.first, asked.first + halves[0]]
    if asked.kills == 1:  # a replay: in both ways
        halves, first = [1, 1], [asked.first, asked.first]
    built = [programs.build("kills"), programs.build("kills", flags=programs.PERTURB)]
    commands = [
        [str(program), seed, str(begin), str(count), again]
        for program, begin, count in zip(built, first, halves, strict=True)
    ]
    answers = programs.run(commands, TIMEOUT_S)
    total = programs.add_up(answers)
    elapsed_s = max(answer.get("elapsed_s", 0.0) for answer in answers)
    return total | {"elapsed_s": elapsed_s, "kills_per_s": round(total.get("ring_kills", 0) / max(elapsed_s, 0.01))}


def main() -> int:
    asked, began_s = arguments(), time.monotonic()
    report: dict[str, Any] = {"seed": asked.seed, "violations": 0}

    def add(answer: dict[str, Any]) -> None:
        report["violations"] += answer.pop("violations")
        answer.pop("elapsed_s", None)
        report.update(answer)

    if asked.kills:
        add(kills(asked))
    if asked.ports:
        before_s = time.monotonic()
        bad = ports.kill(asked.seed, asked.first, asked.ports, lambda text: print(text, file=sys.stderr, flush=True))
        rate = round(asked.ports / (time.monotonic() - before_s))
        add({"port_kills": asked.ports, "port_kills_per_s": rate, "violations": bad})
    if asked.fuzz:
        flags = programs.SANITIZE if asked.fuzz <= 1_000_000 else ()
        program = str(programs.build("fuzz", flags=flags))
        add(programs.run([[program, str(asked.seed), str(asked.first), str(asked.fuzz)]], TIMEOUT_S)[0])
        add(programs.run([[str(programs.build("memory", flags=programs.SANITIZE))]], TIMEOUT_S)[0])
    if asked.wakes:
        built = [programs.build("wakes", flags=flags) for flags in ((), programs.PERTURB, programs.THREADS)]
        words = [str(asked.seed), str(-(-asked.wakes // 3))]
        add(programs.add_up(programs.run([[str(program), *words] for program in built], TIMEOUT_S)))
    report["elapsed_s"] = round(time.monotonic() - began_s, 1)
    print(json.dumps(report))
    return 1 if report["violations"] else 0


if __name__ == "__main__":
    sys.exit(main())
