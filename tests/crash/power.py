"""L3 and L3b: every disk that a loss of power can leave, the same command again on each; and exit 0 means durable.

    python -m tests.crash.power --budget quick|nightly|release [--seed N] [--workload NAME]
    python -m tests.crash.power --replay 'text-spill cut@57=r3,2 cut@9=none,0'

After each operation of a logged run the disk model gives: nothing unsynced survived, everything, sizes without data,
and selections of sectors by seeds; each with none, all and some of the pending names.  Equal disks count once.  The
deeper levels, a loss in the resume of a loss, are samples chosen by the seed; so are losses after a kill and a resume,
where what the killed run wrote may still be on its way, and after a sync that failed.
"""

from __future__ import annotations

import argparse
import hashlib
import random
import sys
from collections.abc import Iterator, Sequence

from tests.crash import campaign
from tests.crash.control import Kind
from tests.crash.crew import Crew, Task
from tests.crash.disk import Disk, File, Tree
from tests.crash.explore import EVERY, every_phase, kill_events
from tests.crash.scenario import Event, Logged, Player, Scenario
from tests.crash.workloads import WORKLOADS

_BUDGETS = {
    # seeds for selections of sectors; samples: first level (EVERY: all), deeper ones, after kills, after failed syncs
    "quick": {"seeds": 2, "first": 1600, "second": 500, "third": 300, "killed": 300, "syncs": 200, "exits": 12},
    "nightly": {
        "seeds": 4,
        "first": 18_000,
        "second": 6000,
        "third": 4000,
        "killed": 3000,
        "syncs": 2000,
        "exits": 100,
    },
    "release": {
        "seeds": 30,
        "first": EVERY,
        "second": 100_000,
        "third": 100_000,
        "killed": 100_000,
        "syncs": 20_000,
        "exits": 1000,
    },
}


def cut_events(logged: Logged, seeds: Sequence[int], numbers: Sequence[int] | None = None) -> Iterator[Event]:
    """Power losses after each operation (or those of ``numbers``) that leave different disks."""
    seen: set[bytes] = set()
    disk = logged.disk.copy()
    last = 0
    for number in range(logged.outcome.op_count + 1):
        disk.apply([one for one in logged.outcome.log if last < one.number <= number], logged.shown)
        last = number
        if numbers is None or number in numbers:
            for data, names in _ways(disk, seeds, number):
                tree = _digest(disk.after_power_loss(data, names))
                if tree not in seen:
                    seen.add(tree)
                    yield Event("cut", number, data=data, names=names)


def _ways(disk: Disk, seeds: Sequence[int], number: int) -> Iterator[tuple[str, int]]:
    pending = disk.pending_names
    some = random.Random(number).randint(0, pending)
    for data in ("none", "all", "size", *(f"r{number * 1000 + seed}" for seed in seeds)):
        for names in sorted({0, pending, some}):
            yield data, names


def _digest(tree: Tree) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    for path, one in tree.items():
        content = one.content if isinstance(one, File) else b""
        digest.update(f"{path}\0{type(one).__name__}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.digest()


def list_cuts(player: Player, workload: str, phase: int, seeds: int) -> list[str]:
    """Task: every power loss in a run that nothing else happens to."""
    logged = player.logged(Scenario(workload, (), phase))
    return [str(Scenario(workload, (event,), phase)) for event in cut_events(logged, range(seeds))]


def list_exits(player: Player, workload: str, phase: int, seeds: int) -> list[str]:
    """Task: every power loss after the command has ended with 0, with nothing run afterwards."""
    return exits_after(player, str(Scenario(workload, (), phase)), seeds)


def exits_after(player: Player, scenario: str, seeds: int) -> list[str]:
    """Task: the same, after the resume that follows a scenario."""
    base = Scenario.parse(scenario)
    if WORKLOADS[base.workload].phases[base.phase].exit_code != 0:
        return []
    logged = player.logged(base)
    events = cut_events(logged, range(seeds), [logged.outcome.op_count])
    return [str(Scenario(base.workload, (*base.events, event, Event("exit")), base.phase)) for event in events]


def cuts_after(player: Player, scenario: str, count: int, seed: int) -> list[str]:
    """Task: some power losses in the run that follows a scenario."""
    base = Scenario.parse(scenario)
    logged = player.logged(base)
    rng = random.Random(f"{scenario} {seed}")
    numbers = [rng.randint(0, logged.outcome.op_count) for _ in range(count)]
    events = list(cut_events(logged, (seed, seed + 1), numbers))
    chosen = rng.sample(events, min(count, len(events)))
    return [str(Scenario(base.workload, (*base.events, event), base.phase)) for event in chosen]


def list_kills(player: Player, workload: str, phase: int) -> list[str]:
    """Task: kills, to be followed by a resume that loses power."""
    events = kill_events(player.logged(Scenario(workload, (), phase)).outcome.log)
    return [str(Scenario(workload, (event,), phase)) for event in events]


def list_failing_syncs(player: Player, workload: str, phase: int) -> list[str]:
    """Task: syncs that fail once; what they should have written is lost, whatever a later sync says."""
    log = player.logged(Scenario(workload, (), phase)).outcome.log
    syncs = [one.number for one in log if one.kind is Kind.SYNC and not one.error]
    return [str(Scenario(workload, (Event("fail", number, error="EIO"),), phase)) for number in syncs]


def _after(crew: Crew, function: str, scenarios: Sequence[str], count: int, each: int, seed: int) -> list[str]:
    chosen = campaign.sample(scenarios, max(1, count // each), seed)
    tasks = [Task(f"power:{function}", {"scenario": one, "count": each, "seed": seed}) for one in chosen]
    return [text for found in campaign.gather(crew, tasks) for text in found][:count]


def explore(crew: Crew, totals: campaign.Totals, arguments: argparse.Namespace) -> None:
    budget, seed = _BUDGETS[arguments.budget], arguments.seed
    replay = "python -m tests.crash.power"
    phases = every_phase(arguments.workload)

    def listed(function: str, **keys: object) -> list[str]:
        found = campaign.gather(crew, [Task(f"power:{function}", {**one, **keys}) for one in phases])
        return [text for some in found for text in some]

    every = listed("list_cuts", seeds=budget["seeds"])
    first = campaign.sample(every, budget["first"], seed)
    campaign.play(crew, totals, "power_states", first, replay)
    second = _after(crew, "cuts_after", every, budget["second"], 10, seed)
    campaign.play(crew, totals, "power_states", second, replay)
    third = _after(crew, "cuts_after", second, budget["third"], 10, seed + 1)
    campaign.play(crew, totals, "power_states", third, replay)
    killed = _after(crew, "cuts_after", listed("list_kills"), budget["killed"], 10, seed)
    campaign.play(crew, totals, "power_states", killed, replay)
    syncs = listed("list_failing_syncs")
    each = max(1, budget["syncs"] // max(1, len(syncs)))
    failed = _after(crew, "cuts_after", syncs, budget["syncs"], each, seed)
    campaign.play(crew, totals, "power_states", failed, replay)
    exits = listed("list_exits", seeds=budget["exits"])
    tasks = [Task("power:exits_after", {"scenario": one, "seeds": 2}) for one in campaign.sample(second, 20, seed)]
    exits += [text for found in campaign.gather(crew, tasks) for text in found]
    campaign.play(crew, totals, "exit_states", exits, replay)


def main(argv: Sequence[str] | None = None) -> int:
    return campaign.run(__doc__ or "", "power", explore, argv)


if __name__ == "__main__":
    sys.exit(main())
