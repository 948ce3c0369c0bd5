"""DataFrames and Arrow tables as csv: the bytes of ``DataFrame.to_csv(index=False)``, many times as fast.

The core formats what it knows; a frame with a column of a rare type is left to ``to_csv``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from batchflow import _core
from batchflow.errors import ContractError
from batchflow.worker.csv_text import TextFile, written
from batchflow.worker.frame_columns import CHUNK_CELLS, PLAIN_DELIMITERS, frame_columns, holds_dates, table_columns
from batchflow.worker.returned import encode, whole_arrays

if TYPE_CHECKING:
    import pyarrow
    from pandas import DataFrame


def frame_rows(frame: DataFrame, delimiter: str) -> bytes:
    """The rows of a DataFrame as pandas writes them, without its index."""
    if not len(frame.columns):
        raise ContractError("run() returned a DataFrame without columns")
    if not len(frame):
        return b""
    rows = _formatted(frame, delimiter)
    return encode(_by_pandas(frame, delimiter, header=False)) if rows is None else rows


def table_rows(table: pyarrow.Table, delimiter: str) -> bytes:
    """The rows of an Arrow table as pandas writes the DataFrame that it stands for."""
    if delimiter in PLAIN_DELIMITERS and not stands_for_more(table):
        columns = table_columns(table)
        if columns is not None and (len(table) <= _chunk_size(len(columns)) or not holds_dates(columns)):
            rows = _core.format_rows(columns, len(table), ord(delimiter))
            if rows is not None:
                return rows
    return frame_rows(as_frame(table), delimiter)


def stands_for_more(table: pyarrow.Table) -> bool:
    """Whether only pandas can tell which rows and columns there are: an index that was a DataFrame's is among them."""
    return not table.num_columns or b"pandas" in (table.schema.metadata or {})


def as_frame(table: pyarrow.Table) -> DataFrame:
    """Integers and booleans with nulls stay what they are instead of becoming floats."""
    frame: DataFrame = table.to_pandas(integer_object_nulls=True)
    return frame


def frame_header(frame: DataFrame, delimiter: str) -> bytes:
    """The line that names the columns of a DataFrame, or the lines."""
    return encode(_by_pandas(frame.iloc[:0], delimiter, header=True))


def _formatted(frame: DataFrame, delimiter: str) -> bytes | None:
    if delimiter not in PLAIN_DELIMITERS:
        return None
    columns = frame_columns(frame)
    if columns is None:
        return None
    row_count, size = len(frame), _chunk_size(len(columns))
    if row_count > size and holds_dates(columns):
        # How much of a date is written, pandas decides anew for every chunk.
        chunks = (frame.iloc[start : start + size] for start in range(0, row_count, size))
        return b"".join(frame_rows(chunk, delimiter) for chunk in chunks)
    return _core.format_rows(columns, row_count, ord(delimiter))


def _chunk_size(column_count: int) -> int:
    """Rows that pandas writes at a time."""
    return max(1, CHUNK_CELLS // column_count)


def _by_pandas(frame: DataFrame, delimiter: str, *, header: bool) -> str:
    def write(file: TextFile, terminator: str) -> None:
        with whole_arrays():
            frame.to_csv(file, sep=delimiter, header=header, index=False, lineterminator=terminator)  # type: ignore[call-overload]

    return written(write)
