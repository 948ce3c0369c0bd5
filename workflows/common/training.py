"""Train a small TensorFlow model so that every run gives the same one.

Only the ``train`` steps import this: TensorFlow takes seconds to import, and the other steps do without it.
"""

from __future__ import annotations

import math
import os
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # TensorFlow reads it once, while it is imported

import numpy as np
import tensorflow as tf

from common.images import DIGITS

__all__ = ["fit", "make_repeatable", "save", "tf"]  # tf: imported from here, the level above is set in time


def make_repeatable(seed: int) -> None:
    """Fix every source of chance; call it before the model is built."""
    tf.keras.utils.set_random_seed(seed)  # Python, NumPy and TensorFlow: initial weights, order of the images
    tf.config.experimental.enable_op_determinism()  # the order in which threads add up


def fit(
    model: Any, pixels: DIGITS, labels: DIGITS, *, epochs: int, images_per_update: int, learning_rate: float
) -> None:
    """Train ``model`` (grey images in, ten probabilities out) on ``pixels`` (count × height × width, 0 to 255).

    The learning rate falls from ``learning_rate`` to 0: the last steps are small, and seeds differ less in accuracy.
    """
    update_count = epochs * math.ceil(len(pixels) / images_per_update)
    decay = tf.keras.optimizers.schedules.CosineDecay(learning_rate, update_count)
    model.compile(
        optimizer=tf.keras.optimizers.Adam(decay), loss="sparse_categorical_crossentropy", metrics=["accuracy"]
    )
    model.fit(
        pixels[..., np.newaxis].astype(np.float32),
        labels,
        batch_size=images_per_update,
        epochs=epochs,
        verbose=0,
        callbacks=[_EpochLine(epochs)],
    )


def save(model: Any, path: Path) -> None:
    """Save in Keras' own format, under exactly this name.

    Keras insists on the ending ``.keras``, but a step's outputs bear temporary names until the step has succeeded.
    """
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".saving-") as folder:
        saved = Path(folder, "model.keras")
        model.save(saved)
        saved.replace(path)


class _EpochLine(tf.keras.callbacks.Callback):  # type: ignore[misc]
    """Prints one line for each pass over the training images."""

    def __init__(self, epochs: int) -> None:
        super().__init__()
        self.epochs = epochs
        self.started_s = time.monotonic()

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        logs = logs or {}
        elapsed_s = time.monotonic() - self.started_s
        print(
            f"epoch {epoch + 1} of {self.epochs}: accuracy={logs['accuracy']:.4f} on the training images, "
            f"loss={logs['loss']:.4f}, {elapsed_s:.1f} s",
            flush=True,
        )
