"""A ``run()`` that returns one row of a megabyte, newline included, for each item: bytes that are ready."""

import os
import sys
from pathlib import Path

ROW = "x" * 999_999
BYTES = (ROW + "\n").encode()


def init() -> None:
    """With arguments, a folder and a number of megabytes: have so much memory at hand when the clock starts."""
    if len(sys.argv) == 3:
        have_memory(Path(sys.argv[1]), int(sys.argv[2]))


def run(mini_batch: list[str]) -> list[str]:
    return [ROW] * len(mini_batch)


def have_memory(folder: Path, count: int) -> None:
    """Write as many megabytes to a file and remove it.

    A virtual machine gives free memory back to its host after some seconds, and to fetch a page again takes several
    times as long as to write it: without this the sides would be measured by how long ago the one before them ended.
    """
    path = folder / f"memory-{os.getpid()}"
    with path.open("wb", buffering=0) as file:
        for _ in range(count):
            file.write(BYTES)
    path.unlink()
