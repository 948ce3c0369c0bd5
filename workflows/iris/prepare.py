"""The ``prepare`` step: the 150 flowers that come with scikit-learn, as CSV files to learn from and to score.

Columns: flower, a number; sepal_length, sepal_width, petal_length, petal_width, in cm; variety, its name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
from sklearn.datasets import load_iris
from sklearn.model_selection import train_test_split

MEASURES = ["sepal_length", "sepal_width", "petal_length", "petal_width"]


def main(inputs: Mapping[str, str], outputs: Mapping[str, str], args: Mapping[str, Any]) -> None:
    """Hold out ``args["held_out"]`` flowers, without and with their variety; the others are for training."""
    training, held_out = split(load_flowers(), int(args["held_out"]), int(args["seed"]))
    training.to_csv(outputs["training"], index=False)
    held_out[["flower", *MEASURES]].to_csv(outputs["flowers"], index=False)
    held_out[["flower", "variety"]].to_csv(outputs["varieties"], index=False)
    print(f"{len(training)} flowers to train on, {len(held_out)} held out", flush=True)


def load_flowers() -> pd.DataFrame:
    iris = load_iris()
    flowers = pd.DataFrame(iris.data, columns=MEASURES)
    flowers.insert(0, "flower", range(len(flowers)))
    flowers["variety"] = iris.target_names[iris.target]
    return flowers


def split(flowers: pd.DataFrame, held_out: int, seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Flowers to train on and flowers held out, by number; every variety is in both in the same proportion."""
    training, rest = train_test_split(flowers, test_size=held_out, stratify=flowers["variety"], random_state=seed)
    return training.sort_index(), rest.sort_index()
