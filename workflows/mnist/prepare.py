"""The ``prepare`` step: MNIST's test images, one PNG file each."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from common.images import load_arrays, write_images


def main(inputs: Mapping[str, str], outputs: Mapping[str, str], args: Mapping[str, Any]) -> None:
    """Write the first ``args["limit"]`` images of ``test`` to the folder ``images``, and their ``labels``."""
    pixels, labels = load_arrays(Path(inputs["test"]))
    limit = int(args["limit"])
    write_images(Path(outputs["images"]), Path(outputs["labels"]), pixels[:limit], labels[:limit])
    print(f"{len(pixels[:limit]):,} of {len(pixels):,} test images written", flush=True)
