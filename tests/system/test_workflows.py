"""The example workflows through the real command: accuracy, one row for each image in order, nothing to do twice.

Each is run in a copy of ``workflows/`` in a temporary folder.  MNIST is needed as the four IDX files, in the folder
named by BATCHFLOW_TEST_MNIST or in ``../shared/mnist`` beside the repository; without them its tests are skipped.
"""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import pytest
from system.examples import ROOT, Example, copy_of_workflows

MNIST = Path(os.environ.get("BATCHFLOW_TEST_MNIST") or ROOT.parent / "shared" / "mnist")

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("tensorflow") is None, reason="tensorflow is not installed: pip install '.[demo]'"
)


def check_predictions(example: Example, count: int) -> None:
    """One row for each image, in the order of the files; the numbers agree with the rows, and the picture is there."""
    predictions, labels = example.rows("predictions.csv"), example.rows("labels.csv")
    assert list(predictions[0]) == ["file", "digit", "confidence"]
    assert [row["file"] for row in predictions] == [f"{index:05}.png" for index in range(count)]
    assert [row["file"] for row in labels] == [row["file"] for row in predictions]
    right = sum(row["digit"] == label["label"] for row, label in zip(predictions, labels, strict=True))
    metrics = example.metrics()
    assert (metrics["count"], metrics["correct"]) == (count, right)
    assert metrics["accuracy"] == pytest.approx(right / count, abs=1e-6)
    receipt = example.receipt()
    assert (receipt["items_in"], receipt["succeeded"], receipt["failed"]) == (count, count, 0)
    assert receipt["rows_out"] == count
    assert (example.build / "confusion.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")


# Digits -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def digits(tmp_path_factory) -> Example:
    """``digits.toml`` after its first run, with everything at its default."""
    example = Example(copy_of_workflows(tmp_path_factory.mktemp("digits")), "digits")
    example.run()
    return example


def test_digits_are_classified(digits) -> None:
    check_predictions(digits, count=450)
    assert digits.metrics()["accuracy"] >= 0.95


@pytest.mark.fault("L8")
def test_a_second_run_of_digits_has_nothing_to_do(digits) -> None:
    names = ("training.npz", "images", "model.keras", "predictions.csv", "metrics.json", "confusion.png")
    before = digits.times(*names)
    assert "nothing to do" in digits.run()
    assert digits.times(*names) == before


@pytest.mark.parametrize("words", [("-c", "1"), ("-c", "3"), ("--set", "batch=1")])
def test_rows_depend_neither_on_cores_nor_on_the_mini_batch(digits, words) -> None:
    model, expected = digits.times("model.keras"), (digits.build / "predictions.csv").read_bytes()
    digits.run("predict", "-R", "predict", *words)
    assert (digits.build / "predictions.csv").read_bytes() == expected
    assert digits.times("model.keras") == model


def test_too_low_an_accuracy_ends_the_run_and_says_so(digits) -> None:
    output = digits.run("--set", "min_accuracy=1.0", exit_code=1)
    assert "is below min_accuracy=1.0: " in output
    assert "read as" in output


# MNIST --------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def mnist(tmp_path_factory) -> Example:
    """``mnist.toml`` after its first run, with little to train on and to score."""
    if not MNIST.is_dir():
        pytest.skip(f"no MNIST files in {MNIST}: name their folder in BATCHFLOW_TEST_MNIST")
    settings = (f"source={MNIST}", "training_limit=8000", "epochs=1", "min_accuracy=0.85")
    example = Example(copy_of_workflows(tmp_path_factory.mktemp("mnist")), "mnist", settings)
    example.run("--set", "limit=300")
    return example


def test_mnist_is_classified(mnist) -> None:
    check_predictions(mnist, count=300)
    assert mnist.metrics()["accuracy"] >= 0.85


def test_more_images_of_mnist_need_no_new_training(mnist) -> None:
    before = mnist.times("training.npz", "test.npz", "model.keras")
    mnist.run("--set", "limit=350")
    check_predictions(mnist, count=350)
    assert mnist.times("training.npz", "test.npz", "model.keras") == before


def test_a_source_without_the_files_is_named(mnist, tmp_path) -> None:
    output = mnist.run("fetch", "--set", f"source={tmp_path}", exit_code=1)
    assert f"source={tmp_path}: not found there: train-images-idx3-ubyte.gz, train-labels-idx1-ubyte.gz" in output
