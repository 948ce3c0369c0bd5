"""The ``fetch`` step: MNIST's four files, from a folder of the user's or from the network, as NumPy arrays."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from common.images import DIGITS, save_arrays

from mnist import idx
from mnist.download import PINS, TEST_IMAGES, TEST_LABELS, TRAIN_IMAGES, TRAIN_LABELS, Pin, cache_folder, fetch_all


def main(inputs: Mapping[str, str], outputs: Mapping[str, str], args: Mapping[str, Any]) -> None:
    """Write the arrays ``training`` and ``test``; ``args["source"]`` names a folder, or is empty: download."""
    folder = source_folder(str(args["source"] or ""))
    for output, images, labels in (("training", TRAIN_IMAGES, TRAIN_LABELS), ("test", TEST_IMAGES, TEST_LABELS)):
        pixels, digits = read_pair(folder, images, labels)
        save_arrays(Path(outputs[output]), pixels, digits)
        print(f"{output}: {len(pixels):,} images of {pixels.shape[1]} x {pixels.shape[2]} from {folder}", flush=True)


def source_folder(source: str) -> Path:
    """The folder with the four files; raises ``FileNotFoundError`` when the one that is named lacks some."""
    if not source:
        folder = cache_folder()
        fetch_all(folder)
        return folder
    folder = Path(source)
    missing = [pin.name for pin in PINS if not (folder / pin.name).is_file()]
    if missing:
        raise FileNotFoundError(f"source={folder}: not found there: {', '.join(missing)}")
    return folder


def read_pair(folder: Path, images: Pin, labels: Pin) -> tuple[DIGITS, DIGITS]:
    """Images and their labels, one for each, of 28 × 28 pixels; raises ``idx.FormatError``."""
    pixels = idx.read_images(folder / images.name)
    digits = idx.read_labels(folder / labels.name)
    if len(pixels) != len(digits):
        raise idx.FormatError(f"{folder}: {len(pixels):,} images, but {len(digits):,} labels")
    if pixels.shape[1:] != (28, 28):
        raise idx.FormatError(
            f"{folder / images.name}: expected images of 28 x 28, got {pixels.shape[1]} x {pixels.shape[2]}"
        )
    return pixels, digits
