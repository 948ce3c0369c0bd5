"""Sorts made-up rows by their keys: FOLDER TABLES KEYS MEMORY.  Says how much memory that took, and what came of it.

A table has 20,000 rows, some 1.3 MB.  In a process of its own: what was ever taken counts.
"""

from __future__ import annotations

import json
import resource
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

from batchflow.tables import shuffle

ROWS = 20_000


def tables(count: int, key_count: int) -> Iterator[pa.Table]:
    chance, brands = np.random.default_rng(1), np.array([f"brand-{number}" for number in range(100)])
    for _ in range(count):
        keys = chance.integers(0, key_count, ROWS)
        columns = {name: chance.random(ROWS) for name in "abcdef"}
        yield pa.table({"store": keys // 100, "brand": brands[keys % 100], **columns})


def peak() -> int:
    """Bytes of memory at the most until now."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main(folder: Path, count: int, key_count: int, memory: int) -> None:
    keys = ["store", "brand"]
    shuffle.partition(tables(1, key_count), keys, folder, "first", ROWS, memory=memory)  # what is imported late
    before = peak()
    found = shuffle.partition(tables(count, key_count), keys, folder, "second", count * ROWS, memory=memory)
    distinct = {(key["store"], key["brand"]) for key in found["keys"]}
    report = {"before": before, "peak": peak(), "keys": len(found["keys"]), "distinct": len(distinct)}
    size = (folder / shuffle.ROWS).stat().st_size
    print(json.dumps(report | {"rows": sum(piece[2] for piece in found["pieces"]), "size": size}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:]))
