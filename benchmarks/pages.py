"""The tables in README.md and docs/performance.md, made from the records in ``benchmarks/results``.

Text stands between ``<!-- measured NAME -->`` and ``<!-- /measured -->``; nothing outside of these is touched.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import paper, report, targets
from benchmarks.records import Records, median, ratio, slower
from benchmarks.report import short, table_row

ROOT = Path(__file__).parents[1]
PAGES = (ROOT / "README.md", ROOT / "docs" / "performance.md")
CASES = ROOT / "benchmarks" / "cases"
PLACE = re.compile(r"(<!-- measured ([a-z-]+) -->\n).*?(<!-- /measured -->)", re.DOTALL)
CURVED = "growth"
CHART = ROOT / "docs" / "images" / "growth.png"
NOT_MEASURED = "Not measured yet."

COLUMNS = {
    "plain loop": "loop",
    "Pool, one a message": "pool, 1 a message",
    "Pool, best chunk": "pool, best",
    "executor, best": "executor, best",
    "joblib, best": "joblib, best",
}
IMAGE_SIDES = ("static", "pool, 1 a message", "loop")
TOGETHER = {"form": targets.TOGETHER}
ROWS: tuple[tuple[str, dict[str, Any], str, str, str], ...] = (
    ("dispatch", targets.SMALL, "dispatch", "no-op `run()`, listed files → output file, mini-batches of 10", "µs each"),
    ("directory", targets.SMALL, "whole", "the same from folder to file, size and mtime recorded", "µs each"),
    ("memory", targets.SMALL, "dispatch", "the same with lists in and lists out, `batchflow.map`", "µs each"),
    ("mnist", targets.SMALL | TOGETHER, "dispatch", "MNIST PNGs, TensorFlow, mini-batches of 10", "µs an image"),
    ("mnist", targets.HUNDRED | TOGETHER, "dispatch", "the same in mini-batches of 100", "µs an image"),
    ("mnist", {"form": "tuned"}, "dispatch", "the same without TensorFlow, tuned", "µs an image"),
)
PLAIN = "integers and strings without quotes"
SINGLES: tuple[tuple[str, str, str, str, str, str], ...] = (
    ("listing", "names", "batchflow", "list", "C loop, sorted", "listing a file by name"),
    ("listing", "manifest", "batchflow", "list", "C loop, sorted", "the same with size and mtime"),
    ("splitting", "one core", "batchflow", "split", "wc -l", "splitting a CSV with quoted line breaks, one core"),
    ("splitting", "two cores", "batchflow", "split", "polars count", "the same on two cores"),
    ("gather", "results of 1 MB into one file", "batchflow, process", "gather", "write() only", "gathering 1 MB"),
    ("frames", PLAIN, "batchflow, process", "gather", "write_csv in the workers", "gathering a frame of 1 MB as csv"),
    ("latency", "one mini-batch at a time", "batchflow", "latency", "Pool.apply", "round trip of one `Pool.submit`"),
    ("startup", "--help", "batchflow", "exit", "argparse stub", "`batchflow --help`"),
    ("startup", "a trivial step", "batchflow", "exit", "snakemake, one shell job", "a trivial parallel step"),
    ("commit", "append, 50 MB/s", "batchflow, full", "whole", "pool, parent writes", "500 MB of rows, exactly once"),
    ("commit", "resume", "batchflow", "whole", "", "finding what is left of 1,000,000 mini-batches"),
    ("commit", "finished, 1,000,000 items", "batchflow", "whole", "manifest listing", "seeing that all is done"),
)


def update(folder: Path) -> list[Path]:
    """Write every page anew from the records in ``folder``, and the curves; returns the pages that changed."""
    changed = []
    records = Records.load(folder)
    if curves := curves_of(CURVED, records):
        report.curves_chart(curves, CHART)
    for path in PAGES:
        before = path.read_text("utf-8")
        after = render(before, records)
        if after != before:
            path.write_text(after, "utf-8")
            changed.append(path)
    return changed


def curves_of(case: str, records: Records) -> list[dict[str, Any]]:
    return [scenario for scenario in records.of_case(case) if scenario["curves"]]


def render(text: str, records: Records) -> str:
    """The page with all its places filled.  Raises ``KeyError`` for a name that stands for nothing."""
    return PLACE.sub(lambda found: f"{found[1]}\n{block(found[2], records)}\n\n{found[3]}", text)


def block(name: str, records: Records) -> str:
    """The lines of one place: of a table that has a name, or all of a case.  Raises ``KeyError`` for any other name."""
    if name not in BLOCKS and not (CASES / f"{name}.py").is_file():
        raise KeyError(name)
    made = BLOCKS[name](records) if name in BLOCKS else case_lines(name, records)
    return "\n".join(made) or NOT_MEASURED


def readme_lines(records: Records) -> list[str]:
    """Two small tables: ratios to the usual tools, and single figures beside what they are compared with."""
    lines = []
    rows = [row for one in ROWS if (row := comparison_row(records, *one))]
    if rows:
        lines += [table_row(["case, 2 workers", "batchflow", *COLUMNS]), "|---" * (2 + len(COLUMNS)) + "|", *rows]
    singles = [row for one in SINGLES if (row := single_row(records, *one))]
    if singles:
        lines += ["", "| | batchflow | against | |", "|---|---|---|---|", *singles]
    return lines


def comparison_row(records: Records, case: str, where: dict[str, Any], metric: str, text: str, unit: str) -> str | None:
    scenario = records.find(case, **where)
    ours = median(scenario, "batchflow", metric)
    if scenario is None or ours is None:
        return None
    return table_row(
        [text, f"{short(ours)} {unit}", *(times(ratio(scenario, one, metric)) for one in COLUMNS.values())]
    )


def single_row(records: Records, case: str, title: str, ours: str, metric: str, against: str, text: str) -> str | None:
    scenario = records.find(case, title=title)
    took = median(scenario, ours, metric)
    if scenario is None or took is None:
        return None
    peer = median(scenario, against, metric)
    unit = next(one["unit"] for one in scenario["metrics"] if one["key"] == metric)
    return table_row([text, f"{short(took)} {unit}", against or "–", times(peer / took if peer else None)])


def times(value: float | None) -> str:
    return "–" if value is None else f"{float(f'{value:.2g}'):g} ×"


def machine_lines(records: Records) -> list[str]:
    """Where each record was made, on what, and how much of it was disturbed."""
    lines = ["| record | when | commit | machine | Python | runs counted | dropped | others up to |"]
    lines += ["|---|---|---|---|---|---:|---:|---:|"]
    for name, record in records.records.items():
        machine = record["machine"]
        variants = [variant for scenario in record["scenarios"] for variant in scenario["variants"]]
        lines.append(
            table_row(
                [
                    f"[{name}](../benchmarks/results/{name}.md)",
                    record["created"],
                    str(record["commit"]),
                    f"{machine['cpus_usable']} CPUs, {machine['cpu']}, {machine['memory_bytes'] / 2**30:.0f} GiB, "
                    f"Linux {machine['kernel'].partition('-')[0]}",
                    machine["python"],
                    str(sum(variant["counted"] for variant in variants)),
                    str(sum(variant["dropped"] for variant in variants)),
                    f"{record['options']['foreign_limit']:.0%}",
                ]
            )
        )
    return lines


def target_lines(records: Records) -> list[str]:
    """Every target with what was measured, then those that no record judges."""
    lines = ["| case | side, measure | target | measured | |", "|---|---|---|---:|---|"]
    judged = [verdict for one in records.scenarios.values() for verdict in targets.verdicts(one)]
    for verdict in judged:
        scenario = verdict.scenario
        lines.append(
            table_row(
                [
                    f"{scenario['case']}: {scenario['title']}",
                    f"{verdict.target.ours}: {verdict.measure}",
                    verdict.wanted,
                    verdict.found,
                    "met" if verdict.is_met else "**missed**",
                ]
            )
        )
    met = sum(verdict.is_met for verdict in judged)
    left = len(targets.TARGETS) - len({id(verdict.target) for verdict in judged})
    return [*lines, "", f"{met} of {len(judged)} met; {left} more targets are not judged by any record yet."]


def slower_lines(records: Records) -> list[str]:
    """Everything that was faster than batchflow in the same rounds, the farthest first."""
    found = sorted(
        (value, scenario, name, metric)
        for scenario in (dict_key(one) for one in records.scenarios.values())
        for name, metric, value in slower_of(records, scenario)
    )
    lines = ["| case | what was faster | measure | its time ÷ batchflow's |", "|---|---|---|---:|"]
    lines += [table_row([f"{key[0]}: {key[1]}", name, metric, f"{value:.2f}"]) for value, key, name, metric in found]
    return lines if found else []


def dict_key(scenario: dict[str, Any]) -> tuple[str, str]:
    return scenario["case"], scenario["title"]


def slower_of(records: Records, key: tuple[str, str]) -> list[tuple[str, str, float]]:
    return [(name, metric["title"], value) for name, metric, value in slower(records.scenarios[key])]


def case_lines(case: str, records: Records) -> list[str]:
    """All tables of a case, and its chart where it has curves."""
    lines: list[str] = []
    for scenario in records.of_case(case):
        head, *rest = report.scenario_lines(scenario)
        lines += ["", f"#{head}", *rest]
    if case == CURVED and curves_of(case, records):
        lines += ["", f"![Time and memory as the work grows](images/{CHART.name})"]
    fits = [fit for name, record in records.records.items() for fit in record["fits"]] if case == "dispatch" else []
    if fits:
        lines += ["", *report.fit_lines(fits)]
    return lines[1:]


def image_lines(records: Records) -> list[str]:
    """Every size in a row of its own, and the whole tables of those that were measured beside more than the usual."""
    found = records.of_case("mnist")
    lines = ["| images | batchflow, µs an image |" + "".join(f" {side} |" for side in IMAGE_SIDES)]
    lines += ["|---|---:|" + "---:|" * len(IMAGE_SIDES)]
    for scenario in found:
        title = scenario["title"].partition(", ")[2]
        ratios = (times(ratio(scenario, side, "dispatch")) for side in IMAGE_SIDES)
        lines.append(table_row([title, short(median(scenario, "batchflow", "dispatch") or 0.0), *ratios]))
    for scenario in found:
        if len(scenario["variants"]) > len(IMAGE_SIDES) + 1:
            head, *rest = report.scenario_lines(scenario)
            lines += ["", f"#{head}", *rest]
    return lines if found else []


BLOCKS: dict[str, Callable[[Records], list[str]]] = {
    "readme": readme_lines,
    "machines": machine_lines,
    "targets": target_lines,
    "slower": slower_lines,
    "paper": paper.lines,
    "mnist": image_lines,
}
