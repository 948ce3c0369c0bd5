"""Rows of a ``csv`` file: the bytes that ``DataFrame.to_csv(index=False)`` writes, from lists too.

Elements give columns by their kind, the same for all elements of a mini-batch: dicts by key, named tuples by field,
sequences ``0..n-1``, scalars the one column ``result``.  Each value is written for itself (``1``, ``1.0``, ``True``,
nothing for None, NaN and NA): unlike in a DataFrame a missing value does not turn its column's integers into floats,
so the bytes do not depend on which items share a mini-batch.

A carriage return is quoted like a newline, which the ``csv`` module and so pandas do from Python 3.13 on: unquoted,
readers would take it for the end of the row.

Never checks that mini-batches agree with each other: the header tells the driver.
"""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

from batchflow.errors import ContractError
from batchflow.worker.returned import (
    cells,
    counted,
    encode,
    is_array,
    is_container,
    is_missing,
    structured_elements,
    texts,
    type_name,
    whole_arrays,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from pandas import DataFrame, Series

_PLAIN = frozenset((str, int, bool, type(None)))
"""Types that the csv writer writes as we want them, without a look at the value."""


class CsvRows:
    """``delimiter`` separates the fields."""

    def __init__(self, delimiter: str = ",") -> None:
        self._delimiter = delimiter

    def elements(self, elements: Sequence[Any]) -> tuple[bytes, bytes]:
        if not elements:
            return b"", b""
        columns, rows = _table(elements)
        header = _table_rows([columns], self._delimiter)
        return encode(header), encode(_table_rows([_row(row) for row in rows], self._delimiter))

    def array(self, array: NDArray[Any]) -> tuple[bytes, bytes]:
        return self.elements(structured_elements(array) if array.dtype.names else cells(array))

    def series(self, series: Series[Any]) -> tuple[bytes, bytes]:
        return self.frame(series.to_frame("result" if series.name is None else series.name))

    def frame(self, frame: DataFrame) -> tuple[bytes, bytes]:
        if not len(frame):
            return b"", b""
        header = encode(frame_rows(frame.iloc[:0], self._delimiter, header=True))
        return header, encode(frame_rows(frame, self._delimiter))


def frame_rows(frame: DataFrame, delimiter: str, *, header: bool = False) -> str:
    """The rows of a DataFrame as pandas writes them, without its index."""
    if not len(frame.columns):
        raise ContractError("run() returned a DataFrame without columns")

    def write(file: _TextFile, terminator: str) -> None:
        with whole_arrays():
            frame.to_csv(file, sep=delimiter, header=header, index=False, lineterminator=terminator)  # type: ignore[call-overload]

    return _written(write)


def _table_rows(rows: Sequence[Sequence[Any]], delimiter: str) -> str:
    return _written(lambda file, end: csv.writer(file, delimiter=delimiter, lineterminator=end).writerows(rows))


def _written(write: Callable[[_TextFile, str], None]) -> str:
    """What ``write(file, line_terminator)`` writes by means of the csv module, lines ended with a newline.

    Before Python 3.13 the module quotes a carriage return in a field only if it is part of the terminator.
    """
    try:
        buffer = io.StringIO(newline="")
        write(buffer, "\n")
        text = buffer.getvalue()
        if "\r" not in text or sys.version_info >= (3, 13):
            return text
        lines = _Lines()
        write(lines, "\r\n")
        return lines.text()
    except csv.Error as error:
        # Python 3.10 cannot write a NUL.
        raise ContractError(f"what run() returned cannot be written as csv: {error}") from None


class _TextFile(Protocol):
    def write(self, text: str, /) -> int: ...


class _Lines:
    """A file for the csv module, which writes each row with one call, that turns the final CR LF of it into LF."""

    def __init__(self) -> None:
        self._lines: list[str] = []

    def write(self, text: str, /) -> int:
        self._lines.append(text[:-2] + "\n")
        return len(text)

    def text(self) -> str:
        return "".join(self._lines)


def _table(elements: Sequence[Any]) -> tuple[Sequence[Any], Sequence[Sequence[Any]]]:
    """The columns and the rows of elements that are all dicts, all sequences or all scalars."""
    first = elements[0]
    if isinstance(first, Mapping):
        return _table_of_dicts(elements, list(first))
    if _is_sequence(first):
        return _table_of_sequences(elements, first)
    for index, element in enumerate(elements):
        if isinstance(element, Mapping) or _is_sequence(element):
            _refuse_kind(index, element, first, "a single value")
    return ["result"], [(element,) for element in elements]


def _table_of_dicts(elements: Sequence[Any], columns: list[Any]) -> tuple[list[Any], list[Any]]:
    if not columns:
        raise ContractError("element 0 of what run() returned is an empty dict: a csv row needs at least one column")
    rows = []
    for index, element in enumerate(elements):
        if not isinstance(element, Mapping):
            _refuse_kind(index, element, elements[0], "a dict")
        if element.keys() != elements[0].keys():
            _refuse_columns(index, element, columns)
        rows.append([element[column] for column in columns])
    return columns, rows


def _refuse_columns(index: int, element: Mapping[Any, Any], columns: list[Any]) -> NoReturn:
    missing = [column for column in columns if column not in element]
    what = f"has no column {missing[0]!r}" if missing else ""
    if not missing:
        surplus = next(column for column in element if column not in set(columns))
        what = f"has a column {surplus!r} that element 0 has not"
    raise ContractError(
        f"element {index} of what run() returned {what}; the columns of element 0 are {columns!r}",
        hint="return the same keys for each item, with None where there is no value",
    )


def _table_of_sequences(elements: Sequence[Any], first: Sequence[Any]) -> tuple[Sequence[Any], list[Any]]:
    width = len(first)
    if not width:
        raise ContractError("element 0 of what run() returned is empty: a csv row needs at least one column")
    rows = []
    for index, element in enumerate(elements):
        if not _is_sequence(element):
            _refuse_kind(index, element, first, "a sequence")
        if len(element) != width:
            raise ContractError(
                f"element {index} of what run() returned has {counted(len(element), 'column')}, element 0 has {width}"
            )
        rows.append(cells(element) if is_array(element) else element)
    return getattr(first, "_fields", range(width)), rows


def _is_sequence(element: object) -> bool:
    return isinstance(element, (list, tuple)) or (is_array(element) and element.ndim == 1)


def _refuse_kind(index: int, element: object, first: object, wanted: str) -> NoReturn:
    raise ContractError(
        f"element {index} of what run() returned is of type {type_name(type(element))}, element 0 of type "
        f"{type_name(type(first))}: expected {wanted}, the same for each item"
    )


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
