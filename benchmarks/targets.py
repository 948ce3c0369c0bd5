"""What batchflow shall reach, each as a ratio of two sides of one scenario or as a bound of its own, and the verdicts.

Pure: made from a record alone, so that old records are judged by today's targets.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from benchmarks.values import OURS


@dataclass(frozen=True)
class Target:
    """Ours shall take at most ``at_most`` times what ``against`` takes; without that, at most so much of the unit."""

    case: str
    metric: str
    at_most: float
    against: str = ""
    """Name of a variant; ``NAME, best`` is the fastest with more than one mini-batch a message."""
    ours: str = OURS
    where: Mapping[str, Any] = field(default_factory=dict)
    """Fields of the scenario's record, by name."""
    form: str = ""
    """A part of the scenario's title, between commas."""


@dataclass(frozen=True)
class Verdict:
    target: Target
    scenario: Mapping[str, Any]
    measured: float

    @property
    def is_met(self) -> bool:
        return self.measured <= self.target.at_most

    @property
    def wanted(self) -> str:
        """``≤ 3 × that of python -c pass``, ``≥ 25 × less than pool``, ``≤ 2 s``."""
        target = self.target
        if not target.against:
            return f"≤ {target.at_most:g} {self._unit}"
        if target.at_most < 1:
            return f"≥ {1 / target.at_most:.3g} × less than {target.against}"
        return f"≤ {target.at_most:.3g} × that of {target.against}"

    @property
    def found(self) -> str:
        if not self.target.against:
            return f"{self.measured:.3g} {self._unit}"
        if self.target.at_most < 1:
            return f"{1 / self.measured:.3g} ×"
        return f"{self.measured:.3g} ×"

    @property
    def _unit(self) -> str:
        units = {metric["key"]: str(metric["unit"]) for metric in self.scenario["metrics"]}
        return units.get(self.target.metric) or COSTS[self.target.metric][1]

    @property
    def measure(self) -> str:
        """What was compared."""
        titles = {metric["key"]: str(metric["title"]) for metric in self.scenario["metrics"]}
        return titles.get(self.target.metric) or COSTS[self.target.metric][0]


ONE_BY_ONE = "one call of the model an image"
TOGETHER = "one call of the model a mini-batch"
COSTS = {
    "cpu_s": ("CPU time", "s"),
    "pss_peak_bytes": ("memory", "bytes"),
    "driver_cpu_us_per_mini_batch": ("driver's CPU time", "µs per mini-batch"),
}
"""What is measured of every variant beside the scenario's metrics: title, unit."""
SMALL = {"mini_batch_size": 10}
HUNDRED = {"mini_batch_size": 100}
TARGETS = (
    Target("dispatch", "dispatch", 1.25, "loop", where=SMALL),
    Target("dispatch", "dispatch", 1 / 25, "pool, 1 a message", where=SMALL),
    Target("dispatch", "dispatch", 1 / 4, "pool, best", where=SMALL),
    Target("dispatch", "dispatch", 1 / 4, "executor, best", where=SMALL),
    Target("dispatch", "dispatch", 1 / 2.5, "dataloader, best", where=SMALL),
    Target("dispatch", "driver_cpu_us_per_mini_batch", 0.5, where=SMALL),
    Target("directory", "whole", 1 / 2, "loop"),
    Target("directory", "whole", 1 / 3.5, "pool, 1 a message"),
    Target("memory", "dispatch", 1 / 8, "pool, 1 a message"),
    Target("memory", "dispatch", 1, "pool, best"),
    *(Target("mnist", "dispatch", 1 / 0.97, "static", form=form) for form in (ONE_BY_ONE, TOGETHER)),
    Target("mnist", "dispatch", 1 / 1.15, "pool, 1 a message", where=SMALL, form=ONE_BY_ONE),
    Target("mnist", "dispatch", 1 / 1.4, "pool, 1 a message", where=SMALL, form=TOGETHER),
    Target("mnist", "dispatch", 1, "pool, 1 a message", where=HUNDRED, form=ONE_BY_ONE),
    Target("mnist", "dispatch", 1, "pool, 1 a message", where=HUNDRED, form=TOGETHER),
    Target("mnist", "command", 1, "pool, 1 a message", where=SMALL, form=TOGETHER),
    Target("mnist", "command", 1 / 1.25, "joblib, auto", where=SMALL, form=TOGETHER),
    Target("mnist", "command", 1 / 2.3, "ray-actors, best", where=SMALL, form=TOGETHER),
    Target("mnist", "command", 1 / 3.5, "ray-data, best", where=SMALL, form=TOGETHER),
    Target("mnist", "command", 1 / 2, "dask, best", where=SMALL, form=TOGETHER),
    Target("mnist", "command", 1 / 3.5, "spark", where=SMALL, form=TOGETHER),
    Target("mnist", "cpu_s", 0.75, "pool, 1 a message", where=SMALL, form=TOGETHER),
    Target("mnist", "pss_peak_bytes", 0.78, "pool, 1 a message", where=SMALL, form=TOGETHER),
    Target("mnist", "dispatch", 1 / 20, "loop, the tutorials' run()", form="tuned"),
    Target("latency", "latency", 1 / 5, "multiprocessing.Pipe"),
    Target("latency", "latency", 1 / 5, "multiprocessing.Pipe", "rings"),
    Target("listing", "list", 1 / 0.8, "C loop, sorted", where={"title": "names"}),
    Target("listing", "list", 1 / 1.7, "os.scandir", where={"title": "names"}),
    Target("listing", "beyond_names", 24, where={"title": "manifest"}),
    Target("listing", "list", 1 / 0.8, "C loop, sorted", where={"title": "manifest"}),
    Target("gather", "gather", 1 / 0.55, "write() only", "batchflow, process"),
    Target("gather", "gather", 1 / 0.55, "write() only", "batchflow, process, as they come"),
    Target("gather", "gather", 1 / 0.55, "write() and fdatasync", "batchflow, full"),
    Target("gather", "gather", 1 / 0.55, "write() and fdatasync", "batchflow, full, as they come"),
    Target("gather", "gather", 1 / 3.5, "Pool, pickled", "batchflow, process"),
    *(
        Target("frames", "gather", bound, f"{way} in the workers", "batchflow, process", where={"title": title})
        for way, title, bound in (
            ("write_csv", "integers and strings without quotes", 1 / 0.95),
            ("to_csv", "floats, truth and quotes, too", 1 / 3),
        )
    ),
    Target("listing", "list", 1 / 0.8, "C loop, sorted on all cores", where={"title": "manifest"}),
    Target("splitting", "split", 1 / 0.9, "wc -l", where={"title": "one core"}),
    Target("splitting", "split", 1 / 2, "wc -l", where={"title": "two cores"}),
    Target("splitting", "split", 1, "polars count", where={"title": "two cores"}),
    Target("splitting", "split", 1 / 10, "DuckDB count", where={"title": "two cores"}),
    Target("splitting", "split", 1 / 20, "pyarrow.csv.open_csv", where={"title": "two cores"}),
    Target("splitting", "memory", 16, where={"title": "two cores"}),
    Target("startup", "exit", 3, "python -c pass", where={"title": "--version"}),
    Target("startup", "exit", 1.5, "argparse stub", where={"title": "--help"}),
    Target("startup", "exit", 1 / 5, "snakemake -n, one rule", where={"title": "run -n on 20 steps"}),
    Target(
        "startup",
        "exit",
        1 / 8,
        "snakemake -n, one rule",
        "batchflow, again",
        where={"title": "run -n on 20 steps"},
    ),
    Target("startup", "exit", 1 / 6, "snakemake, one shell job", where={"title": "a trivial step"}),
    Target("startup", "first", 1.5, "multiprocessing.Pool", where={"title": "first result in a script"}),
    Target("startup", "first", 5, "multiprocessing.Pool", "batchflow.run", where={"title": "first result in a script"}),
    Target("commit", "whole", 1.02, "pool, parent writes", "batchflow, full", where={"title": "append, 50 MB/s"}),
    Target("commit", "whole", 1.02, "halves", "batchflow, full", where={"title": "busy, 50 MB/s"}),
    Target("commit", "whole", 2, where={"title": "resume"}),
    Target("commit", "whole", 2, "manifest listing", where={"title": "finished, 1,000,000 items"}),
    Target("growth", "driver_memory", 381, "", ours="batchflow, 10,000,000", where={"title": "items"}),
    Target("growth", "driver_memory", 60, "", ours="batchflow, 1,000", where={"title": "items"}),
)


def verdicts(scenario: Mapping[str, Any]) -> list[Verdict]:
    """Those of the targets that this record of a scenario can judge."""
    found = []
    for target in TARGETS:
        if _is_about(target, scenario):
            ours = next(_measured(scenario, target.ours, target.metric), None)
            against = _against(scenario, target) if target.against else 1.0
            if ours is not None and against:
                found.append(Verdict(target, scenario, ours / against))
    return found


def _is_about(target: Target, scenario: Mapping[str, Any]) -> bool:
    return (
        target.case == scenario["case"]
        and all(scenario.get(key) == value for key, value in target.where.items())
        and (not target.form or target.form in scenario["title"].split(", "))
    )


def _against(scenario: Mapping[str, Any], target: Target) -> float | None:
    peer, _, best = target.against.rpartition(", ")
    if best != "best":
        return next(_measured(scenario, target.against, target.metric), None)
    found = (_value(one, target.metric) for one in scenario["variants"] if one["peer"] == peer and one["chunk"] != 1)
    return min((value for value in found if value is not None), default=None)


def _measured(scenario: Mapping[str, Any], name: str, metric: str) -> Iterator[float]:
    for one in scenario["variants"]:
        value = _value(one, metric)
        if value is not None and (one["name"] == name or (name == OURS == one["peer"])):
            yield value


def _value(variant: Mapping[str, Any], metric: str) -> float | None:
    """The median of a metric, or one of ``COSTS``."""
    if metric in COSTS:
        return None if variant[metric] is None else float(variant[metric])
    time = variant["metrics"].get(metric, {}).get("time")
    return float(time["median"]) if time else None
