"""Files of tables, the pieces of them, and frames put together again: what several tests use."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from batchflow.tables.options import TableOptions
from batchflow.tables.reading import PieceReader
from batchflow.tables.schema import Schema
from batchflow.tables.scout import scout
from batchflow.tables.splitting import split_file

TEXT = "str" if int(pd.__version__.partition(".")[0]) >= 3 else "object"
"""The type of a column of text in pandas."""
Piece = tuple[str, int, int, int]
"""Path, begin, end, row count."""


def scouted(options: TableOptions, *paths: Path, size: int = 0, rows: int = 0) -> dict[str, Any]:
    job = {"options": options.as_json(), "paths": [str(path) for path in paths], "size": size, "rows": rows}
    return scout(job, lambda line: None)


def pieces_of(options: TableOptions, *paths: Path, size: int = 0, rows: int = 0) -> tuple[Schema, list[Piece]]:
    """As the driver finds them."""
    found = scouted(options, *paths, size=size, rows=rows)
    assert "error" not in found, found
    pieces = [(str(paths[file]), begin, end, count) for file, begin, end, count in found["pieces"]]
    for path in paths:
        if options.format in ("csv", "jsonl") and path.suffix not in (".gz", ".zst"):
            one = split_file(str(path), options, size=size, rows=rows)
            pieces += [(str(path), *place) for place in zip(one.begins, one.ends, one.counts, strict=True)]
    return Schema.from_json(found["schema"]), sorted(pieces, key=lambda piece: [str(p) for p in paths].index(piece[0]))


def parts_of(piece: Piece, numbers: random.Random) -> Iterator[tuple[Any, ...]]:
    """A piece as a whole, or cut somewhere."""
    count = piece[3]
    cut = numbers.randrange(count + 1)
    if cut in (0, count):
        yield (*piece, 0, count)
    else:
        yield (*piece, 0, cut)
        yield (*piece, cut, count - cut)


def whole(options: TableOptions, *paths: Path, seed: int = 0, **split: int) -> pd.DataFrame:
    """All rows, read in pieces and parts of pieces; each frame has the same types."""
    schema, pieces = pieces_of(options, *paths, **split)
    reader = PieceReader(options, schema, "pandas")
    numbers = random.Random(seed)
    frames = [reader.read(*part) for piece in pieces for part in parts_of(piece, numbers)]
    for frame in frames:
        assert list(frame.index) == list(range(len(frame)))
        assert frame.dtypes.equals(frames[0].dtypes)
    return pd.concat(frames, ignore_index=True)
