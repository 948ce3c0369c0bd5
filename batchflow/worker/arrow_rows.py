"""Typed rows, for ``parquet`` and ``arrow`` outputs: a schema message names the columns, a record batch holds the rows.

Elements give columns as those of csv do, frames and tables have theirs; what is missing (None, NaN, NaT, NA) is null.
Types that only differ in how they lie in memory are one: texts are ``string``, categories what they stand for, half
precision is single.  A column in which all is missing and that has no type counts as text.

Never checks that mini-batches agree with each other: the schema message tells the driver.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from batchflow.errors import ContractError
from batchflow.tables.typed import schema_metadata
from batchflow.worker.returned import as_named_frame, is_array, structured_elements
from batchflow.worker.tabular import table_of

if TYPE_CHECKING:
    import pyarrow
    from numpy.typing import NDArray
    from pandas import DataFrame, Series

_TEXT_HINT = "text must be UTF-8; return the bytes, or write file names with os.fsencode"


class ArrowRows:
    def __init__(self) -> None:
        self._schema: pyarrow.Schema | None = None
        self._columns = b""
        """The message of ``_schema``: seldom does a result have another one than the last."""

    def elements(self, elements: Sequence[Any]) -> tuple[bytes, bytes]:
        if not elements:
            return b"", b""
        labels, rows = table_of(elements)
        return self._named(labels, list(zip(*rows, strict=True)))

    def array(self, array: NDArray[Any]) -> tuple[bytes, bytes]:
        if array.dtype.names:
            return self.elements(structured_elements(array))
        if not len(array):
            return b"", b""
        if array.ndim == 1:
            return self._named(["result"], [array])
        if not array.shape[1]:
            raise ContractError("run() returned an array without columns")
        return self._named(range(array.shape[1]), list(array.T))

    def series(self, series: Series[Any]) -> tuple[bytes, bytes]:
        return self.frame(as_named_frame(series))

    def frame(self, frame: DataFrame) -> tuple[bytes, bytes]:
        if not len(frame):
            return b"", b""
        columns = [frame.iloc[:, index] for index in range(len(frame.columns))]
        return self._named(frame.columns.tolist(), columns)

    def table(self, table: pyarrow.Table) -> tuple[bytes, bytes]:
        if not len(table):
            return b"", b""
        return self._messages(table.column_names, [_whole(column) for column in table.columns])

    def _named(self, labels: Sequence[Any], columns: Sequence[Any]) -> tuple[bytes, bytes]:
        names = [str(label) for label in labels]
        return self._messages(names, [_array(name, values) for name, values in zip(names, columns, strict=True)])

    def _messages(self, names: list[str], arrays: list[pyarrow.Array]) -> tuple[bytes, bytes]:
        """The schema message, and the message of one record batch."""
        import pyarrow

        if not names:
            raise ContractError("run() returned a DataFrame without columns")
        if len(set(names)) < len(names):
            double = next(name for index, name in enumerate(names) if name in names[:index])
            raise ContractError(f"what run() returned has two columns {double!r}; typed output needs distinct names")
        for index, name in enumerate(names):
            with _explained(name):
                arrays[index] = _plain(arrays[index])
        schema = pyarrow.schema([(name, array.type) for name, array in zip(names, arrays, strict=True)])
        if self._schema is None or not schema.equals(self._schema):
            described = [(name, str(array.type)) for name, array in zip(names, arrays, strict=True)]
            with _explained(", ".join(names)):
                self._columns = schema.with_metadata(schema_metadata(described)).serialize().to_pybytes()
            self._schema = schema
        batch = pyarrow.RecordBatch.from_arrays(arrays, schema=schema)
        return self._columns, batch.serialize().to_pybytes()


def _array(name: str, values: Any) -> pyarrow.Array:  # noqa: ANN401
    import pyarrow

    with _explained(name):
        if not is_array(values) and not hasattr(values, "dtype"):
            values = [os.fspath(value) if isinstance(value, os.PathLike) else value for value in values]
        return _whole(pyarrow.array(values, from_pandas=True))


def _whole(array: pyarrow.Array | pyarrow.ChunkedArray) -> pyarrow.Array:
    import pyarrow

    if not isinstance(array, pyarrow.ChunkedArray):
        return array
    return array.chunk(0) if array.num_chunks == 1 else array.combine_chunks()


def _plain(array: pyarrow.Array) -> pyarrow.Array:
    import pyarrow

    if isinstance(array, pyarrow.ExtensionArray):
        array = array.storage
    kind = _plain_type(array.type)
    return array if kind == array.type else array.cast(kind)


def _plain_type(kind: pyarrow.DataType) -> pyarrow.DataType:
    import pyarrow
    from pyarrow import types

    if types.is_null(kind) or types.is_large_string(kind) or str(kind) == "string_view":
        return pyarrow.string()
    if types.is_large_binary(kind) or str(kind) == "binary_view":
        return pyarrow.binary()
    if types.is_float16(kind):
        return pyarrow.float32()
    if types.is_dictionary(kind):
        return _plain_type(kind.value_type)
    if types.is_list(kind) or types.is_large_list(kind):
        return pyarrow.list_(_plain_type(kind.value_type))
    if types.is_struct(kind):
        return pyarrow.struct([(field.name, _plain_type(field.type)) for field in kind])
    return kind


@contextlib.contextmanager
def _explained(name: str) -> Iterator[None]:
    """Turn what Arrow says about the values of a column into an error of the attempt."""
    import pyarrow

    try:
        yield
    except UnicodeError as error:
        raise ContractError(f"column {name!r} of what run() returned is no UTF-8: {error}", hint=_TEXT_HINT) from None
    except (pyarrow.ArrowException, OverflowError, TypeError, ValueError) as error:
        message = str(error).partition("\n")[0]
        raise ContractError(
            f"column {name!r} of what run() returned has no type that Arrow knows: {message}",
            hint="return values of one type for each column",
        ) from None
