"""From raw runs to the record that is written: medians, spreads, ratios, fits, and what was measured on.

Pure but for ``machine`` and ``versions``, which ask the system.
"""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil

from batchflow.cpus import available_cpus
from benchmarks.figures import far_exponent, fit_cost, fit_line, pair_ratios, spread
from benchmarks.values import OURS, Metric, Run, ScenarioResult, VariantResult

DISTRIBUTIONS = (
    "batchflow",
    "cython",
    "dask",
    "distributed",
    "duckdb",
    "joblib",
    "keras",
    "mpire",
    "numpy",
    "opencv-python-headless",
    "pandas",
    "pillow",
    "polars",
    "psutil",
    "pyarrow",
    "pyspark",
    "pyspng",
    "ray",
    "scikit-learn",
    "snakemake",
    "tensorflow",
    "torch",
)


def scenario_record(result: ScenarioResult, foreign_limit: float) -> dict[str, Any]:
    """One scenario as plain JSON values; the expectation is left out, the runs are all there."""
    scenario = result.scenario
    ours = next((one for one in result.results if one.variant.peer == OURS), None)
    ours_runs = ours.counted(foreign_limit) if ours is not None else ()
    variants = [
        variant_record(one, ours_runs, scenario.metrics, scenario.mini_batch_count, foreign_limit)
        for one in result.results
    ]
    return {
        "case": scenario.case,
        "title": scenario.title,
        "explanation": scenario.explanation,
        "model": scenario.model,
        "axis": scenario.axis,
        "shows_costs": scenario.shows_costs,
        "items": scenario.item_count,
        "mini_batch_size": scenario.mini_batch_size,
        "mini_batches": scenario.mini_batch_count,
        "workers": scenario.workers,
        "metrics": [asdict(metric) for metric in scenario.metrics],
        "variants": variants,
        "curves": curves(variants, scenario.metrics) if scenario.axis else [],
    }


def variant_record(
    result: VariantResult,
    ours: Sequence[Run],
    metrics: Sequence[Metric],
    mini_batch_count: int,
    foreign_limit: float,
) -> dict[str, Any]:
    counted = result.counted(foreign_limit)
    timed = [run for run in result.runs if run.round_number]
    record: dict[str, Any] = {
        "name": result.variant.name,
        "peer": result.variant.peer,
        "place": result.variant.place,
        "chunk": result.variant.chunk,
        "missing": result.missing or None,
        "tuned_s": dict(result.tuned),
        "counted": len(counted),
        "dropped": sum(not run.complaint and run.foreign_share > foreign_limit for run in timed),
        "wrong": sum(bool(run.complaint) for run in result.runs),
        "complaints": sorted({run.complaint for run in result.runs if run.complaint}),
        "correct": counted[-1].correct if counted else None,
        "pss_peak_bytes": max((run.pss_peak_bytes for run in result.runs), default=0) or None,
        "cpu_s": _median([run.cpu_s for run in counted]),
        "driver_cpu_us_per_mini_batch": _median(
            [
                run.driver_cpu_s / mini_batch_count * 1e6
                for run in result.runs
                if run.round_number == 0 < mini_batch_count
            ]
        ),
        "metrics": {},
        "runs": [asdict(run) for run in result.runs],
    }
    for metric in metrics:
        values = _values(counted, metric.key)
        figures = spread([value / metric.count * metric.factor for value in values.values()])
        ratios = spread(pair_ratios(values, {number: one for number, one in _values(ours, metric.key).items() if one}))
        record["metrics"][metric.key] = {
            "time": asdict(figures) if figures is not None else None,
            "ratio": asdict(ratios) if ratios is not None else None,
        }
    return record


def fits(records: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """µs per item and µs per mini-batch for every variant of *dispatch* that was measured at two mini-batch sizes.

    At the large size a peer is taken with one mini-batch a message: there are too few to bundle.
    """
    scenarios = [record for record in records if record["case"] == "dispatch"]
    if len(scenarios) < 2:
        return []
    small, large = scenarios[0], scenarios[1]
    fitted = []
    for variant in small["variants"]:
        points = [_point(small, variant)]
        points += [_point(large, one) for one in large["variants"] if one["peer"] == variant["peer"]][:1]
        known = [point for point in points if point is not None]
        if len(known) == 2:
            per_item_s, per_mini_batch_s = fit_cost(small["items"], known)
            fitted.append({"name": variant["name"], "a_us": per_item_s * 1e6, "b_us": per_mini_batch_s * 1e6})
    return fitted


def curves(variants: Sequence[dict[str, Any]], metrics: Sequence[Metric]) -> list[dict[str, Any]]:
    """For each metric measured at two places or more: the line of least squares, and the exponent at the far end."""
    fitted = []
    for metric in metrics:
        points = [
            (one["place"], one["metrics"][metric.key]["time"]["median"])
            for one in variants
            if one["place"] is not None and one["metrics"][metric.key]["time"]
        ]
        if len({place for place, _ in points}) > 1:
            intercept, slope = fit_line(points)
            fitted.append({"key": metric.key, "intercept": intercept, "slope": slope, "exponent": far_exponent(points)})
    return fitted


def machine() -> dict[str, Any]:
    """What the runs ran on; nothing that names a host, a user or a folder."""
    models = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    return {
        "cpu": models[0] if models else platform.machine(),
        "cpus": os.cpu_count(),
        "cpus_usable": available_cpus(),
        "memory_bytes": psutil.virtual_memory().total,
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load_average": list(os.getloadavg()),
    }


def versions() -> dict[str, str | None]:
    found: dict[str, str | None] = {}
    for name in DISTRIBUTIONS:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    return found


def commit() -> str | None:
    """The commit of the checkout, with ``-dirty`` when tracked files differ; None outside a checkout."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def _median(values: Sequence[float]) -> float | None:
    figures = spread(values)
    return figures.median if figures is not None else None


def _values(runs: Sequence[Run], key: str) -> dict[int, float]:
    """Round number → the measure, of the runs that have it."""
    return {run.round_number: value for run in runs if (value := run.value(key)) is not None}


def _point(scenario: dict[str, Any], variant: dict[str, Any]) -> tuple[int, float] | None:
    """(mini-batch count, seconds) of one variant of one scenario."""
    time = variant["metrics"]["dispatch"]["time"]
    if time is None:
        return None
    return scenario["mini_batches"], time["median"] * scenario["mini_batches"] / 1e6
