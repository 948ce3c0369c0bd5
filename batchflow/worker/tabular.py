"""Elements as a table: columns by their kind, which is the same for all elements of a mini-batch.

Dicts give columns by key, named tuples by field, sequences ``0..n-1``, scalars the one column ``result``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from batchflow.errors import ContractError
from batchflow.worker.returned import cells, counted, is_array, type_name


def table_of(elements: Sequence[Any]) -> tuple[Sequence[Any], Sequence[Sequence[Any]]]:
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
        raise ContractError("element 0 of what run() returned is an empty dict: a row needs at least one column")
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
        raise ContractError("element 0 of what run() returned is empty: a row needs at least one column")
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
