"""Digits on disk: one PNG file for each image, a table of labels, arrays for training.

Invariant: file names sort in the order of the images, so a listing of the folder has the order of the labels.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

DIGITS = NDArray[np.uint8]


def write_images(folder: Path, labels_path: Path, pixels: DIGITS, labels: DIGITS) -> None:
    """Write ``pixels`` (count × height × width) as grey PNG files, and a CSV file with the columns file, label."""
    folder.mkdir(parents=True, exist_ok=True)
    names = list(file_names(len(pixels)))
    for name, image in zip(names, pixels, strict=True):
        # Level 1: these images are tiny, and the time goes into the number of files, not into their size.
        Image.fromarray(image).save(folder / name, format="PNG", compress_level=1)
    with labels_path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["file", "label"])
        writer.writerows(zip(names, labels.tolist(), strict=True))


def file_names(count: int) -> Iterator[str]:
    """``00000.png``, ``00001.png`` …: zero-padded, so that they sort by number."""
    width = max(5, len(str(count - 1)))
    return (f"{index:0{width}}.png" for index in range(count))


def save_arrays(path: Path, pixels: DIGITS, labels: DIGITS) -> None:
    """Write both arrays to one uncompressed ``.npz`` file, under exactly this name."""
    with path.open("wb") as file:  # an open file, because savez appends .npz to a name that lacks it
        np.savez(file, pixels=pixels, labels=labels)


def load_arrays(path: Path) -> tuple[DIGITS, DIGITS]:
    """Pixels (count × height × width) and labels (count) of a file written by ``save_arrays``."""
    with np.load(path, allow_pickle=False) as arrays:
        return arrays["pixels"], arrays["labels"]
