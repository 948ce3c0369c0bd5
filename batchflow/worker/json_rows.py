"""Rows of a ``jsonl`` file: one JSON value to a line, in ASCII, so that no reader splits a line differently.

Numpy and pandas scalars and arrays, dates (ISO 8601) and paths become plain JSON; missing values (None, NaN, NaT, NA)
become null.  What JSON cannot hold without loss (bytes, infinity, sets, other objects) is a ``ContractError`` that says
where it stands.  File names that are not UTF-8 are escaped as ``\\udcXX`` and come back as Python knows them.
"""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from batchflow.errors import ContractError
from batchflow.worker.frame_rows import as_frame
from batchflow.worker.returned import (
    encode,
    is_array,
    is_missing,
    is_numpy_scalar,
    is_series,
    structured_elements,
    type_name,
)

if TYPE_CHECKING:
    import pyarrow
    from numpy import generic
    from numpy.typing import NDArray
    from pandas import DataFrame, Series

_to_text = json.JSONEncoder(allow_nan=False).encode
_to_unicode = json.JSONEncoder(ensure_ascii=False).encode


class JsonRows:
    def elements(self, elements: Sequence[Any]) -> tuple[bytes, bytes]:
        lines = [_line(index, element) for index, element in enumerate(elements)]
        return b"", "".join(lines).encode("ascii")

    def array(self, array: NDArray[Any]) -> tuple[bytes, bytes]:
        return self.elements(structured_elements(array) if array.dtype.names else array.tolist())

    def series(self, series: Series[Any]) -> tuple[bytes, bytes]:
        return self.elements(series.tolist())

    def frame(self, frame: DataFrame) -> tuple[bytes, bytes]:
        """One object to a row, keys are the column labels as text."""
        names = [str(name) for name in frame.columns]
        for index, name in enumerate(names):
            if name in names[:index]:
                raise ContractError(
                    f"the DataFrame that run() returned has two columns {name!r}; json needs distinct keys"
                )
        columns = [frame.iloc[:, index].tolist() for index in range(len(names))]
        return self.elements([dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)])

    def table(self, table: pyarrow.Table) -> tuple[bytes, bytes]:
        return self.frame(as_frame(table))


def _line(index: int, element: object) -> str:
    try:
        text = _to_text(element)
    except (TypeError, ValueError, RecursionError):
        # The fast way met something that only we know how to write, or nobody.
        element = _plain_element(index, element)
        text = _to_text(element)
    if "\\ud" in text:
        # Perhaps lone surrogates; only those of file names come back from their escapes as they were.
        encode(_to_unicode(element))
    return text + "\n"


def _plain_element(index: int, element: object) -> object:
    try:
        return _plain(element, f"element {index} of what run() returned")
    except RecursionError:
        raise ContractError(
            f"element {index} of what run() returned contains itself, or is nested too deeply"
        ) from None


def _plain(value: object, where: str) -> object:
    """``value`` made of dicts, lists, str, int, finite float, bool and None alone."""
    if isinstance(value, Mapping):
        return {_key(key, where): _plain(one, f"{where}, at {key!r}") for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(one, where) for one in value]
    if isinstance(value, (str, int)):
        return value
    if is_missing(value):
        return None
    if isinstance(value, float):
        return _finite(value, where)
    if is_array(value):
        return _plain(structured_elements(value) if value.dtype.names else value.tolist(), where)
    if is_numpy_scalar(value):
        return _plain_scalar(value, where)
    if is_series(value):
        return _plain(value.tolist(), where)
    if (datetime := sys.modules.get("datetime")) and isinstance(value, (datetime.date, datetime.time)):
        return value.isoformat()  # there is none where nobody imported it
    if isinstance(value, os.PathLike):
        return _plain(os.fspath(value), where)
    _refuse(value, where)


def _plain_scalar(value: generic, where: str) -> object:
    kind = value.dtype.kind
    if kind == "b":
        return bool(value)
    if kind in "iu":
        return int(value)
    if kind == "f":
        return _finite(float(value), where)
    if kind == "M":
        return str(value)
    _refuse(value, where)


def _finite(value: float, where: str) -> float:
    if math.isfinite(value):
        return value
    raise ContractError(f"{where} is {value}, which json cannot hold", hint="return None, or a string")


def _key(key: object, where: str) -> object:
    if is_numpy_scalar(key) and not isinstance(key, str):
        return _plain_scalar(key, where)
    if isinstance(key, (str, int, float, bool)) or key is None:
        return key
    if isinstance(key, os.PathLike):
        return os.fspath(key)
    raise ContractError(f"{where} has a key of type {type_name(type(key))}, which json cannot hold")


def _refuse(value: object, where: str) -> NoReturn:
    hint = "decode it, or write it to a file of your own" if isinstance(value, (bytes, bytearray)) else None
    raise ContractError(f"{where} is of type {type_name(type(value))}, which json cannot hold", hint=hint)
