"""From what ``run()`` returned to a count and the bytes that the driver appends.

Invariant: ``rows`` is empty or ends with a newline, and depends on the result alone.
Errors of the user's own iterators and ``__str__`` methods pass through; what breaks the contract is a
``ContractError``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

from batchflow._core import text_rows
from batchflow.errors import ContractError, UsageError
from batchflow.tables.typed import TYPED_FORMATS
from batchflow.worker.csv_rows import CsvRows
from batchflow.worker.json_rows import JsonRows
from batchflow.worker.returned import Shape, counted, sort_out
from batchflow.worker.text_rows import TextRows

if TYPE_CHECKING:
    import pyarrow
    from numpy.typing import NDArray
    from pandas import DataFrame, Series


class Encoded(NamedTuple):
    """``header`` is csv's header line where there are rows, whether or not it shall be written; else empty."""

    returned_count: int
    header: bytes
    rows: bytes


_new = tuple.__new__  # a third of the time that Encoded(…) takes


class Encoder(Protocol):
    def encode(self, result: object, item_count: int) -> Encoded:
        """Raises ``ContractError`` if ``result`` must not be returned for a mini-batch of ``item_count`` items."""
        ...


class _Rows(Protocol):
    """One output format: the header and the rows of a value in each shape that ``returned`` knows."""

    def elements(self, elements: Sequence[Any]) -> tuple[bytes, bytes]: ...
    def array(self, array: NDArray[Any]) -> tuple[bytes, bytes]: ...
    def series(self, series: Series[Any]) -> tuple[bytes, bytes]: ...
    def frame(self, frame: DataFrame) -> tuple[bytes, bytes]: ...
    def table(self, table: pyarrow.Table) -> tuple[bytes, bytes]: ...


def make_encoder(
    *,
    output_format: Literal["text", "csv", "jsonl", "parquet", "arrow"] | None,
    delimiter: str | None = None,
    newline: Literal["error", "keep"] = "error",
    items: Literal["at_least", "exact", "any"] = "at_least",
) -> Encoder:
    """The encoder of one step; ``output_format`` None counts only (``summary_only``).

    Raises ``UsageError`` if ``delimiter`` is not one character.
    """
    if delimiter is not None and (len(delimiter) != 1 or delimiter in '"\r\n'):
        raise UsageError(f"delimiter: expected one character, not a quote or line break, got {delimiter!r}")
    exact = items == "exact"
    if output_format is None:
        return _CountEncoder(exact=exact)
    if output_format == "csv":
        return _RowsEncoder(CsvRows(delimiter or ","), exact=exact)
    if output_format == "jsonl":
        return _RowsEncoder(JsonRows(), exact=exact)
    if output_format in TYPED_FORMATS:
        from batchflow.worker.arrow_rows import ArrowRows

        return _RowsEncoder(ArrowRows(), exact=exact)
    keep = newline == "keep"
    return _TextEncoder(TextRows(delimiter or " ", keep_newlines=keep), exact=exact)


class _CountEncoder:
    def __init__(self, *, exact: bool) -> None:
        self._exact = exact

    def encode(self, result: object, item_count: int) -> Encoded:
        _, value = sort_out(result)
        _check_count(result, len(value), item_count, exact=self._exact)
        return Encoded(len(value), b"", b"")


class _RowsEncoder:
    def __init__(self, rows: _Rows, *, exact: bool) -> None:
        self._exact = exact
        self._write: dict[Shape, Callable[[Any], tuple[bytes, bytes]]] = {
            Shape.ELEMENTS: rows.elements,
            Shape.ARRAY: rows.array,
            Shape.SERIES: rows.series,
            Shape.FRAME: rows.frame,
            Shape.TABLE: rows.table,
        }

    def encode(self, result: object, item_count: int) -> Encoded:
        shape, value = sort_out(result)
        _check_count(result, len(value), item_count, exact=self._exact)
        return Encoded(len(value), *self._write[shape](value))


class _TextEncoder(_RowsEncoder):
    """Short cut for a list of strings, the usual result, at the speed of C."""

    def encode(self, result: object, item_count: int) -> Encoded:
        if type(result) is list and (rows := text_rows(result)) is not None:
            count = len(result)
            if count == item_count or not self._exact:
                return _new(Encoded, (count, b"", rows))
        return super().encode(result, item_count)


def _check_count(result: object, count: int, item_count: int, *, exact: bool) -> None:
    if not exact or count == item_count:
        return
    returned = "None" if result is None else counted(count, "element")
    raise ContractError(
        f"run() returned {returned} for {counted(item_count, 'item')}",
        hint='return one element for each item, or set items = "at_least" or "any"',
    )
