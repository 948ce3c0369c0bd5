"""What the layers have in common: a face on the command line, playing lists of scenarios, adding up the results."""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from tests.crash.crew import Crew, Task, chunks, shim_is_missing
from tests.crash.scenario import Player, Scenario


@dataclass
class Totals:
    """Figures of one layer."""

    layer: str
    budget: str
    seed: int
    shown_max: int = 20
    """Violations that are printed in full; the others are counted."""
    counts: Counter[str] = field(default_factory=Counter)
    violations: int = 0
    silent: int = 0
    missed: int = 0
    started_s: float = field(default_factory=time.monotonic)

    def add(self, kind: str, results: Sequence[dict[str, Any]], replay: str) -> None:
        """Count what came of some scenarios, and print the line that replays each failure."""
        self.counts[kind] += len(results)
        for one in results:
            self.missed += one["missed"]
            if one["violations"]:
                self.violations += 1
                self.silent += one["is_silent"]
                if self.violations <= self.shown_max:
                    told = "".join(f"\n    {text}" for text in one["violations"][:5])
                    print(f"VIOLATION {replay} --replay '{one['scenario']}'{told}", flush=True)

    def as_dict(self) -> dict[str, Any]:
        elapsed_s = time.monotonic() - self.started_s
        return {
            "layer": self.layer,
            "budget": self.budget,
            "seed": self.seed,
            **self.counts,
            "violations": self.violations,
            "silent": self.silent,
            "missed": self.missed,
            "elapsed_s": round(elapsed_s, 1),
        }


def play_all(player: Player, scenarios: list[str]) -> list[dict[str, Any]]:
    """Task: play each of them."""
    results = []
    for text in scenarios:
        verdict = player.play(Scenario.parse(text))
        results.append(
            {
                "scenario": text,
                "violations": verdict.violations,
                "is_silent": verdict.is_silent,
                "missed": verdict.missed,
            }
        )
    return results


def gather(crew: Crew, tasks: Sequence[Task]) -> list[list[str]]:
    """The lists that the tasks return, in the order of the tasks."""
    found: dict[int, list[str]] = {}
    place = {id(task): index for index, task in enumerate(tasks)}
    crew.work(tasks, lambda task, result: found.__setitem__(place[id(task)], result))
    return [found[index] for index in range(len(tasks))]


def play(crew: Crew, totals: Totals, kind: str, scenarios: Sequence[str], replay: str, size: int = 25) -> None:
    """Play them in chunks of neighbours, and add up."""
    tasks = [Task("campaign:play_all", {"scenarios": one}) for one in chunks(scenarios, size)]
    crew.work(tasks, lambda _, result: totals.add(kind, result, replay))


def sample(scenarios: Sequence[str], count: int, seed: int) -> list[str]:
    """At most so many of them, in their order."""
    if count >= len(scenarios):
        return list(scenarios)
    chosen = sorted(random.Random(seed).sample(range(len(scenarios)), count))
    return [scenarios[index] for index in chosen]


def arguments_of(description: str, argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--budget", choices=("quick", "nightly", "release"), default="quick")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--workload", action="append", help="only this one (may be repeated)")
    parser.add_argument("--replay", help="play one scenario and tell what happened")
    parser.add_argument("--show", type=int, default=20, metavar="N", help="print so many violations in full")
    parser.add_argument("--product", type=Path, help="the folder that holds the package batchflow")
    return parser.parse_args(argv)


def replay(player: Player, scenario: str) -> dict[str, Any]:
    """Task: play one, and say what its events met."""
    verdict = player.play(Scenario.parse(scenario))
    return {"hits": verdict.hits, "violations": verdict.violations, "missed": verdict.missed}


Campaign: TypeAlias = Callable[[Crew, Totals, argparse.Namespace], None]


def run(description: str, layer: str, campaign: Campaign, argv: Sequence[str] | None) -> int:
    """The face of a layer: one JSON line of totals, exit 1 if anything was violated."""
    arguments = arguments_of(description, argv)
    reason = shim_is_missing()
    if reason is not None:
        print(json.dumps({"layer": layer, "skipped": reason}))
        return 0
    with Crew(1 if arguments.replay else arguments.jobs, arguments.product) as crew:
        if arguments.replay:
            return _replay(crew, arguments.replay)
        totals = Totals(layer, arguments.budget, arguments.seed, arguments.show)
        campaign(crew, totals, arguments)
    print(json.dumps(totals.as_dict()), flush=True)
    return 1 if totals.violations else 0


def _replay(crew: Crew, scenario: str) -> int:
    told: list[dict[str, Any]] = []
    crew.work([Task("campaign:replay", {"scenario": scenario})], lambda _, result: told.append(result))
    for hit in told[0]["hits"]:
        print(f"met: {hit}")
    for violation in told[0]["violations"]:
        print(f"VIOLATION {violation}")
    print("no violation" if not told[0]["violations"] else f"{len(told[0]['violations'])} violations", file=sys.stderr)
    return 1 if told[0]["violations"] else 0
