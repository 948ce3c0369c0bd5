"""``tf.data``: files read and decoded by parallel ``map``, then ``batch`` and ``prefetch``, one model call a batch.

One process whose threads use every core.  Only for the entry scripts of *mnist*, whose model it takes; their
``run()``, which decodes with Pillow, is not called.  Rows are those that ``run()`` would give.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import tensorflow as tf

from benchmarks.peers.base import Setting, load


class Peer:
    def __init__(self, setting: Setting) -> None:
        self._setting = setting

    def start(self) -> None:
        load(self._setting.script, self._setting.arguments)
        self._script: Any = sys.modules["entry_script"]

    def results(self, mini_batches: Iterable[list[str]], count: int) -> Iterator[list[Any]]:
        everything = list(mini_batches)
        images = (
            tf.data.Dataset.from_tensor_slices(list(chain.from_iterable(everything)))
            .map(decode, num_parallel_calls=tf.data.AUTOTUNE)
            .batch(len(everything[0]))
            .prefetch(tf.data.AUTOTUNE)
        )
        predict = graph_rows if hasattr(self._script, "session") else keras_rows
        for mini_batch, batch in zip(everything, images, strict=True):
            yield predict(self._script, mini_batch, batch)

    def close(self) -> None:
        """Nothing was started."""


def decode(path: Any) -> Any:
    """Grey values, height × width × 1."""
    return tf.io.decode_png(tf.io.read_file(path), channels=1)


def graph_rows(script: Any, mini_batch: list[str], images: Any) -> list[str]:
    pixels = images.numpy().reshape(len(mini_batch), -1)
    labels = script.session.run(script.scores, {script.pixels: pixels}).argmax(axis=1)
    return [f"{Path(path).name}: {label}" for path, label in zip(mini_batch, labels, strict=True)]


def keras_rows(script: Any, mini_batch: list[str], images: Any) -> list[dict[str, Any]]:
    probabilities = script.classify(tf.cast(images, tf.float32)).numpy()
    digits = probabilities.argmax(axis=1).tolist()
    confidences = probabilities.max(axis=1).tolist()
    return [
        {"file": Path(path).name, "digit": digit, "confidence": round(confidence, 4)}
        for path, digit, confidence in zip(mini_batch, digits, confidences, strict=True)
    ]
