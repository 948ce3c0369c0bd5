"""The ``train`` step: a small convolutional net for digits of 28 × 28 pixels; two passes over 60,000 images do."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from common import training
from common.images import load_arrays
from common.training import tf


def main(inputs: Mapping[str, str], outputs: Mapping[str, str], args: Mapping[str, Any]) -> None:
    """Train on the first ``args["limit"]`` of the arrays in ``training`` and save the model; ``args``: epochs, seed."""
    pixels, labels = load_arrays(Path(inputs["training"]))
    limit = int(args["limit"])
    training.make_repeatable(int(args["seed"]))
    layers = tf.keras.layers
    model = tf.keras.Sequential(
        [
            layers.Input((28, 28, 1)),
            layers.Rescaling(1 / 255),  # part of the model, so that whoever uses it passes plain grey values
            layers.Conv2D(16, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(32, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(64, activation="relu"),
            layers.Dense(10, activation="softmax"),
        ]
    )
    training.fit(
        model, pixels[:limit], labels[:limit], epochs=int(args["epochs"]), images_per_update=64, learning_rate=0.003
    )
    training.save(model, Path(outputs["model"]))
