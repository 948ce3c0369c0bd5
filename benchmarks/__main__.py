"""``python -m benchmarks``: measure, check, compare, and write what came out."""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from benchmarks import pages, report, summary
from benchmarks.models import ModelError
from benchmarks.options import Options
from benchmarks.peers import HEAVY, LIGHT
from benchmarks.session import Session

CASES = (
    *("dispatch", "directory", "memory", "mnist", "startup", "gather", "latency", "commit", "listing", "splitting"),
    *("frames", "growth"),
)
PEERS = (*LIGHT, *HEAVY, "batchflow")
RUNS_MIN = 5
HERE = Path(__file__).parent


@dataclass(frozen=True)
class Request:
    """What is wanted instead of measuring: a record reported again, or the tables of the pages made anew."""

    report: Path | None
    readme: bool


def parse(arguments: Sequence[str] | None) -> tuple[Options, Request]:
    parser = argparse.ArgumentParser("python -m benchmarks", description=__doc__)
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"{', '.join(CASES)}; without one: all")
    parser.add_argument("--peers", metavar="A,B", help=f"only these of {', '.join(PEERS)}; batchflow always runs")
    parser.add_argument("--title", default="", metavar="TEXT", help="only scenarios whose title has this in it")
    parser.add_argument("--quick", action="store_true", help="a tenth of the work, 2 rounds: does it run at all")
    parser.add_argument("--runs", type=int, metavar="N", help=f"undisturbed rounds wanted (default {RUNS_MIN})")
    parser.add_argument("--mini-batches", type=int, metavar="N", help="of the no-op cases (default 20000, quick 2000)")
    parser.add_argument("--big", action="store_true", help="10,000,000 items in the case growth, too")
    parser.add_argument("--workers", type=int, default=2, metavar="N", help="(default 2)")
    parser.add_argument("--mnist", type=Path, metavar="DIR", help="folder of the MNIST IDX files (default: digits)")
    parser.add_argument("--model", type=Path, metavar="DIR", help="folder of the tutorials' checkpoint mnist-tf.model")
    parser.add_argument("--out", type=Path, default=HERE / "results", metavar="DIR", help="where the results go")
    parser.add_argument("--name", help="file name of the results without suffix (default latest, or quick)")
    parser.add_argument("--data", type=Path, default=HERE.parent / "build" / "benchmarks", metavar="DIR")
    parser.add_argument("--foreign-limit", type=float, metavar="SHARE", help="of the machine (default 0.1, quick 1)")
    parser.add_argument("--report", type=Path, metavar="JSON", help="measure nothing, report this record again")
    parser.add_argument("--readme", action="store_true", help="measure nothing, make the tables of the pages anew")
    chosen = parser.parse_args(arguments)
    for name, known in (("cases", CASES), ("peers", PEERS)):
        named = chosen.cases if name == "cases" else (chosen.peers or "").split(",") if chosen.peers else []
        unknown = [one for one in named if one not in known]
        if unknown:
            parser.error(f"unknown {name}: {', '.join(unknown)} (known: {', '.join(known)})")
    options = Options(
        cases=tuple(chosen.cases) or CASES,
        peers=tuple(chosen.peers.split(",")) if chosen.peers else None,
        quick=chosen.quick,
        runs=chosen.runs or (2 if chosen.quick else RUNS_MIN),
        mini_batches=chosen.mini_batches or (2_000 if chosen.quick else 20_000),
        workers=chosen.workers,
        mnist=chosen.mnist,
        model=chosen.model,
        data=chosen.data.absolute(),
        out=chosen.out,
        name=chosen.name or ("quick" if chosen.quick else "latest"),
        foreign_limit=chosen.foreign_limit or (1.0 if chosen.quick else 0.1),
        big=chosen.big,
        title=chosen.title,
    )
    return options, Request(chosen.report, chosen.readme)


def main(arguments: Sequence[str] | None = None) -> int:
    options, request = parse(arguments)
    if request.report is not None:
        write(json.loads(request.report.read_text()), options)
        return 0
    if request.readme:
        changed = pages.update(options.out)
        say(f"written: {', '.join(path.name for path in changed) or 'nothing, all is up to date'}")
        return 0
    try:
        importlib.import_module("batchflow._core")
    except ImportError as error:
        say(f"the compiled core is not there, nothing is measured without it: {error}")
        say("hint: python -m pip install -e '.[bench]'")
        return 2
    try:
        record = measure(options)
    except ModelError as error:
        say(f"error: {error}")
        return 1
    write(record, options)
    print(report.markdown(record))
    variants = [variant for one in record["scenarios"] for variant in one["variants"]]
    bad = [one["name"] for one in variants if one["wrong"] or (one["missing"] or "").startswith("failed")]
    if bad:
        say(f"error: wrong results or none from {', '.join(bad)}")
    return 1 if bad else 0


def measure(options: Options) -> dict[str, Any]:
    """All scenarios of all cases, as the record that is written."""
    session = Session(options, say)
    scenarios = []
    for name in options.cases:
        for scenario in importlib.import_module(f"benchmarks.cases.{name}").setup(options):
            if options.title not in scenario.title:
                continue
            say(f"{name}: {scenario.title}")
            scenarios.append(summary.scenario_record(session.measure(scenario), options.foreign_limit))
    return {
        "schema": 2,
        "created": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "commit": summary.commit(),
        "machine": summary.machine(),
        "versions": summary.versions(),
        "options": {
            "cases": options.cases,
            "peers": options.peers,
            "quick": options.quick,
            "runs": options.runs,
            "mini_batches": options.mini_batches,
            "workers": options.workers,
            "images": "mnist" if options.mnist else "digits",
            "foreign_limit": options.foreign_limit,
        },
        "scenarios": scenarios,
        "fits": summary.fits(scenarios),
    }


def write(record: dict[str, Any], options: Options) -> None:
    """Three kinds of file beside each other: the JSON, the table, the chart."""
    options.out.mkdir(parents=True, exist_ok=True)
    stem = options.out / options.name
    draft = stem.with_name(f"{stem.name}.json.tmp")
    draft.write_text(json.dumps(record, indent=1) + "\n")
    draft.replace(stem.with_name(f"{stem.name}.json"))
    stem.with_name(f"{stem.name}.md").write_text(report.markdown(record))
    report.chart(record, [stem.with_name(f"{stem.name}{suffix}") for suffix in (".png", ".svg")])
    say(f"written: {stem}.json, .md, .png, .svg")


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
