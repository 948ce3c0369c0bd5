"""The ``train`` step: a model that tells the variety of a flower from its measures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import joblib
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from iris.prepare import MEASURES


def main(inputs: Mapping[str, str], outputs: Mapping[str, str], args: Mapping[str, Any]) -> None:
    """Train on the CSV file ``training`` and save the model."""
    flowers = pd.read_csv(inputs["training"])
    model = make_pipeline(StandardScaler(), LogisticRegression())
    model.fit(flowers[MEASURES], flowers["variety"])
    joblib.dump(model, outputs["model"])
    print(f"accuracy={model.score(flowers[MEASURES], flowers['variety']):.4f} on the training flowers", flush=True)
