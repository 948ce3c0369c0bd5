"""Whatever a frame holds, its rows are the bytes that ``to_csv`` writes; only the carriage return is always quoted."""

from __future__ import annotations

import math
import sys

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchflow.worker import frame_rows as rows_of
from batchflow.worker.frame_columns import frame_columns, table_columns
from batchflow.worker.results import make_encoder

CSV = make_encoder(output_format="csv")
TEXT = make_encoder(output_format="text", newline="keep")


def check(frame, *, is_fast=True):
    """The same bytes as pandas', for csv and text; ``is_fast``: without any help of pandas'."""
    assert (frame_columns(frame) is not None) == is_fast
    assert CSV.encode(frame, len(frame))[1:] == (
        frame.iloc[:0].to_csv(index=False).encode(),
        frame.to_csv(index=False, header=False).encode(),
    )
    assert TEXT.encode(frame, len(frame)).rows == frame.to_csv(sep=" ", header=False, index=False).encode()


ODD = "ab ,;\"'\t\n\u2028ß😀" + ("\r" if sys.version_info >= (3, 13) else "")
texts = st.text(alphabet=ODD, max_size=12)
missing = st.sampled_from([None, math.nan, pd.NA])
floats = st.one_of(st.floats(), st.sampled_from([-0.0, 1e-7, 1e-4, 1e16, 5e-324, math.inf, -math.inf, 1e22, 0.1]))


def some(values):
    return st.lists(values, min_size=1, max_size=8)


def maybe(values):
    return some(st.one_of(values, missing))


def series(values, dtype):
    return st.builds(lambda one: pd.Series(one, dtype=dtype), values)


def integers(dtype):
    limits = np.iinfo(dtype.lower())
    return st.integers(int(limits.min), int(limits.max))


def dates(unit, step):
    most = min(10**9, 2**62 // step)
    ticks = st.integers(-most, most).map(lambda one: one * step)
    return some(st.one_of(ticks, st.just(-(2**63)))).map(lambda one: pd.Series(np.array(one, "i8").view(f"M8[{unit}]")))


SIZES = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
COLUMNS = {
    **{size: series(some(integers(size)), size) for size in SIZES},
    **{
        name: series(some(st.one_of(integers(name), st.just(pd.NA))), name)
        for name in (size.replace("u", "U").replace("i", "I").replace("UI", "UI") for size in SIZES)
    },
    "float64": series(some(floats), "float64"),
    "float32": series(some(st.floats(width=32)), "float32"),
    "Float64": series(some(st.one_of(st.floats(allow_nan=False), st.just(pd.NA))), "Float64"),
    "bool": series(some(st.booleans()), "bool"),
    "boolean": series(some(st.one_of(st.booleans(), st.just(pd.NA))), "boolean"),
    "str": series(some(texts), "str"),
    "str with missing": series(some(st.one_of(texts, st.none())), "str"),
    "string": series(some(st.one_of(texts, st.none())), "string"),
    "arrow string": series(some(st.one_of(texts, st.none())), pd.ArrowDtype(pa.string())),
    "arrow int": series(some(st.one_of(st.integers(-9, 9), st.none())), pd.ArrowDtype(pa.int32())),
    "objects": series(maybe(st.one_of(texts, st.integers(), floats, st.booleans())), object),
    "category of text": series(some(st.one_of(st.sampled_from(["a", "b,", 'c"']), st.none())), "category"),
    "category of int": series(some(st.one_of(st.sampled_from([1, 2, 3]), st.none())), "category"),
    "category of float": series(some(st.sampled_from([0.1, 1e16, -0.0, math.nan])), "category"),
    "category of bool": series(some(st.booleans()), "category"),
    **{
        f"dates {unit}, {step}": dates(unit, step)
        for unit, steps in {
            "s": (1, 86_400),
            "ms": (1, 1000),
            "us": (1, 1000, 86_400 * 10**6),
            "ns": (1, 1000, 10**6, 10**9),
        }.items()
        for step in steps
    },
}


@pytest.mark.parametrize("name", COLUMNS)
def test_one_column(name):
    @given(COLUMNS[name])
    def of(one):
        if one.dtype.kind == "M" and not all(1000 <= year <= 9999 for year in one.dropna().dt.year):
            check(one.to_frame("x"), is_fast=False)
        elif one.dtype != object or all(not_odd(value) for value in one):
            check(one.to_frame("x"))
        else:
            assert CSV.encode(one.to_frame("x"), len(one)).rows == one.to_csv(index=False, header=False).encode()

    of()


def not_odd(value):
    return value is not pd.NA


@given(st.lists(st.sampled_from(sorted(COLUMNS)), min_size=2, max_size=6), st.data())
def test_columns_side_by_side(names, data):
    columns = [data.draw(COLUMNS[name]) for name in names]
    size = min(map(len, columns))
    frame = pd.concat([one.iloc[:size].reset_index(drop=True) for one in columns], axis=1)
    assert CSV.encode(frame, size).rows == frame.to_csv(index=False, header=False).encode()
    assert TEXT.encode(frame, size).rows == frame.to_csv(sep=" ", header=False, index=False).encode()


RARE = {
    "float16": pd.Series(np.array([0.1, 65504], "f2")),
    "longdouble": pd.Series(np.array([0.1], np.longdouble)),
    "complex": pd.Series([1 + 2j, math.nan]),
    "time spans": pd.Series(pd.to_timedelta([1, 86400, None], unit="s")),
    "dates with a zone": pd.Series(pd.to_datetime(["2020-01-01", None]).tz_localize("UTC")),
    "early dates": pd.Series(np.array(["0999-12-31", "2020-01-01"], "M8[s]")),
    "late dates": pd.Series(np.array(["10000-01-01"], "M8[s]")),
    "periods": pd.Series(pd.period_range("2020-01", periods=2, freq="M")),
    "intervals": pd.Series(pd.interval_range(0, 2)),
    "sparse": pd.Series(pd.arrays.SparseArray([0, 1, 0])),
    "Float32": pd.Series([0.1, None], dtype="Float32"),
    "arrow double": pd.Series([0.1, None], dtype=pd.ArrowDtype(pa.float64())),
    "arrow dates": pd.Series([0, None], dtype=pd.ArrowDtype(pa.date32())),
    "categories of single precision": pd.Series(np.array([0.1, 0.2], "f4")).astype("category"),
    "categories of several types": pd.Series(["a", 1], dtype=object).astype("category"),
    "categories of dates": pd.Series(pd.to_datetime(["2020-01-01", None])).astype("category"),
}


@pytest.mark.parametrize("name", RARE)
def test_what_is_rare_is_left_to_pandas(name):
    check(pd.DataFrame({"x": RARE[name], "y": range(len(RARE[name]))}), is_fast=False)


@pytest.mark.parametrize("value", [pd.NA, pd.NaT, b"x", (1, 2), [1, 2], np.float32(0.1), pd.Timestamp("2020"), 1j])
def test_objects_that_are_rare_are_left_to_pandas(value):
    frame = pd.DataFrame({"x": pd.Series(["a", value], dtype=object)})
    assert CSV.encode(frame, 2).rows == frame.to_csv(index=False, header=False).encode()


def test_an_unmasked_nan_of_a_nullable_column_is_as_pandas_has_it():
    array = pd.arrays.FloatingArray(np.array([1.0, math.nan, 2.0]), np.array([False, False, True]))
    frame = pd.DataFrame({"x": array})
    assert CSV.encode(frame, 3).rows == frame.to_csv(index=False, header=False).encode()


def test_dates_are_as_fine_as_those_of_their_chunk(monkeypatch):
    ticks = [0, 86_400, 1, 86_401, 86_400, 0, 0]
    dates = pd.Series(np.array(ticks, "i8").view("M8[s]"))
    frame = pd.DataFrame({"d": dates, "n": range(7)})
    found = {}
    for cells in (4, 6, 100):
        monkeypatch.setattr(rows_of, "CHUNK_CELLS", cells)
        found[cells] = CSV.encode(frame, 7).rows
        assert CSV.encode(pa.Table.from_pandas(frame).replace_schema_metadata(), 7).rows == found[cells]
        assert found[cells] == frame.to_csv(index=False, header=False, chunksize=cells // 2).encode()
    assert len(set(found.values())) == 3
    assert rows_of.CHUNK_CELLS == 100
    monkeypatch.undo()
    assert rows_of.CHUNK_CELLS == 100_000


def test_a_delimiter_that_numbers_are_written_with():
    frame = pd.DataFrame({"x": [1.5, -2e-7], "d": pd.to_datetime(["2020-01-01", None])})
    for delimiter in (".", "-", "5", "e", ":"):
        encoder = make_encoder(output_format="csv", delimiter=delimiter)
        assert encoder.encode(frame, 2).rows == frame.to_csv(index=False, header=False, sep=delimiter).encode()


@pytest.mark.parametrize(
    "columns",
    [["a", "b"], ["a", 1], [1, 2], [True, False], [1.0, 2.5], ["a", None], [("a", 1), ("b", 2)], ["", "x,y"]],
)
def test_headers(columns):
    frame = pd.DataFrame([[1, 2], [3, 4]], columns=columns)
    assert CSV.encode(frame, 2).header == frame.iloc[:0].to_csv(index=False).encode()
    single = pd.DataFrame([[1], [2]], columns=columns[:1])
    assert CSV.encode(single, 2).header == single.iloc[:0].to_csv(index=False).encode()


def test_a_slice_of_a_frame_and_a_frame_of_one_block():
    block = pd.DataFrame(np.arange(20.0).reshape(5, 4))
    for frame in (block, block.T, block.iloc[::2], block.iloc[1:3, 1:], block[[2, 0]]):
        check(frame)


TABLES = {
    "numbers": {"i": pa.array([1, None, 3], pa.int16()), "u": pa.array([1, 2, 3], pa.uint64()), "f": [0.1, None, 1e16]},
    "singles": {"f": pa.array([0.1, None, 1e-5], pa.float32()), "b": [True, None, False]},
    "texts": {"t": ["a,", None, 'b"'], "l": pa.array(["x", "", None], pa.large_string())},
    "views": {"t": pa.array(["a,", None, "b" * 20], pa.string_view())},
    "categories": {"t": pa.array(["a,", None, "a,"]).dictionary_encode(), "i": pa.array([1, 2, 1]).dictionary_encode()},
    "dates": {"d": pa.array([0, None, 86400_000], pa.timestamp("ms")), "t": pa.array([0, 1, None], pa.timestamp("us"))},
    "nothing": {"n": pa.nulls(3), "i": [1, 2, 3]},
}


@pytest.mark.parametrize("name", TABLES)
def test_tables_are_as_their_frames(name):
    table = pa.table(TABLES[name])
    for one in (table, table.slice(1), table.slice(1, 1), pa.concat_tables([table, table.slice(2), table])):
        assert table_columns(one) is not None
        assert CSV.encode(one, 0).rows == CSV.encode(one.to_pandas(integer_object_nulls=True), 0).rows
        assert TEXT.encode(one, 0).rows == TEXT.encode(one.to_pandas(integer_object_nulls=True), 0).rows


@pytest.mark.parametrize(
    "values",
    [
        pa.array([1, 2], pa.date32()),
        pa.array([[1], [2]]),
        pa.array([0, 1], pa.timestamp("s", "UTC")),
        pa.array([0.5, 1], pa.float32()).dictionary_encode(),
        pa.array([b"x", None]),
    ],
)
def test_rare_types_of_tables_are_left_to_pandas(values):
    table = pa.table({"x": values, "y": [1, 2]})
    assert table_columns(table) is None
    assert CSV.encode(table, 2)[1:] == CSV.encode(table.to_pandas(), 2)[1:]


def test_the_index_of_a_frame_that_became_a_table_is_no_column():
    table = pa.Table.from_pandas(pd.DataFrame({"x": [1, 2]}, index=["a", "b"]))
    assert table.num_columns == 2
    assert CSV.encode(table, 2) == (2, b"x\n", b"1\n2\n")


def test_a_table_without_columns_is_refused():
    with pytest.raises(Exception, match="returned a DataFrame without columns"):
        CSV.encode(pa.table({"x": [1]}).select([]), 1)
