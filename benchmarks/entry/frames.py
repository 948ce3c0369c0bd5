"""A ``run()`` that returns one DataFrame, about a megabyte of csv, for each item: made by then, not yet written."""

import sys
from pathlib import Path

import numpy
import pandas

ROWS = {"plain": 29_000, "numbers": 14_000}
"""How many make a megabyte."""
FRAMES: dict[str, pandas.DataFrame] = {}


def init() -> None:
    """``argv``: the kind, then as in ``megabyte``."""
    FRAMES["ready"] = make(sys.argv[1])
    if len(sys.argv) == 4:
        from megabyte import have_memory  # type: ignore[import-not-found]  # beside this file, as a worker sees it

        have_memory(Path(sys.argv[2]), int(sys.argv[3]))


def run(mini_batch: list[str]) -> pandas.DataFrame:
    return FRAMES["ready"]


def make(kind: str) -> pandas.DataFrame:
    """``plain``: integers and strings that need no quotes; ``numbers``: floats, too, truth, and some quotes."""
    count = ROWS[kind]
    chance = numpy.random.default_rng(1)
    stores = numpy.array([f"store-{number:04d}" for number in range(1000)])
    columns = {"id": numpy.arange(count), "store": stores[chance.integers(0, 1000, count)]}
    if kind == "plain":
        columns |= {"brand": stores[chance.integers(0, 1000, count)], "sold": chance.integers(0, 100_000, count)}
    else:
        columns |= {"score": chance.random(count), "price": chance.integers(0, 10**6, count) / 100}
        columns |= {
            "kept": chance.random(count) < 0.5,
            "note": numpy.where(columns["id"] % 9 == 0, 'a "b", c', "plain"),
        }
    return pandas.DataFrame(columns)
