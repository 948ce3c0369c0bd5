"""Rows of a ``text`` file: ``str(element)``, one to a line; frames as fields separated by one space.

A ``str`` is written as it is; a frame as ``DataFrame.to_csv(sep=" ", header=False, index=False)`` writes it.  Arrays
are written whole: numpy would break long ones into lines and leave values out of very long ones.

Invariant: without ``keep_newlines`` every element is exactly one line.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from batchflow.errors import ContractError
from batchflow.worker.frame_rows import frame_rows, table_rows
from batchflow.worker.returned import cells, encode, series_elements, texts

if TYPE_CHECKING:
    import pyarrow
    from numpy.typing import NDArray
    from pandas import DataFrame, Series


class TextRows:
    """``delimiter`` separates the fields of a frame."""

    def __init__(self, delimiter: str = " ", *, keep_newlines: bool = False) -> None:
        self._delimiter = delimiter
        self._keep_newlines = keep_newlines

    def elements(self, elements: Sequence[Any]) -> tuple[bytes, bytes]:
        try:
            text = "\n".join(elements)
        except TypeError:
            elements = texts(elements)
            text = "\n".join(elements)
        if not elements:
            return b"", b""
        if (text.count("\n") != len(elements) - 1 or "\r" in text) and not self._keep_newlines:
            self._refuse_newline(elements)
        return b"", encode(text) + b"\n"

    def array(self, array: NDArray[Any]) -> tuple[bytes, bytes]:
        return self.elements(cells(array) if array.ndim == 1 else list(array))

    def series(self, series: Series[Any]) -> tuple[bytes, bytes]:
        return self.elements(series_elements(series))

    def frame(self, frame: DataFrame) -> tuple[bytes, bytes]:
        return self._lines(frame_rows(frame, self._delimiter), len(frame))

    def table(self, table: pyarrow.Table) -> tuple[bytes, bytes]:
        return self._lines(table_rows(table, self._delimiter), len(table))

    def _lines(self, rows: bytes, row_count: int) -> tuple[bytes, bytes]:
        if (rows.count(b"\n") != row_count or b"\r" in rows) and not self._keep_newlines:
            raise ContractError(
                "a row of the DataFrame that run() returned contains a line break, which would make two lines of it",
                hint='set newline = "keep", or output_format = "csv"',
            )
        return b"", rows

    def _refuse_newline(self, elements: Sequence[str]) -> None:
        index, text = next((i, text) for i, text in enumerate(elements) if "\n" in text or "\r" in text)
        raise ContractError(
            f"element {index} of what run() returned contains a line break, which would make two lines of it: "
            f"{text[:60]!a}",
            hint='set newline = "keep", or output_format = "csv" or "jsonl"',
        )
