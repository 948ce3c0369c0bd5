"""Columns that rows are split by: which can be keys, what is one key, and numbers in the order of the keys.

null and NaN are one key, the last one; so are 0.0 and -0.0, which is 0.0.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from datetime import date, datetime, time
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from batchflow.errors import DatasetError

_CODES_MAX = 1 << 62
_KINDS = (
    pa.types.is_integer,
    pa.types.is_floating,
    pa.types.is_boolean,
    pa.types.is_string,
    pa.types.is_large_string,
    pa.types.is_binary,
    pa.types.is_large_binary,
    pa.types.is_fixed_size_binary,
    pa.types.is_date,
    pa.types.is_time,
    pa.types.is_timestamp,
    pa.types.is_duration,
    pa.types.is_decimal,
    pa.types.is_null,
)


def check_keys(schema: pa.Schema, keys: Sequence[str]) -> None:
    """Raises ``DatasetError`` for a key that is no column, or of a type that has no order."""
    for key in keys:
        if schema.names.count(key) != 1:
            close = difflib.get_close_matches(key, schema.names, n=1)
            shown = ", ".join(repr(name) for name in schema.names[:20])
            hint = f"did you mean {close[0]!r}?" if close else f"columns: {shown}"
            raise DatasetError(f"the partition key {key!r} is no column of the table", hint=hint)
        kind = schema.field(key).type
        if not any(is_kind(kind) for is_kind in _KINDS):
            raise DatasetError(f"the column {key!r} cannot be a partition key: it is of type {kind}")


def comparable(table: pa.Table, keys: Sequence[str]) -> pa.Table:
    """The keys of the rows, equal for what is one key."""
    return pa.table({key: _comparable(table.column(key)) for key in keys})


def codes_of(keys: pa.Table) -> NDArray[Any]:
    """A number for each row of comparable keys, in the order of the keys: of the first one first.

    Of the smallest type that has room for them: numpy sorts those of 16 bits in linear time.
    """
    codes, limit = np.zeros(keys.num_rows, np.int64), 1
    for column in keys.columns:
        ranks, count = _ranks(column)
        if limit * count > _CODES_MAX:
            _, codes = np.unique(codes, return_inverse=True)
            limit = int(codes.max(initial=0)) + 1
        codes, limit = codes * count + ranks, limit * count
    return codes.astype(np.min_scalar_type(limit))


def as_json(keys: pa.Table) -> list[dict[str, Any]]:
    """Each row by column: what JSON has as it is, dates and times as ISO 8601, bytes as hexadecimal digits."""
    columns = [[_plain(value) for value in column.to_pylist()] for column in keys.columns]
    return [dict(zip(keys.column_names, values, strict=True)) for values in zip(*columns, strict=True)]


def _comparable(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if pa.types.is_null(column.type):
        return column.cast(pa.int8())
    if not pa.types.is_floating(column.type):
        return column
    if pa.types.is_float16(column.type):
        column = column.cast(pa.float32())
    zero = pa.scalar(0, column.type)
    return pc.if_else(pc.is_nan(column), pa.scalar(None, column.type), pc.add(column, zero))


def _ranks(column: pa.ChunkedArray) -> tuple[NDArray[np.int64], int]:
    """The place of each value among the distinct ones, missing ones last; and how many places there are."""
    encoded = column.combine_chunks()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = pa.concat_arrays(encoded.chunks)
    encoded = encoded.dictionary_encode()
    count = len(encoded.dictionary)
    ranks = np.empty(count + 1, np.int64)
    ranks[pc.sort_indices(encoded.dictionary).to_numpy()] = np.arange(count)
    ranks[count] = count
    return ranks[pc.fill_null(encoded.indices, count).to_numpy()], count + 1


def _plain(value: object) -> object:
    if isinstance(value, (datetime, date, time)):
        return value.isoformat()
    if isinstance(value, bytes):
        return value.hex()
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)
