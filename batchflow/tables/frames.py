"""From an Arrow table to what ``run()`` gets: the same types in every mini-batch, whatever its values.

A pandas frame can be changed in place, and has the index 0, 1, ….
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa

from batchflow.errors import DatasetError
from batchflow.tables.options import FrameKind
from batchflow.tables.schema import TYPES_WITHOUT_MISSING, Schema

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl

_INSERTED_MAX = 50
"""Columns put into a frame one by one; pandas warns of more than a hundred."""
_PANDAS_NAMES = {"bool": "boolean", "uint8": "UInt8", "uint16": "UInt16", "uint32": "UInt32", "uint64": "UInt64"}


class Frames:
    """Makes frames of tables of one schema."""

    def __init__(self, schema: Schema, kind: FrameKind) -> None:
        """Raises ``DatasetError`` if the library for ``kind`` is not installed."""
        self._kind = kind
        columns = [column for column in schema.columns if column.type in TYPES_WITHOUT_MISSING]
        plain = {column.type for column in columns if not column.nullable}
        self._mapped = {column.type for column in columns} - plain
        """Types of which all columns are nullable: pyarrow makes their arrays."""
        self._nullable = [column.name for column in columns if column.nullable and column.type in plain]
        """Other columns that are, whose arrays are made one by one."""
        self._places = {column.name: place for place, column in enumerate(schema.columns)}
        if kind == "polars":
            _require_polars()

    def frame(self, table: pa.Table) -> pd.DataFrame | pa.Table | pl.DataFrame:
        """``table`` has the columns of the schema, and nothing that pandas has written about them."""
        if self._kind == "arrow":
            return table.combine_chunks()
        if self._kind == "polars":
            import polars as pl

            return pl.from_arrow(table)
        return self._pandas(table)

    def _pandas(self, table: pa.Table) -> pd.DataFrame:
        frame: pd.DataFrame = table.drop_columns(self._nullable).to_pandas(
            use_threads=False, types_mapper=self._type if self._mapped else None
        )
        arrays = {name: _nullable_array(table.column(name)) for name in self._nullable}
        if len(arrays) > _INSERTED_MAX:
            import pandas as pd

            joined: pd.DataFrame = pd.concat([frame, pd.DataFrame(arrays, copy=False)], axis=1)[list(self._places)]
            return joined
        for name, array in arrays.items():
            frame.insert(self._places[name], name, array)
        return frame

    def _type(self, type: pa.DataType) -> Any:  # noqa: ANN401
        return _pandas_type(type) if str(type) in self._mapped else None


def _pandas_type(type: pa.DataType) -> Any:  # noqa: ANN401
    from pandas.api.types import pandas_dtype

    name = str(type)
    return pandas_dtype(_PANDAS_NAMES.get(name, name.capitalize()))


def _nullable_array(column: pa.ChunkedArray) -> pd.Series[Any]:
    import pandas as pd

    array: pd.api.extensions.ExtensionArray = _pandas_type(column.type).__from_arrow__(column)
    series: pd.Series[Any] = pd.Series(array, copy=False)
    return series


def _require_polars() -> None:
    try:
        import polars  # noqa: F401
    except ImportError:
        raise DatasetError('as = "polars" needs polars', hint="pip install polars") from None
