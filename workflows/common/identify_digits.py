"""Entry script: which digit is on each image?

batchflow executes this file once, forks the workers from that process, calls ``init()`` once in each worker, and
then ``run()`` with the paths of one mini-batch after the other.

Nothing of TensorFlow is built at import: a model or a session does not survive a fork, so that is ``init()``'s job.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from PIL import Image

# TensorFlow multiplies a single image by another routine, which rounds differently in the last bit.  Padding with
# black images keeps the rows the same for every mini_batch_size.
IMAGES_MIN = 8

classify: Any
image_size: tuple[int, int]


def init() -> None:
    """Load the model named by ``--model``, and call it once so that the first mini-batch does not pay for it."""
    global classify, image_size
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", required=True, help="a model in Keras' format: grey images in, probabilities out")
    arguments, _ = parser.parse_known_args()
    model = tf.keras.models.load_model(arguments.model, compile=False)
    height, width, _ = model.input_shape[1:]
    image_size = (width, height)
    # One traced function for every number of images: several times faster than model.predict() on so small a model.
    signature = [tf.TensorSpec((None, height, width, 1), tf.float32)]
    classify = tf.function(lambda images: model(images, training=False), input_signature=signature)
    classify(tf.zeros((IMAGES_MIN, height, width, 1)))


def run(mini_batch: list[str]) -> list[dict[str, Any]]:
    """One row for each file: its name, the most probable digit, and that probability."""
    width, height = image_size
    pixels = np.zeros((max(len(mini_batch), IMAGES_MIN), height, width, 1), np.float32)
    for index, path in enumerate(mini_batch):
        pixels[index, ..., 0] = read_pixels(path)
    probabilities = classify(tf.constant(pixels)).numpy()[: len(mini_batch)]
    digits = probabilities.argmax(axis=1).tolist()
    confidences = probabilities.max(axis=1).tolist()
    return [
        {"file": Path(path).name, "digit": digit, "confidence": round(confidence, 4)}
        for path, digit, confidence in zip(mini_batch, digits, confidences, strict=True)
    ]


def read_pixels(path: str) -> NDArray[np.uint8]:
    """The grey values, height × width.  Raises ``ValueError`` for an image of another size, before it is unpacked."""
    with Image.open(path) as image:
        if image.size != image_size:
            raise ValueError(
                f"{path}: expected {image_size[0]} x {image_size[1]} pixels, got {image.width} x {image.height}"
            )
        return np.asarray(image.convert("L"))
