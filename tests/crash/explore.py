"""L1 and L2: a kill at every operation, and every operation failing, each followed by the same command again.

    python -m tests.crash.explore --budget quick|nightly|release [--seed N] [--workload NAME]
    python -m tests.crash.explore --replay 'text-spill kill@41/500'

A kill between two operations that change nothing leaves the same files as a kill before the first of them; such points
are one state and counted once.  Killed resumes (two and three levels) are a sample, chosen by the seed.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Iterator, Sequence

from tests.crash import campaign
from tests.crash.control import Entry, Kind
from tests.crash.crew import Crew, Task
from tests.crash.scenario import Event, Player, Scenario
from tests.crash.workloads import LINGERING, WORKLOADS

PERMILLES = (10, 500, 990)
_NO_EFFECT = (Kind.OPEN, Kind.CLOSE, Kind.SYNC, Kind.SYNC_ALL, Kind.MAP)
_WRITE_FAULTS = ("ENOSPC", "ENOSPC+", "EIO", "EIO+", "EDQUOT", "EDQUOT+", "EINTR")
_SHORTS = ("short", "short+", "short=ENOSPC")
_FAULTS = {
    Kind.WRITE: _WRITE_FAULTS,
    Kind.CREATE: ("ENOSPC", "ENOSPC+", "EIO", "EDQUOT+", "EINTR", "EMFILE"),
    Kind.OPEN: ("EIO", "EINTR", "EMFILE"),
    Kind.TRUNCATE: ("EIO", "EIO+", "EINTR"),
    Kind.ALLOCATE: ("ENOSPC+", "EIO", "ENOSYS", "EOPNOTSUPP"),
    Kind.SYNC: ("EIO", "EIO+", "ENOSPC", "EDQUOT", "EINTR"),
    Kind.SYNC_ALL: ("EIO", "EIO+"),
    Kind.RENAME: ("EIO", "ENOSPC", "EXDEV"),
    Kind.EXCHANGE: ("EIO", "EINVAL", "ENOSYS"),
    Kind.LINK: ("EIO",),
    Kind.UNLINK: ("EIO", "EIO+"),
    Kind.MKDIR: ("ENOSPC", "ENOSPC+", "EIO", "EDQUOT+"),
    Kind.RMDIR: ("EIO",),
    Kind.CLOSE: ("EIO",),
}
EVERY = 1 << 60
_BUDGETS = {
    # how many of the first level, of resumes, of their resumes, with a process that keeps the lock; of failing
    # operations, of those that fail in a resume, of failing reads
    "quick": {"first": 1700, "second": 250, "third": 150, "lingering": 30, "faults": 850, "resumed": 200, "reads": 100},
    "nightly": {
        "first": EVERY,
        "second": 4000,
        "third": 2000,
        "lingering": 200,
        "faults": 12_000,
        "resumed": 2000,
        "reads": 1500,
    },
    "release": {
        "first": EVERY,
        "second": 50_000,
        "third": 50_000,
        "lingering": 1000,
        "faults": EVERY,
        "resumed": 50_000,
        "reads": EVERY,
    },
}


def kill_events(log: Sequence[Entry]) -> Iterator[Event]:
    """A kill before each operation that changes something, in the middle of each write, and at the very end."""
    for entry in log:
        if entry.error or entry.kind in _NO_EFFECT:
            continue
        yield Event("kill", entry.number)
        if entry.kind is Kind.WRITE:
            parts = {max(1, entry.length * permille // 1000): permille for permille in reversed(PERMILLES)}
            torn = [permille for part, permille in parts.items() if part < entry.length]
            yield from (Event("kill", entry.number, permille) for permille in torn)
    if log:
        yield Event("kill", log[-1].number)


def fault_events(log: Sequence[Entry]) -> Iterator[Event]:
    """Every operation failing in each way that it can fail; closing only where something was written."""
    written = {entry.path for entry in log if entry.kind is Kind.WRITE}
    for entry in log:
        faults = _FAULTS.get(entry.kind, ())
        for fault in faults if entry.kind is not Kind.CLOSE or entry.path in written else ():
            yield Event("fail", entry.number, error=fault.rstrip("+"), for_ever=fault.endswith("+"))
        if entry.kind is Kind.WRITE and entry.length > 1:
            for fault in _SHORTS:
                _, _, error = fault.partition("=")
                yield Event("short", entry.number, error=error, for_ever=fault.endswith("+"))


def list_kills(player: Player, workload: str, phase: int) -> list[str]:
    """Task: every kill of the first level."""
    log = player.logged(Scenario(workload, (), phase)).outcome.log
    return [str(Scenario(workload, (event,), phase)) for event in kill_events(log)]


def list_faults(player: Player, workload: str, phase: int) -> list[str]:
    log = player.logged(Scenario(workload, (), phase)).outcome.log
    return [str(Scenario(workload, (event,), phase)) for event in fault_events(log)]


def list_reads(player: Player, workload: str, phase: int) -> list[str]:
    """Task: every read failing, in a first run and in a resume."""
    found = []
    logged = player.logged(Scenario(workload, (), phase))
    kills = list(kill_events(logged.outcome.log))
    for events in ((), (kills[len(kills) * 2 // 3],)):
        outcome = player.logged(Scenario(workload, events, phase)).outcome
        for number in range(1, outcome.read_count + 1):
            found.append(str(Scenario(workload, (*events, Event("read", number, error="EIO")), phase)))
    return found


def list_deeper(player: Player, scenario: str, count: int, seed: int, faults: bool = False) -> list[str]:
    """Task: some kills of the resume that follows this scenario, or some faults in it."""
    base = Scenario.parse(scenario)
    events = list((fault_events if faults else kill_events)(player.logged(base).outcome.log))
    chosen = random.Random(f"{scenario} {seed}").sample(events, min(count, len(events)))
    return [str(Scenario(base.workload, (*base.events, event), base.phase)) for event in chosen]


def every_phase(only: Sequence[str] | None) -> list[dict[str, object]]:
    return [
        {"workload": name, "phase": phase}
        for name, workload in WORKLOADS.items()
        for phase in range(len(workload.phases))
        if only is None or name in only
    ]


def _deeper(crew: Crew, scenarios: Sequence[str], count: int, seed: int, *, faults: bool = False) -> list[str]:
    """About ``count`` scenarios, one event longer than some of these."""
    each = 4
    chosen = campaign.sample(scenarios, max(1, count // each), seed)
    tasks = [
        Task("explore:list_deeper", {"scenario": one, "count": each, "seed": seed, "faults": faults}) for one in chosen
    ]
    return [text for found in campaign.gather(crew, tasks) for text in found][:count]


def explore(crew: Crew, totals: campaign.Totals, arguments: argparse.Namespace) -> None:
    budget, seed = _BUDGETS[arguments.budget], arguments.seed
    replay = "python -m tests.crash.explore"
    phases = every_phase(arguments.workload)

    def listed(function: str) -> list[str]:
        found = campaign.gather(crew, [Task(f"explore:{function}", one) for one in phases])
        return [text for some in found for text in some]

    kills = listed("list_kills")
    campaign.play(crew, totals, "kill_states", campaign.sample(kills, budget["first"], seed), replay)
    second = _deeper(crew, kills, budget["second"], seed)
    campaign.play(crew, totals, "kill_states", second, replay)
    campaign.play(crew, totals, "kill_states", _deeper(crew, second, budget["third"], seed + 1), replay)
    (lingering,) = campaign.gather(crew, [Task("explore:list_kills", {"workload": LINGERING.name, "phase": 0})])
    campaign.play(crew, totals, "kill_states", campaign.sample(lingering, budget["lingering"], seed), replay)
    faults = campaign.sample(listed("list_faults"), budget["faults"], seed)
    campaign.play(crew, totals, "io_faults", faults, replay)
    resumed = _deeper(crew, kills, budget["resumed"], seed, faults=True)
    campaign.play(crew, totals, "io_faults", resumed, replay)
    reads = campaign.sample(listed("list_reads"), budget["reads"], seed)
    campaign.play(crew, totals, "io_faults", reads, replay)


def main(argv: Sequence[str] | None = None) -> int:
    return campaign.run(__doc__ or "", "explore", explore, argv)


if __name__ == "__main__":
    sys.exit(main())
