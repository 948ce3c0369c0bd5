"""The ``train`` step: a small convolutional net for digits of 8 × 8 pixels, trained in a few seconds."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from common import training
from common.images import load_arrays
from common.training import tf


def main(inputs: Mapping[str, str], outputs: Mapping[str, str], args: Mapping[str, Any]) -> None:
    """Train on the arrays in ``training`` and save the model; ``args``: epochs, seed."""
    pixels, labels = load_arrays(Path(inputs["training"]))
    training.make_repeatable(int(args["seed"]))
    layers = tf.keras.layers
    model = tf.keras.Sequential(
        [
            layers.Input((8, 8, 1)),
            layers.Rescaling(1 / 255),  # part of the model, so that whoever uses it passes plain grey values
            layers.Conv2D(32, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(64, activation="relu"),
            layers.Dense(10, activation="softmax"),
        ]
    )
    training.fit(model, pixels, labels, epochs=int(args["epochs"]), images_per_update=32, learning_rate=0.003)
    training.save(model, Path(outputs["model"]))
