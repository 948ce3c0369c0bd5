"""The ``evaluate`` step: how many varieties are right."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd


def main(inputs: Mapping[str, str], outputs: Mapping[str, str], args: Mapping[str, Any]) -> None:
    """Hold ``predictions`` against ``varieties`` and write the output ``metrics`` (JSON).

    Raises ``ValueError`` when fewer than ``args["min_accuracy"]`` are right, or a flower has not one prediction.
    """
    report = score(pd.read_csv(inputs["predictions"]), pd.read_csv(inputs["varieties"]))
    Path(outputs["metrics"]).write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print(f"accuracy={report['accuracy']:.4f}: {report['correct']} of {report['count']} right", flush=True)
    if report["accuracy"] < float(args["min_accuracy"]):
        raise ValueError(f"accuracy={report['accuracy']:.4f} is below min_accuracy={args['min_accuracy']}")


def score(predictions: pd.DataFrame, varieties: pd.DataFrame) -> dict[str, Any]:
    """Counts and the share that is right; for each true variety how often which one was predicted."""
    if predictions["flower"].tolist() != varieties["flower"].tolist():
        raise ValueError(f"{len(predictions)} predictions are not one for each of {len(varieties)} flowers, in order")
    right = predictions["variety"] == varieties["variety"]
    confusion = pd.crosstab(varieties["variety"], predictions["variety"].rename("predicted"))
    return {
        "accuracy": round(float(right.mean()), 6),
        "count": len(right),
        "correct": int(right.sum()),
        "confusion": {
            str(true): {str(name): int(times) for name, times in row.items()} for true, row in confusion.iterrows()
        },
    }
