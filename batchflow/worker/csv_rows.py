"""Rows of a ``csv`` file: the bytes that ``DataFrame.to_csv(index=False)`` writes, from lists too.

Of elements each value is written for itself (``1``, ``1.0``, ``True``, nothing for None, NaN and NA): unlike in a
DataFrame a missing value does not turn its column's integers into floats, so the bytes do not depend on which items
share a mini-batch.

A carriage return is quoted like a newline, which the ``csv`` module and so pandas do from Python 3.13 on: unquoted,
readers would take it for the end of the row.

Never checks that mini-batches agree with each other: the header tells the driver.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from batchflow.worker.csv_text import csv_text
from batchflow.worker.frame_rows import as_frame, frame_header, frame_rows, stands_for_more, table_rows
from batchflow.worker.returned import (
    as_named_frame,
    cells,
    encode,
    is_container,
    is_missing,
    structured_elements,
    texts,
)
from batchflow.worker.tabular import table_of

if TYPE_CHECKING:
    import pyarrow
    from numpy.typing import NDArray
    from pandas import DataFrame, Series

_PLAIN_LABELS = frozenset((str, int))
_PLAIN = frozenset((str, int, bool, type(None)))
"""Types that the csv writer writes as we want them, without a look at the value."""


class CsvRows:
    """``delimiter`` separates the fields."""

    def __init__(self, delimiter: str = ",") -> None:
        self._delimiter = delimiter
        self._labels: list[Any] = []
        self._header = b""
        """That of ``_labels``: seldom does a frame have others than the last one."""

    def elements(self, elements: Sequence[Any]) -> tuple[bytes, bytes]:
        if not elements:
            return b"", b""
        columns, rows = table_of(elements)
        header = csv_text([columns], self._delimiter)
        return encode(header), encode(csv_text([_row(row) for row in rows], self._delimiter))

    def array(self, array: NDArray[Any]) -> tuple[bytes, bytes]:
        return self.elements(structured_elements(array) if array.dtype.names else cells(array))

    def series(self, series: Series[Any]) -> tuple[bytes, bytes]:
        return self.frame(as_named_frame(series))

    def frame(self, frame: DataFrame) -> tuple[bytes, bytes]:
        if not len(frame):
            return b"", b""
        labels = frame.columns.tolist()
        if _PLAIN_LABELS.issuperset(map(type, labels)):
            return self._header_of(labels), frame_rows(frame, self._delimiter)
        return frame_header(frame, self._delimiter), frame_rows(frame, self._delimiter)

    def table(self, table: pyarrow.Table) -> tuple[bytes, bytes]:
        if not len(table):
            return b"", b""
        if stands_for_more(table):
            return self.frame(as_frame(table))
        return self._header_of(table.column_names), table_rows(table, self._delimiter)

    def _header_of(self, labels: list[Any]) -> bytes:
        if labels != self._labels:
            self._labels, self._header = labels, encode(csv_text([labels], self._delimiter))
        return self._header


def _row(row: Sequence[object]) -> Sequence[object]:
    return row if _PLAIN.issuperset(map(type, row)) else [_cell(value) for value in row]


def _cell(value: object) -> object:
    """The value as the csv writer shall get it: None if it is missing, text if it is a container."""
    kind = type(value)
    if kind is float:
        return value if value == value else None
    if kind in _PLAIN:
        return value
    if is_missing(value):
        return None
    return texts([value])[0] if is_container(value) else value
