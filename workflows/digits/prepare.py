"""The ``prepare`` step: the 1,797 digits that come with scikit-learn, as training arrays and as images to score.

Each digit has 8 × 8 pixels with values from 0 to 16; they become grey values from 0 to 255.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from common.images import DIGITS, save_arrays, write_images
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split


def main(inputs: Mapping[str, str], outputs: Mapping[str, str], args: Mapping[str, Any]) -> None:
    """Hold out ``args["held_out"]`` digits as images and labels; the others are for training."""
    training, held_out = split(int(args["held_out"]), int(args["seed"]))
    save_arrays(Path(outputs["training"]), *training)
    write_images(Path(outputs["images"]), Path(outputs["labels"]), *held_out)
    print(f"{len(training[0]):,} digits to train on, {len(held_out[0]):,} held out", flush=True)


def split(held_out: int, seed: int) -> tuple[tuple[DIGITS, DIGITS], tuple[DIGITS, DIGITS]]:
    """Pixels and labels to train on, pixels and labels held out; every digit is in both in the same proportion."""
    digits = load_digits()
    pixels = np.rint(digits.images * (255 / 16)).astype(np.uint8)
    train_pixels, test_pixels, train_labels, test_labels = train_test_split(
        pixels, digits.target.astype(np.uint8), test_size=held_out, stratify=digits.target, random_state=seed
    )
    return (train_pixels, train_labels), (test_pixels, test_labels)
