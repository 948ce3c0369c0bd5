"""The ``evaluate`` step: is there a model for everything, and how far are they off?"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd


def main(inputs: Mapping[str, str], outputs: Mapping[str, str], args: Mapping[str, Any]) -> None:
    """Write the output ``metrics`` (JSON) from ``fits``.

    Raises ``ValueError`` when a model is missing, or their error, the median of all, is above ``args["max_error"]``.
    """
    fits = pd.read_csv(inputs["fits"])
    missing = set(fits["model"]) - {path.name for path in Path(inputs["models"]).iterdir()}
    if missing:
        raise ValueError(f"no file for {len(missing)} of {len(fits)} models, the first is {min(missing)}")
    report = summary(fits)
    Path(outputs["metrics"]).write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print(f"error={report['error']:.4f}, the median of {report['models']} models", flush=True)
    if report["error"] > float(args["max_error"]):
        raise ValueError(f"error={report['error']:.4f} is above max_error={args['max_error']}")


def summary(fits: pd.DataFrame) -> dict[str, Any]:
    """Median error of all models and of each brand, and the model that is farthest off."""
    worst = fits.loc[fits["error"].idxmax()]
    by_brand = fits.groupby("brand")["error"].median()
    return {
        "models": len(fits),
        "rows": int(fits["weeks"].sum()),
        "error": round(float(fits["error"].median()), 6),
        "by_brand": {str(brand): round(float(error), 6) for brand, error in by_brand.items()},
        "worst": {"model": str(worst["model"]), "error": float(worst["error"])},
    }
