"""Rows of a table for ``run()``: part of a piece of a file → a frame.  For workers; imports pyarrow.

One schema for the whole dataset: which types a frame has never depends on the piece.  One thread reads.
"""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

from batchflow.tables.arrow_floor import require_safe_arrow
from batchflow.tables.columnar import ColumnarReader
from batchflow.tables.frames import Frames
from batchflow.tables.options import FrameKind, TableOptions
from batchflow.tables.schema import Schema
from batchflow.tables.text_reading import TextReader

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl
    import pyarrow as pa


def import_ahead(kind: FrameKind) -> None:
    """Import what readers for ``kind`` use, all of it, so that no file of the user's can take its place later.

    What is not installed is left to ``PieceReader`` to say.
    """
    import pyarrow as pa

    if kind == "pandas":
        pa.table({"x": [1]}).to_pandas(use_threads=False)
    elif kind == "polars" and importlib.util.find_spec("polars") is not None:
        import polars as pl

        pl.from_arrow(pa.table({"x": [1]}))


class PieceReader:
    """Reads pieces of the files of one dataset."""

    def __init__(self, options: TableOptions, schema: Schema, kind: FrameKind) -> None:
        """Raises ``DatasetError`` if what is installed cannot read them."""
        require_safe_arrow()
        reader = TextReader if options.format in ("csv", "jsonl") else ColumnarReader
        self._read = reader(options, schema).read
        self._frame = Frames(schema, kind).frame

    def read(
        self, path: str, begin: int, end: int, row_count: int, skip: int, count: int
    ) -> pd.DataFrame | pa.Table | pl.DataFrame:
        """Rows ``skip`` to ``skip + count`` of a piece of ``row_count`` rows, which has the index 0, 1, ….

        ``begin``, ``end``: bytes of a text file, of its text if that is compressed, rows of others.

        Raises ``TableError`` for what is not as the schema and the scan say.
        """
        return self._frame(self._read(path, begin, end, row_count, skip, count))
