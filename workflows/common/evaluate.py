"""The ``evaluate`` step: how many predictions are right, as numbers and as a picture."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common import metrics, picture


def main(inputs: Mapping[str, str], outputs: Mapping[str, str], args: Mapping[str, Any]) -> None:
    """Score ``predictions`` against ``labels``.

    Writes the output ``metrics`` (JSON) and, from the folder ``images``, the output ``confusion`` (PNG).
    ``args``: title, min_accuracy.  Raises ``ValueError`` when fewer than ``min_accuracy`` are right.
    """
    labels = metrics.read_labels(Path(inputs["labels"]))
    scored = metrics.match(metrics.read_predictions(Path(inputs["predictions"])), labels)
    matrix = metrics.confusion_matrix(scored)
    min_accuracy = float(args["min_accuracy"])
    report = metrics.summary(matrix) | {"min_accuracy": min_accuracy}
    Path(outputs["metrics"]).write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    # The surest mistakes first: they say most about the model, and about wrong labels.
    mistakes = sorted((one for one in scored if not one.right), key=lambda one: -one.confidence)
    picture.draw(Path(outputs["confusion"]), str(args["title"]), matrix, mistakes, Path(inputs["images"]))
    print(f"accuracy={report['accuracy']:.4f}: {report['correct']:,} of {report['count']:,} right", flush=True)
    if metrics.accuracy(matrix) < min_accuracy:
        raise ValueError(shortfall_message(matrix, min_accuracy))


def shortfall_message(matrix: NDArray[np.int64], min_accuracy: float) -> str:
    """What is too low, and where the mistakes are."""
    count, wrong = int(matrix.sum()), int(matrix.sum() - matrix.trace())
    often = ", ".join(
        f"{true} read as {digit} ({times}×)" for true, digit, times in metrics.worst_confusions(matrix, count=3)
    )
    return (
        f"accuracy={metrics.accuracy(matrix):.4f} is below min_accuracy={min_accuracy}: "
        f"{wrong:,} of {count:,} wrong; most often {often}"
    )
