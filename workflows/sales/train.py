"""Entry script: a model of the sales of one brand in one store.

``run()`` gets all rows of one store and brand, and fits to them, by least squares:

    log(units + 1) = level + by_price × log(price) + by_advertising × advertised

The model is written as JSON, and one row says how well it fits.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray


def run(mini_batch: pd.DataFrame, context: Any) -> list[dict[str, Any]]:
    """Fit the model, write it into the step's folder, return one row."""
    keys = context.partition_key_value
    model = fit(mini_batch)
    error = float(np.abs(predict(model, mini_batch) - mini_batch["units"]).sum() / mini_batch["units"].sum())
    path = context.output_dir / f"{keys['store']}-{keys['brand']}.json"
    path.write_text(json.dumps(keys | model, indent=2) + "\n", encoding="utf-8")
    return [{**keys, "weeks": len(mini_batch), "error": round(error, 4), "model": path.name}]


def fit(sales: pd.DataFrame) -> dict[str, float]:
    """The three numbers of the model."""
    solution, *_ = np.linalg.lstsq(_features(sales), np.log(sales["units"] + 1), rcond=None)
    return dict(zip(("level", "by_price", "by_advertising"), solution.round(6).tolist(), strict=True))


def predict(model: dict[str, float], sales: pd.DataFrame) -> NDArray[np.float64]:
    """How many units the model expects in each row."""
    weights = [model["level"], model["by_price"], model["by_advertising"]]
    return np.exp(_features(sales) @ weights) - 1


def _features(sales: pd.DataFrame) -> NDArray[np.float64]:
    return np.column_stack([np.ones(len(sales)), np.log(sales["price"]), sales["advertised"]])
