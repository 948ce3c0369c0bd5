"""From predictions and labels to counts.  Knows no pictures and no thresholds.

Invariant: every labelled file has exactly one prediction, or ``match`` raises; nothing is scored twice or left out.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

CLASS_COUNT = 10


@dataclass(frozen=True)
class Prediction:
    """One row of the parallel step's output; ``confidence`` is a probability, 0 to 1."""

    file: str
    digit: int
    confidence: float


@dataclass(frozen=True)
class Scored:
    """A prediction beside the truth."""

    file: str
    true_digit: int
    digit: int
    confidence: float

    @property
    def right(self) -> bool:
        return self.digit == self.true_digit


def read_predictions(path: Path) -> list[Prediction]:
    """The rows of a CSV file with the columns file, digit, confidence; raises ``ValueError`` naming the bad line."""
    predictions = []
    for line, row in _rows(path, ["file", "digit", "confidence"]):
        confidence = _number(path, line, row["confidence"])
        predictions.append(Prediction(row["file"], _digit(path, line, row["digit"]), confidence))
    return predictions


def read_labels(path: Path) -> dict[str, int]:
    """File name → true digit, from a CSV file with the columns file, label; raises ``ValueError`` as above."""
    labels: dict[str, int] = {}
    for line, row in _rows(path, ["file", "label"]):
        if row["file"] in labels:
            raise ValueError(f"{path}: line {line}: {row['file']} is labelled twice")
        labels[row["file"]] = _digit(path, line, row["label"])
    return labels


def match(predictions: Iterable[Prediction], labels: Mapping[str, int]) -> list[Scored]:
    """Put each prediction beside its label, in the order of the predictions.

    Raises ``ValueError`` if a file is predicted twice, has no label, or if a labelled file has no prediction.
    """
    scored: dict[str, Scored] = {}
    for one in predictions:
        if one.file in scored:
            raise ValueError(f"predictions: two rows for {one.file}")
        if one.file not in labels:
            raise ValueError(f"predictions: {one.file} has no label")
        scored[one.file] = Scored(one.file, labels[one.file], one.digit, one.confidence)
    missing = [file for file in labels if file not in scored]
    if missing:
        raise ValueError(f"predictions: no row for {len(missing)} of {len(labels)} files, the first is {missing[0]}")
    return list(scored.values())


def confusion_matrix(scored: Sequence[Scored]) -> NDArray[np.int64]:
    """Counts, 10 × 10: row = true digit, column = predicted digit."""
    matrix = np.zeros((CLASS_COUNT, CLASS_COUNT), np.int64)
    np.add.at(matrix, ([one.true_digit for one in scored], [one.digit for one in scored]), 1)
    return matrix


def recall(matrix: NDArray[np.int64]) -> list[float | None]:
    """For each true digit the share that was predicted right; None for a digit that does not occur."""
    return _shares(matrix.diagonal(), matrix.sum(axis=1))


def precision(matrix: NDArray[np.int64]) -> list[float | None]:
    """For each predicted digit the share that is right; None for a digit that was never predicted."""
    return _shares(matrix.diagonal(), matrix.sum(axis=0))


def accuracy(matrix: NDArray[np.int64]) -> float:
    """The share of all predictions that is right; raises ``ValueError`` when there are none."""
    count = int(matrix.sum())
    if count == 0:
        raise ValueError("no predictions to score")
    return int(matrix.trace()) / count


def summary(matrix: NDArray[np.int64]) -> dict[str, Any]:
    """Everything above as plain JSON values, shares rounded to 6 digits."""
    shares = zip(recall(matrix), precision(matrix), strict=True)
    return {
        "accuracy": round(accuracy(matrix), 6),
        "count": int(matrix.sum()),
        "correct": int(matrix.trace()),
        "per_class": {
            str(digit): {
                "count": int(matrix[digit].sum()),
                "correct": int(matrix[digit, digit]),
                "recall": _rounded(found),
                "precision": _rounded(right),
            }
            for digit, (found, right) in enumerate(shares)
        },
        "confusion": matrix.tolist(),
    }


def worst_confusions(matrix: NDArray[np.int64], count: int) -> list[tuple[int, int, int]]:
    """The most frequent mistakes as (true digit, predicted digit, how often), the most frequent first."""
    mistakes = [
        (true, predicted, int(matrix[true, predicted]))
        for true in range(CLASS_COUNT)
        for predicted in range(CLASS_COUNT)
        if true != predicted and matrix[true, predicted]
    ]
    return sorted(mistakes, key=lambda mistake: -mistake[2])[:count]


def _rows(path: Path, columns: list[str]) -> Iterable[tuple[int, dict[str, str]]]:
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file, strict=True)
        if reader.fieldnames != columns:
            raise ValueError(f"{path}: expected the columns {', '.join(columns)}, got {reader.fieldnames}")
        for row in reader:
            if None in row or None in row.values():
                raise ValueError(f"{path}: line {reader.line_num}: expected {len(columns)} fields")
            yield reader.line_num, row


def _digit(path: Path, line: int, text: str) -> int:
    if len(text) != 1 or text not in "0123456789":
        raise ValueError(f"{path}: line {line}: expected a digit from 0 to 9, got {text!r}")
    return int(text)


def _number(path: Path, line: int, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0.0 <= value <= 1.0:
        raise ValueError(f"{path}: line {line}: expected a confidence from 0 to 1, got {text!r}")
    return value


def _shares(parts: NDArray[np.int64], wholes: NDArray[np.int64]) -> list[float | None]:
    return [part / whole if whole else None for part, whole in zip(parts.tolist(), wholes.tolist(), strict=True)]


def _rounded(share: float | None) -> float | None:
    return None if share is None else round(share, 6)
