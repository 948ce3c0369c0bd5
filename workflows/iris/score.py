"""Entry script: which variety is each flower?  Rows in, rows out."""

from __future__ import annotations

import argparse
from typing import Any

import joblib
import pandas as pd

model: Any


def init() -> None:
    """Load the model named by ``--model``: once in each worker."""
    global model
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", required=True, help="a model of scikit-learn that gives probabilities")
    arguments, _ = parser.parse_known_args()
    model = joblib.load(arguments.model)


def run(mini_batch: pd.DataFrame) -> pd.DataFrame:
    """One row for each flower: its number, the most probable variety, and that probability."""
    probabilities = model.predict_proba(mini_batch[list(model.feature_names_in_)])
    return pd.DataFrame(
        {
            "flower": mini_batch["flower"],
            "variety": model.classes_[probabilities.argmax(axis=1)],
            "confidence": probabilities.max(axis=1).round(4),
        }
    )
