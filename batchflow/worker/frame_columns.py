"""DataFrames and Arrow tables as columns that the core formats, so that no cell becomes a Python object.

A column of a rare type makes its frame one for ``to_csv``: None.  The formats are those of pandas, which looks at all
dates of a chunk of rows to decide how much of them is written.

Never imports numpy, pandas or pyarrow by itself: a frame brings them along.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from batchflow import _core
from batchflow._core import Column
from batchflow.worker.returned import is_a

if TYPE_CHECKING:
    import pyarrow
    from numpy.typing import NDArray
    from pandas import DataFrame

PLAIN_DELIMITERS = frozenset(" ,;|\t")
"""Those that no number is written with."""
CHUNK_CELLS = 100_000
"""Of as many cells pandas writes the rows at a time."""

_BY_NUMPY = {"i": ("i8", _core.SIGNED), "u": ("u8", _core.UNSIGNED), "b": ("b1", _core.BOOL)}
_BY_ARROW = {
    **dict.fromkeys(("int8", "int16", "int32", "int64", "null"), ("int64", _core.SIGNED)),
    **dict.fromkeys(("uint8", "uint16", "uint32", "uint64"), ("uint64", _core.UNSIGNED)),
    "bool": ("uint8", _core.BOOL),
    "float": ("float", _core.FLOAT),
    "double": ("double", _core.DOUBLE),
    "string": ("string", _core.TEXT32),
    "large_string": ("large_string", _core.TEXT64),
    "string_view": ("large_string", _core.TEXT64),
}
"""Arrow type → the type to cast to, and its kind."""
_NULLABLE = frozenset(f"{kind}{size}" for kind in ("Int", "UInt") for size in (8, 16, 32, 64)) | {"boolean", "Float64"}
_TICKS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
_DAY_S = 86_400
_YEARS_S = (-30_610_224_000, 253_402_300_800)
"""Seconds since 1970 of 1000-01-01 and of 10000-01-01."""
_NO_DATE = -(1 << 63)


def frame_columns(frame: DataFrame) -> list[Column] | None:
    """The columns of a DataFrame; None if one is of a type that the core does not format."""
    columns = []
    for array in _column_arrays(frame):
        column = _column(array)
        if column is None:
            return None
        columns.append(column)
    return columns


def table_columns(table: pyarrow.Table) -> list[Column] | None:
    """The columns of an Arrow table, as those of the DataFrame that it stands for."""
    columns = []
    for array in table.columns:
        column = _table_column(array)
        if column is None:
            return None
        columns.append(column)
    return columns


def holds_dates(columns: list[Column]) -> bool:
    return any(column.kind == _core.DATE for column in columns)


def _column_arrays(frame: DataFrame) -> Iterable[Any]:
    """The columns as they lie in memory; the public way makes a Series of each, in ten times as long."""
    arrays = getattr(frame, "_iter_column_arrays", None)
    return (series.array for _, series in frame.items()) if arrays is None else arrays()


def _column(array: Any) -> Column | None:  # noqa: ANN401
    dtype = array.dtype
    if is_a(dtype, "numpy", "dtype"):
        return _array_column(sys.modules["numpy"].asarray(array))
    name = dtype.name
    if name in _NULLABLE or is_a(dtype, "pandas", "StringDtype", "CategoricalDtype", "ArrowDtype"):
        return _extension_column(array, name)
    return None


def _array_column(array: NDArray[Any]) -> Column | None:
    numpy = sys.modules["numpy"]
    kind, size = array.dtype.kind, array.dtype.itemsize
    if kind in _BY_NUMPY:
        dtype, of_core = _BY_NUMPY[kind]
        return Column(of_core, numpy.ascontiguousarray(array, dtype))
    if kind == "f" and size in (4, 8):
        values = numpy.ascontiguousarray(array, f"=f{size}")
        return Column(_core.DOUBLE, values) if size == 8 else Column(_core.FLOAT, values, scale=single_scale())
    if kind == "O":
        return Column(_core.OBJECTS, array.tolist())
    if kind == "M":
        return _date_column(array)
    return None


@functools.cache
def single_scale() -> int:
    """The power of ten from which on this numpy writes single precision with an exponent."""
    numpy = sys.modules["numpy"]
    power = 5
    while "e" not in str(numpy.float32(10**power)):
        power += 1
    return int(10**power)


def _extension_column(values: Any, name: str) -> Column | None:  # noqa: ANN401
    pyarrow = sys.modules.get("pyarrow")
    if pyarrow is None:
        return None
    try:
        array = pyarrow.array(values)
    except (pyarrow.ArrowException, UnicodeError):  # categories of several types; text that is no UTF-8
        return None
    column = _arrow_column(array)
    if column is None or column.kind not in (_core.FLOAT, _core.DOUBLE):
        return column
    # Of these pandas writes a NaN that is not missing, and single precision now as such and now as double.
    is_known = column.kind == _core.DOUBLE and (name == "category" or (name == "Float64" and not _holds_nan(array)))
    return column if is_known else None


def _holds_nan(array: pyarrow.Array) -> bool:
    numpy = sys.modules["numpy"]
    return bool(numpy.isnan(array.to_numpy(zero_copy_only=False)).sum() > array.null_count)


def _table_column(array: pyarrow.ChunkedArray) -> Column | None:
    types = sys.modules["pyarrow"].types
    if types.is_timestamp(array.type) and array.type.tz is None:
        return _date_column(array.to_numpy())
    if types.is_dictionary(array.type) and types.is_float32(array.type.value_type):
        return None
    return _arrow_column(array)


def _arrow_column(array: pyarrow.Array | pyarrow.ChunkedArray) -> Column | None:
    pyarrow = sys.modules["pyarrow"]
    if isinstance(array, pyarrow.ChunkedArray):
        array = array.chunk(0) if array.num_chunks == 1 else array.combine_chunks()
    if pyarrow.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    dtype, kind = _BY_ARROW.get(str(array.type), ("", -1))
    if not dtype:
        return None
    if str(array.type) != dtype:
        array = array.cast(dtype)
    valid, values, *text = array.buffers()
    return Column(
        kind,
        values,
        (text[0] or b"") if text else None,
        valid if array.null_count else None,
        first=array.offset,
        scale=single_scale() if kind == _core.FLOAT else 0,
    )


def _date_column(array: NDArray[Any]) -> Column | None:
    """Dates alone, seconds, or milli-, micro- or nanoseconds, by what the finest of them needs."""
    numpy = sys.modules["numpy"]
    unit, count = numpy.datetime_data(array.dtype)
    second = _TICKS.get(unit)
    if second is None or count != 1:
        return None
    ticks = numpy.ascontiguousarray(array, array.dtype.newbyteorder("=")).view("i8")
    dates = ticks[ticks != _NO_DATE]
    if dates.size and not (_YEARS_S[0] * second <= dates.min() and dates.max() < _YEARS_S[1] * second):
        return None
    if not (dates % (_DAY_S * second)).any():
        digits = -1
    else:
        digits = next(size for size in (0, 3, 6, 9) if second <= 10**size or not (dates % (second // 10**size)).any())
    return Column(_core.DATE, ticks, scale=second, digits=digits)
