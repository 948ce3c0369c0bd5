"""The rows of one key, or some of them, from the file that ``shuffle`` has made; for workers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from batchflow.errors import TableError
from batchflow.private import open_regular
from batchflow.tables.options import FrameKind

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl

    from batchflow.tables.schema import Schema


class PartitionReader:
    """Reads as ``PieceReader`` does; ``begin`` and ``end`` are bytes."""

    def __init__(self, schema: Schema, kind: FrameKind) -> None:
        """Raises ``DatasetError`` if the library for ``kind`` is not installed."""
        from batchflow.tables.frames import Frames

        self._frames = Frames(schema, kind)

    def read(
        self, path: str, begin: int, end: int, row_count: int, skip: int, count: int
    ) -> pd.DataFrame | pa.Table | pl.DataFrame:
        """Rows ``skip`` to ``skip + count`` of a piece of ``row_count`` rows.  Raises ``TableError``."""
        return self._frames.frame(read_partition(path, begin, end, row_count).slice(skip, count))


def read_partition(path: str, begin: int, end: int, row_count: int) -> pa.Table:
    """All rows of one piece; raises ``TableError`` if the file is not as it was written."""
    try:
        with open_regular(Path(path)) as file:
            schema = pa.ipc.read_schema(pa.PythonFile(file))
            file.seek(begin)
            data = file.read(end - begin)
        source, batches = pa.BufferReader(data), []
        while source.tell() < len(data):
            batches.append(pa.ipc.read_record_batch(pa.ipc.read_message(source), schema))
        table = pa.Table.from_batches(batches, schema)
        problem = "" if table.num_rows == row_count else f"{table.num_rows:,} rows where {row_count:,} were written"
    except (OSError, EOFError, pa.ArrowException) as error:
        problem = str(error)
    if problem:
        hint = "run the same command again: the rows are sorted anew"
        raise TableError(f"{path}: bytes {begin:,} to {end:,}: {problem}", hint=hint)
    return table
