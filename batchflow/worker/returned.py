"""What ``run()`` returned, sorted into the five shapes that the output formats know.

Accepts lists, tuples, numpy arrays of one or two dimensions, pandas Series and DataFrames, Arrow tables and other
iterables, which are consumed here.  Everything else is a ``ContractError`` that names its type.

Never imports numpy, pandas, pyarrow or polars: a value of theirs can only exist when the script has imported them, so
they are looked up in ``sys.modules``.
"""

from __future__ import annotations

import contextlib
import io
import sys
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from typing import TYPE_CHECKING, Any, NoReturn, TypeGuard

from batchflow.errors import ContractError

if TYPE_CHECKING:
    from numpy import generic
    from numpy.typing import NDArray
    from pandas import DataFrame, Series

ALLOWED = "a list, a tuple, a numpy array, a pandas Series or DataFrame, an Arrow table, another iterable, or None"

_SIMPLE = frozenset((str, int, float, bool, type(None)))
_REFUSED_ITERABLES = (str, bytes, bytearray, memoryview, Mapping, set, frozenset, type, io.IOBase)


class Shape(Enum):
    """A list or tuple; numpy, 1 or 2 dimensions; pandas; pandas; Arrow."""

    ELEMENTS = "elements"
    ARRAY = "array"
    SERIES = "series"
    FRAME = "frame"
    TABLE = "table"


def is_a(value: object, module: str, *names: str) -> bool:
    """Whether ``value`` is an instance of one of the named classes of a module that is loaded already."""
    loaded = sys.modules.get(module)
    kinds = (getattr(loaded, name, None) for name in names)
    return loaded is not None and any(isinstance(kind, type) and isinstance(value, kind) for kind in kinds)


def is_array(value: object) -> TypeGuard[NDArray[Any]]:
    numpy = sys.modules.get("numpy")
    return numpy is not None and isinstance(value, numpy.ndarray)


def is_numpy_scalar(value: object) -> TypeGuard[generic]:
    numpy = sys.modules.get("numpy")
    return numpy is not None and isinstance(value, numpy.generic)


def is_series(value: object) -> TypeGuard[Series[Any]]:
    return is_a(value, "pandas", "Series")


def is_frame(value: object) -> TypeGuard[DataFrame]:
    return is_a(value, "pandas", "DataFrame")


def sort_out(result: object) -> tuple[Shape, Any]:
    """The shape of ``result`` and the value in that shape; ``len(value)`` is what counts as returned.

    None is no elements.  Raises ``ContractError`` for what must not be returned; errors of the user's own iterators
    pass through.
    """
    if isinstance(result, (list, tuple)):
        return Shape.ELEMENTS, result
    if result is None:
        return Shape.ELEMENTS, ()
    if is_array(result):
        return _array(result)
    if is_frame(result):
        return Shape.FRAME, result
    if is_series(result):
        return Shape.SERIES, result
    if is_a(result, "polars", "DataFrame", "Series"):
        result = result.to_arrow()  # type: ignore[attr-defined]
    if is_a(result, "pyarrow", "Array", "ChunkedArray"):
        return Shape.ELEMENTS, result.to_pylist()  # type: ignore[attr-defined]
    if is_a(result, "pyarrow", "Table"):
        return Shape.TABLE, result
    if is_a(result, "pyarrow", "RecordBatch"):
        return Shape.TABLE, sys.modules["pyarrow"].Table.from_batches([result])
    if isinstance(result, Iterable) and not isinstance(result, _REFUSED_ITERABLES):
        return Shape.ELEMENTS, list(result)
    _refuse(result)


def _array(array: NDArray[Any]) -> tuple[Shape, Any]:
    if array.ndim not in (1, 2):
        raise ContractError(
            f"run() returned a numpy array of {array.ndim} dimensions; expected 1 or 2",
            hint="return one element, or one row, for each item",
        )
    return Shape.ARRAY, array


def _refuse(result: object) -> NoReturn:
    kind = type_name(type(result))
    hint = None
    if isinstance(result, Mapping):
        hint = "return a list with one dict for each item"
    elif isinstance(result, (set, frozenset)):
        hint = "a set has no order: return a list"
    elif kind in ("coroutine", "async_generator"):
        hint = "run() must not be async"
    elif isinstance(result, (str, bytes, int, float)):
        hint = "return a list with one element for each item"
    raise ContractError(f"run() returned {article(kind)} {kind}; expected {ALLOWED}", hint=hint)


def type_name(kind: type) -> str:
    """``str``, ``numpy.float32``: the qualified name, without ``builtins``."""
    module = kind.__module__
    return kind.__qualname__ if module == "builtins" else f"{module}.{kind.__qualname__}"


def article(noun: str) -> str:
    return "an" if noun.lstrip("_")[:1].lower() in {"a", "e", "i", "o"} else "a"


def counted(count: int, noun: str) -> str:
    """``1 element``, ``9 elements``."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def cells(array: NDArray[Any]) -> list[Any]:
    """The elements of an array, of a 2-D array lists of them; written with ``str`` they look as numpy's do.

    Built-in values where their ``str`` is the same: ``numpy.float32(0.1)`` must stay, or it becomes
    ``0.10000000149011612``.
    """
    kind = array.dtype.kind
    if kind in "biuUO" or (kind == "f" and array.dtype.itemsize == 8):
        return list(array.tolist())
    return list(array) if array.ndim == 1 else [list(row) for row in array]


def series_elements(series: Series[Any]) -> list[Any]:
    """The elements of a Series, numbers as in ``cells``."""
    is_number = is_a(series.dtype, "numpy", "dtype") and series.dtype.kind in "biuf"
    return cells(series.to_numpy()) if is_number else list(series)


def as_named_frame(series: Series[Any]) -> DataFrame:
    """A DataFrame of one column, ``result`` if the Series has no name."""
    return series.to_frame("result" if series.name is None else series.name)


def structured_elements(array: NDArray[Any]) -> list[dict[str, Any]]:
    """The records of a structured array as dicts by field name."""
    names = array.dtype.names or ()
    return [dict(zip(names, record, strict=True)) for record in array.ravel().tolist()]


def texts(elements: Sequence[object]) -> list[str]:
    """``str`` of each element; arrays, also in containers, are written whole.

    Numpy would break them into lines, and leave values out (``[0. 1. ... 9.]``) from 1,000 on.
    """
    if _SIMPLE.issuperset(map(type, elements)):
        return list(map(str, elements))
    with whole_arrays():
        return list(map(str, elements))


def whole_arrays() -> contextlib.AbstractContextManager[Any]:
    """While entered, ``str`` of a numpy array neither breaks lines nor leaves values out."""
    numpy = sys.modules.get("numpy")
    if numpy is None:
        return contextlib.nullcontext()
    manager: contextlib.AbstractContextManager[Any] = numpy.printoptions(threshold=sys.maxsize, linewidth=sys.maxsize)
    return manager


def is_container(value: object) -> bool:
    """Whether arrays may be in ``value``, or it is one."""
    return isinstance(value, (list, tuple, Mapping, set, frozenset)) or is_array(value)


def is_missing(value: object) -> bool:
    """Whether a value stands for "no value" by pandas' rules: None, NaN of any type, NaT, NA."""
    if value is None:
        return True
    if is_a(value, "decimal", "Decimal"):
        return bool(value.is_nan())  # type: ignore[attr-defined]
    if isinstance(value, float) or is_numpy_scalar(value):
        return bool(value != value)
    pandas = sys.modules.get("pandas")
    return pandas is not None and (value is pandas.NA or value is pandas.NaT)


def encode(text: str) -> bytes:
    """UTF-8, file names that are not UTF-8 as their original bytes.

    Raises ``ContractError`` for other lone surrogates, which no file can hold.
    """
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as error:
        around = text[max(0, error.start - 20) : error.start + 20]
        raise ContractError(
            f"what run() returned has the lone surrogate {text[error.start]!a} in it, which is not a character: "
            f"{around!a}"
        ) from None
