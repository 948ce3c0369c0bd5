"""The steps of ``iris.toml``, one by one."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest

if importlib.util.find_spec("sklearn") is None:
    pytest.skip("scikit-learn is not installed: pip install '.[demo]'", allow_module_level=True)

import pandas as pd
from iris import evaluate, prepare, score, train


def test_every_variety_is_held_out_in_the_same_proportion() -> None:
    flowers = prepare.load_flowers()
    assert list(flowers.columns) == ["flower", *prepare.MEASURES, "variety"]
    training, held_out = prepare.split(flowers, 30, seed=1)
    assert held_out["variety"].value_counts().to_dict() == {"setosa": 10, "versicolor": 10, "virginica": 10}
    assert sorted([*training["flower"], *held_out["flower"]]) == list(range(150))
    assert held_out["flower"].is_monotonic_increasing


def test_from_flowers_to_predictions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("training", "flowers", "varieties", "model")
    paths = {name: str(tmp_path / f"{name}.csv") for name in names}
    prepare.main({}, paths, {"held_out": 30, "seed": 1})
    train.main(paths, paths, {})
    monkeypatch.setattr(sys, "argv", ["score.py", "--model", paths["model"]])
    score.init()
    rows = score.run(pd.read_csv(paths["flowers"]))
    assert list(rows.columns) == ["flower", "variety", "confidence"]
    assert rows["confidence"].between(1 / 3, 1).all()
    report = evaluate.score(rows, pd.read_csv(paths["varieties"]))
    assert (report["count"], report["accuracy"] > 0.9) == (30, True)


PREDICTED = pd.DataFrame({"flower": [1, 2, 3, 4], "variety": ["a", "a", "b", "b"]})
TRUE = pd.DataFrame({"flower": [1, 2, 3, 4], "variety": ["a", "b", "b", "b"]})


def test_what_is_right_is_counted() -> None:
    assert evaluate.score(PREDICTED, TRUE) == {
        "accuracy": 0.75,
        "count": 4,
        "correct": 3,
        "confusion": {"a": {"a": 1, "b": 0}, "b": {"a": 1, "b": 2}},
    }


def test_a_flower_without_its_prediction_is_an_error() -> None:
    with pytest.raises(ValueError, match="3 predictions are not one for each of 4 flowers, in order"):
        evaluate.score(PREDICTED[:3], TRUE)
    with pytest.raises(ValueError, match="in order"):
        evaluate.score(PREDICTED[::-1], TRUE)


def test_too_low_an_accuracy_is_an_error_after_the_report(tmp_path: Path) -> None:
    paths = {name: str(tmp_path / name) for name in ("predictions", "varieties", "metrics")}
    PREDICTED.to_csv(paths["predictions"], index=False)
    TRUE.to_csv(paths["varieties"], index=False)
    with pytest.raises(ValueError, match=r"accuracy=0.7500 is below min_accuracy=0.8"):
        evaluate.main(paths, paths, {"min_accuracy": 0.8})
    assert json.loads(Path(paths["metrics"]).read_text())["correct"] == 3
