"""The tutorials' pretrained graph (784-300-100-10, a TensorFlow 1 checkpoint), one ``Session.run`` for a mini-batch.

Argument: the folder of the checkpoint ``mnist-tf.model``.  Images are given to the network as raw pixels, 0 to 255.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy
import tensorflow.compat.v1 as tf
from PIL import Image

session: Any = None
pixels: Any = None
scores: Any = None


def init() -> None:
    global session, pixels, scores
    checkpoint = Path(sys.argv[1]) / "mnist-tf.model"
    graph = tf.Graph()
    with graph.as_default():
        saver = tf.train.import_meta_graph(f"{checkpoint}.meta")
        session = tf.Session(graph=graph)
        saver.restore(session, str(checkpoint))
    pixels = graph.get_tensor_by_name("network/X:0")
    scores = graph.get_tensor_by_name("network/output/MatMul:0")


def run(mini_batch: list[str]) -> list[str]:
    images = [numpy.asarray(Image.open(path)).reshape(784) for path in mini_batch]
    labels = session.run(scores, {pixels: numpy.stack(images)}).argmax(axis=1)
    return [f"{Path(path).name}: {label}" for path, label in zip(mini_batch, labels, strict=True)]
