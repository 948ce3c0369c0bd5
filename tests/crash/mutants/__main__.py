"""Each bug in a copy of the product, the same sample of states on each copy, and the table of who caught what.

    python -m tests.crash.mutants [--seed N] [--only TEXT] [--states N] [--show N]

A layer has caught a bug when one of its states is violated.  Exit 1 if a bug was caught by nobody, or if the product
as it is fails a state.  The last line has the figures as JSON.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.crash import campaign
from tests.crash.crew import ROOT, Crew, Task, shim_is_missing
from tests.crash.mutants.bugs import Bug, load_bugs
from tests.crash.workloads import LINGERING, WORKLOADS

COPIES = ROOT / "build" / "crash" / "mutants"
LAYERS = {
    "L1 kill": ("explore:list_kills",),
    "L2 fault": ("explore:list_faults", "explore:list_reads"),
    "L3 power": ("power:list_cuts",),
    "L3 fault, then power": ("power:list_failing_syncs",),
    "L3b exit": ("power:list_exits",),
    "L4 lock kept": ("explore:list_kills",),
}
_PRODUCT = Bug("(the product as it is)", (), tuple(WORKLOADS))


def copy_with(bug: Bug, product: Path, number: int) -> Path:
    """The package with the bug in it, in a folder of its own."""
    folder = COPIES / str(number)
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(product / "batchflow", folder / "batchflow", ignore=shutil.ignore_patterns("__pycache__", "core"))
    for name, text in bug.sources(product).items():
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def states_of(crew: Crew, layer: str, bug: Bug, count: int, seed: int) -> list[str]:
    """A sample of the layer's states for the workloads that come by the bug."""
    names = (LINGERING.name,) if layer == "L4 lock kept" else bug.workloads
    phases = [(name, phase) for name in names for phase in range(len(WORKLOADS.get(name, LINGERING).phases))]
    keys = {"seeds": 2} if layer in ("L3 power", "L3b exit") else {}
    found: list[str] = []
    for function in LAYERS[layer]:
        tasks = [Task(function, {"workload": name, "phase": phase, **keys}) for name, phase in phases]
        listed = [text for some in campaign.gather(crew, tasks) for text in some]
        found += campaign.sample(listed, count // len(LAYERS[layer]), seed)
    if layer == "L3 fault, then power":
        chosen = campaign.sample(found, max(1, count // 3), seed)
        tasks = [Task("power:cuts_after", {"scenario": one, "count": 3, "seed": seed}) for one in chosen]
        found = [text for some in campaign.gather(crew, tasks) for text in some]
    return campaign.sample(found, 12 if layer == "L4 lock kept" else count, seed)


def try_out(bug: Bug, number: int, arguments: argparse.Namespace) -> dict[str, tuple[int, int]]:
    """Layer → (violated, played)."""
    found = {}
    with Crew(arguments.jobs, copy_with(bug, arguments.product, number)) as crew:
        for layer in LAYERS:
            totals = campaign.Totals(layer, "mutants", arguments.seed, shown_max=arguments.show)
            states = states_of(crew, layer, bug, max(bug.states, arguments.states), arguments.seed)
            campaign.play(crew, totals, layer, states, f"{bug.name}, {layer}:")
            found[layer] = (totals.violations, totals.counts[layer])
    shutil.rmtree(COPIES / str(number))
    return found


def _row(name: str, found: dict[str, tuple[int, int]]) -> str:
    cells = [f"**{bad}/{all}**" if bad else f"0/{all}" for bad, all in found.values()]
    return f"| {name} | " + " | ".join(cells) + " |"


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.crash.mutants", description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--states", type=int, default=120, help="of each layer for each bug")
    parser.add_argument("--show", type=int, default=0, metavar="N", help="print so many violations of each layer")
    parser.add_argument("--product", type=Path, default=ROOT, help="the folder that holds the package batchflow")
    parser.add_argument("--only", help="bugs whose name has this in it")
    arguments = parser.parse_args(argv)
    reason = shim_is_missing()
    if reason is not None:
        print(json.dumps({"layer": "mutants", "skipped": reason}))
        return 0
    print("| bug | " + " | ".join(LAYERS) + " |")
    print("|---|" + "---|" * len(LAYERS))
    bugs = load_bugs()
    missed, caught = [], 0
    for number, bug in enumerate((_PRODUCT, *bugs)):
        if arguments.only and arguments.only not in bug.name:
            continue
        found = try_out(bug, number, arguments)
        print(_row(bug.name, found), flush=True)
        is_caught = any(bad for bad, _ in found.values())
        if is_caught == (bug is _PRODUCT):
            missed.append(bug.name)
        caught += is_caught and bug is not _PRODUCT
    print(json.dumps({"layer": "mutants", "bugs": len(bugs), "caught": caught, "wrong": missed}))
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
