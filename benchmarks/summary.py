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
from benchmarks.figures import fit_cost, pair_ratios, spread
from benchmarks.values import Metric, Run, ScenarioResult, VariantResult

DISTRIBUTIONS = ("batchflow", "cython", "joblib", "keras", "numpy", "pillow", "psutil", "scikit-learn", "tensorflow")
OURS = "batchflow"


def scenario_record(result: ScenarioResult, foreign_limit: float) -> dict[str, Any]:
    """One scenario as plain JSON values; the expectation is left out, the runs are all there."""
    scenario = result.scenario
    ours = next((one for one in result.results if one.variant.peer == OURS), None)
    ours_runs = ours.counted(foreign_limit) if ours is not None else ()
    return {
        "case": scenario.case,
        "title": scenario.title,
        "explanation": scenario.explanation,
        "model": scenario.model,
        "items": scenario.item_count,
        "mini_batch_size": scenario.mini_batch_size,
        "mini_batches": scenario.mini_batch_count,
        "workers": scenario.workers,
        "metrics": [asdict(metric) for metric in scenario.metrics],
        "variants": [
            variant_record(one, ours_runs, scenario.metrics, scenario.mini_batch_count, foreign_limit)
            for one in result.results
        ],
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
            [run.driver_cpu_s / mini_batch_count * 1e6 for run in result.runs if run.round_number == 0]
        ),
        "metrics": {},
        "runs": [asdict(run) for run in result.runs],
    }
    for metric in metrics:
        figures = spread([run.seconds[metric.key] / metric.count * metric.factor for run in counted])
        ratios = spread(
            pair_ratios(
                {run.round_number: run.seconds[metric.key] for run in counted},
                {run.round_number: run.seconds[metric.key] for run in ours},
            )
        )
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


def _point(scenario: dict[str, Any], variant: dict[str, Any]) -> tuple[int, float] | None:
    """(mini-batch count, seconds) of one variant of one scenario."""
    time = variant["metrics"]["dispatch"]["time"]
    if time is None:
        return None
    return scenario["mini_batches"], time["median"] * scenario["mini_batches"] / 1e6
