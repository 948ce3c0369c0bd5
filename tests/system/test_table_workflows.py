"""The example workflows over tables through the real command: accuracy, every row once, nothing to do twice."""

from __future__ import annotations

import importlib.util
import json

import pytest
from system.examples import Example, copy_of_workflows

# Iris ---------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def iris(tmp_path_factory: pytest.TempPathFactory) -> Example:
    """``iris.toml`` after its first run, with everything at its default."""
    if importlib.util.find_spec("sklearn") is None:
        pytest.skip("scikit-learn is not installed: pip install '.[demo]'")
    example = Example(copy_of_workflows(tmp_path_factory.mktemp("iris")), "iris")
    example.run()
    return example


def test_flowers_are_told_apart(iris: Example) -> None:
    predictions, varieties = iris.rows("predictions.csv"), iris.rows("varieties.csv")
    assert list(predictions[0]) == ["flower", "variety", "confidence"]
    assert [row["flower"] for row in predictions] == [row["flower"] for row in varieties]
    right = sum(one["variety"] == other["variety"] for one, other in zip(predictions, varieties, strict=True))
    metrics, receipt = iris.metrics(), iris.receipt()
    assert (metrics["count"], metrics["correct"]) == (60, right)
    assert metrics["accuracy"] >= 0.9
    assert (receipt["items_in"], receipt["succeeded"], receipt["failed"], receipt["rows_out"]) == (60, 60, 0, 60)
    assert receipt["mini_batches"] == 6


def test_a_second_run_of_iris_has_nothing_to_do(iris: Example) -> None:
    names = ("training.csv", "flowers.csv", "model.joblib", "predictions.csv", "metrics.json")
    before = iris.times(*names)
    assert "nothing to do" in iris.run()
    assert iris.times(*names) == before


@pytest.mark.parametrize("words", [("-c", "1"), ("-c", "3"), ("--set", "rows=1"), ("--set", "rows=1000")])
def test_rows_of_flowers_depend_neither_on_cores_nor_on_the_mini_batch(iris: Example, words: tuple[str, ...]) -> None:
    model, expected = iris.times("model.joblib"), (iris.build / "predictions.csv").read_bytes()
    iris.run("predict", "-R", "predict", *words)
    assert (iris.build / "predictions.csv").read_bytes() == expected
    assert iris.times("model.joblib") == model


def test_other_flowers_are_scored_anew(iris: Example) -> None:
    iris.run("--set", "held_out=30")
    assert len(iris.rows("predictions.csv")) == 30
    iris.run()


def test_too_few_right_flowers_end_the_run(iris: Example) -> None:
    assert "is below min_accuracy=1.0" in iris.run("--set", "min_accuracy=1.0", exit_code=1)


# Sales --------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sales(tmp_path_factory: pytest.TempPathFactory) -> Example:
    """``sales.toml`` after its first run, with everything at its default."""
    example = Example(copy_of_workflows(tmp_path_factory.mktemp("sales")), "sales")
    example.run()
    return example


def test_there_is_a_model_for_each_store_and_brand(sales: Example) -> None:
    """Each of all 104 rows that belong to it, from both files."""
    fits, receipt = sales.rows("fits.csv"), sales.receipt("train")
    expected = [(str(store), brand) for store in range(1, 13) for brand in ("dawn", "grove", "sunny")]
    assert [(row["store"], row["brand"]) for row in fits] == expected
    assert {row["weeks"] for row in fits} == {"104"}
    assert (receipt["items_in"], receipt["succeeded"], receipt["failed"]) == (36 * 104, 36 * 104, 0)
    assert (receipt["mini_batches"], receipt["rows_out"]) == (36, 36)
    assert {path.name for path in (sales.build / "models").iterdir()} == {row["model"] for row in fits}


def test_the_models_find_what_the_sales_were_made_with(sales: Example) -> None:
    made_with = {"dawn": (-3.0, 0.3), "grove": (-2.0, 0.5), "sunny": (-1.2, 0.2)}
    for path in (sales.build / "models").iterdir():
        model = json.loads(path.read_text())
        by_price, by_advertising = made_with[model["brand"]]
        assert model["by_price"] == pytest.approx(by_price, abs=0.25)
        assert model["by_advertising"] == pytest.approx(by_advertising, abs=0.15)
    assert sales.metrics()["error"] < 0.15
    assert (sales.metrics()["models"], sales.metrics()["rows"]) == (36, 36 * 104)


def test_a_second_run_of_sales_has_nothing_to_do(sales: Example) -> None:
    before = sales.times("weeks", "fits.csv", "models", "metrics.json")
    assert "nothing to do" in sales.run()
    assert sales.times("weeks", "fits.csv", "models", "metrics.json") == before


def test_nothing_is_left_of_the_sorting(sales: Example) -> None:
    folder = sales.folder / ".batchflow" / "sales" / "steps" / "train"
    assert not [path for path in folder.rglob("*") if path.name in ("rows", "runs")]


def test_fits_do_not_depend_on_the_cores(sales: Example) -> None:
    expected = (sales.build / "fits.csv").read_bytes()
    sales.run("train", "-R", "train", "-c", "1")
    assert (sales.build / "fits.csv").read_bytes() == expected


def test_too_large_an_error_ends_the_run(sales: Example) -> None:
    assert "is above max_error=0.001" in sales.run("--set", "max_error=0.001", exit_code=1)
