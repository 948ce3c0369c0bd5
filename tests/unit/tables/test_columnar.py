"""Parquet and Arrow files: all rows once, in any pieces, of the same types; damage is an error, never more."""

from __future__ import annotations

import datetime
import decimal
import random
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import ipc, parquet
from unit.tables.reading import TEXT, pieces_of, scouted, whole

from batchflow.errors import DatasetError, TableError
from batchflow.tables.options import TableOptions
from batchflow.tables.reading import PieceReader, import_ahead
from batchflow.tables.schema import Schema
from batchflow.tables.scout_columnar import cut

PARQUET = TableOptions("parquet")
ARROW = TableOptions("arrow")
FORMATS = pytest.mark.parametrize("format", ["parquet", "arrow"])


def written(folder: Path, table: pa.Table, format: str, group: int = 10, name: str = "t", **options: object) -> Path:
    path = folder / f"{name}.{format}"
    if format == "parquet":
        parquet.write_table(table, path, row_group_size=group, **options)
    else:
        with ipc.new_file(path, table.schema, options=ipc.IpcWriteOptions(**options)) as file:
            for batch in table.to_batches(max_chunksize=group):
                file.write_batch(batch)
    return path


def table_of(rows: int) -> pa.Table:
    numbers = random.Random(rows)
    return pa.table(
        {
            "i": pa.array(range(rows), pa.int64()),
            "n": pa.array([None if k % 3 == 1 else k for k in range(rows)], pa.int32()),
            "f": pa.array([None if k % 5 == 1 else numbers.random() for k in range(rows)], pa.float64()),
            "b": pa.array([k % 2 == 0 for k in range(rows)]),
            "s": pa.array([None if k % 7 == 1 else f"text {k % 4}" for k in range(rows)]),
            "c": pa.array([f"kind {k % 3}" for k in range(rows)]).dictionary_encode(),
            "t": pa.array([datetime.datetime(2024, 1, 1) + datetime.timedelta(hours=k) for k in range(rows)]),
            "l": pa.array([list(range(k % 3)) for k in range(rows)]),
        }
    )


@FORMATS
@pytest.mark.parametrize("split", [{"rows": 7}, {"rows": 25}, {"size": 1}, {"size": 400}, {"size": 1 << 20}, {}])
def test_all_rows_in_any_pieces(tmp_path, format, split):
    table = table_of(64)
    found = whole(TableOptions(format), written(tmp_path, table, format), seed=1, **split)
    assert [str(type) for type in found.dtypes][:7] == [
        *("int64", "Int32", "float64", "bool", TEXT, TEXT, "datetime64[us]"),
    ]
    expected = table.to_pandas().astype({"n": "Int32", "c": TEXT})
    pd.testing.assert_frame_equal(found, expected)


@given(
    st.lists(st.tuples(st.integers(0, 40), st.integers(0, 3000)), max_size=12),
    st.one_of(st.tuples(st.just(0), st.integers(1, 50)), st.tuples(st.integers(1, 4000), st.just(0))),
)
def test_pieces_tile_the_rows(groups, split):
    size, rows = split
    pieces = cut(groups, size, rows)
    total = sum(count for count, _ in groups)
    assert [row for begin, end in pieces for row in range(begin, end)] == list(range(total))
    assert all(begin < end for begin, end in pieces)
    if rows:
        assert {end - begin for begin, end in pieces[:-1]} <= {rows}


@pytest.mark.fault("J15")
def test_pieces_are_whole_row_groups_where_these_fit_and_parts_of_large_ones():
    assert cut([(10, 100), (10, 100), (10, 100)], 200, 0) == [(0, 20), (20, 30)]
    assert cut([(10, 100), (10, 100), (10, 100)], 99, 0) == [(0, 5), (5, 10), (10, 15), (15, 20), (20, 25), (25, 30)]
    assert cut([(1000, 2 << 30)], 1 << 28, 0) == [(begin, begin + 125) for begin in range(0, 1000, 125)]
    assert cut([(3, 1 << 40)], 1, 0) == [(0, 1), (1, 2), (2, 3)]
    assert cut([(0, 0), (5, 10), (0, 0)], 1 << 20, 0) == [(0, 5)]
    assert cut([], 10, 0) == cut([(0, 0)], 0, 7) == cut([], 0, 0) == []
    assert cut([(3, 5), (4, 5)], 0, 0) == [(0, 7)]


@pytest.mark.fault("J17")
def test_values_that_repeat_take_their_room_in_memory_into_account(tmp_path):
    table = pa.table({"x": pa.repeat(7, 1_000_000), "s": pa.repeat("a" * 100, 1_000_000)})
    path = written(tmp_path, table, "parquet", group=1_000_000)
    assert path.stat().st_size < 20_000
    assert len(scouted(PARQUET, path, size=1 << 20)["pieces"]) >= 15


@pytest.mark.fault("J15")
@FORMATS
def test_files_without_rows_have_no_pieces(tmp_path, format):
    empty = written(tmp_path, table_of(0), format, name="empty")
    assert scouted(TableOptions(format), empty)["pieces"] == []
    full = written(tmp_path, table_of(5), format)
    assert len(whole(TableOptions(format), empty, full, rows=2)) == 5


@FORMATS
def test_in_any_order_backwards_too(tmp_path, format):
    table = table_of(200)
    path = written(tmp_path, table, format, group=30)
    schema, pieces = pieces_of(TableOptions(format), path, rows=7)
    reader = PieceReader(TableOptions(format), schema, "arrow")
    numbers = random.Random(3)
    for _ in range(5):
        numbers.shuffle(pieces)
        found = {piece[1]: reader.read(*piece, 0, piece[3])["i"].to_pylist() for piece in pieces}
        assert [row for begin in sorted(found) for row in found[begin]] == list(range(200))
    assert reader.read(str(path), 28, 100, 72, 1, 3)["i"].to_pylist() == [29, 30, 31]


def test_a_large_row_group_is_decoded_once_for_pieces_that_follow_each_other(tmp_path, monkeypatch):
    path = written(tmp_path, pa.table({"x": range(1000)}), "parquet", group=1000)
    opened = []
    original = parquet.ParquetFile.iter_batches

    def counting(self, *args, **keywords):
        opened.append(keywords["row_groups"])
        return original(self, *args, **keywords)

    monkeypatch.setattr(parquet.ParquetFile, "iter_batches", counting)
    schema, pieces = pieces_of(PARQUET, path, rows=10)
    reader = PieceReader(PARQUET, schema, "pandas")
    assert [x for piece in pieces for x in reader.read(*piece, 0, 10)["x"]] == list(range(1000))
    assert opened == [[0]]


def test_row_groups_that_nobody_asks_for_are_not_decoded(tmp_path, monkeypatch):
    path = written(tmp_path, pa.table({"x": range(100)}), "parquet", group=10)
    decoded = []
    original = parquet.ParquetFile.iter_batches

    def counting(self, *args, **keywords):
        for batch in original(self, *args, **keywords):
            decoded.append(batch.num_rows)
            yield batch

    monkeypatch.setattr(parquet.ParquetFile, "iter_batches", counting)
    schema, pieces = pieces_of(PARQUET, path, rows=5)
    reader = PieceReader(PARQUET, schema, "pandas")
    for number in (0, 1, 19, 3):
        assert reader.read(*pieces[number], 0, 5)["x"].tolist() == list(range(5 * number, 5 * number + 5))
    assert decoded == [10, 10, 10]  # of the first group, of the last, and of the second


@FORMATS
def test_only_columns_that_are_named_are_read_in_their_order(tmp_path, format):
    table = pa.table({"a": [1, 2], "a.b": ["x", "y"], "s": [{"t": 1}, {"t": 2}], "c": [0.5, 1.5]})
    path = written(tmp_path, table, format)
    frame = whole(TableOptions(format, columns=("c", "s", "a.b")), path)
    assert frame.to_dict("list") == {"c": [0.5, 1.5], "s": [{"t": 1}, {"t": 2}], "a.b": ["x", "y"]}


@FORMATS
def test_integers_are_nullable_in_all_pieces_if_one_file_misses_some(tmp_path, format):
    first = written(tmp_path, pa.table({"i": [1, 2], "b": [True, False]}), format, name="1")
    second = written(tmp_path, pa.table({"i": [None, 2], "b": [True, None]}), format, name="2")
    assert [str(type) for type in whole(TableOptions(format), first).dtypes] == ["int64", "bool"]
    for paths, values in (((first, second), [1, 2, pd.NA, 2]), ((second, first), [pd.NA, 2, 1, 2])):
        frame = whole(TableOptions(format), *paths, rows=1)
        assert [str(type) for type in frame.dtypes] == ["Int64", "boolean"]
        assert frame["i"].tolist() == values


def test_parquet_without_statistics_may_miss_values(tmp_path):
    path = written(tmp_path, pa.table({"i": [1, 2]}), "parquet", write_statistics=False)
    assert str(whole(PARQUET, path).dtypes["i"]) == "Int64"


@FORMATS
def test_columns_without_a_value_are_of_the_type_of_other_files(tmp_path, format):
    first = written(tmp_path, pa.table({"x": pa.nulls(2), "s": ["a", "b"]}), format, name="1")
    second = written(tmp_path, pa.table({"x": [1.5], "s": pa.array(["c"], pa.large_string())}), format, name="2")
    for paths in ((first, second), (second, first)):
        frame = whole(TableOptions(format), *paths, rows=1)
        assert [str(type) for type in frame.dtypes] == ["float64", TEXT]


@pytest.mark.fault("J16")
@FORMATS
def test_schemas_that_differ_are_refused_with_the_difference(tmp_path, format):
    first = written(tmp_path, pa.table({"a": [1], "b": ["x"], "c": [1.5]}), format, name="1")
    second = written(tmp_path, pa.table({"a": [1.5], "c": [1.5], "d": [1]}), format, name="2")
    found = scouted(TableOptions(format), first, second)
    assert found["error"] == (
        f"{second} has another schema than {first}: "
        "column 'a' is double instead of int64 and it lacks 'b' and it has 'd' besides"
    )
    assert found["hint"].startswith("write the files with one schema, or name in `columns`")
    assert "error" not in scouted(TableOptions(format, columns=("c",)), first, second)
    missing = scouted(TableOptions(format, columns=("C",)), first)
    assert (missing["error"], missing["hint"]) == ("`columns`: there is no column 'C'", "the columns are 'a', 'b', 'c'")


def test_values_are_as_they_were_written(tmp_path):
    table = pa.table(
        {
            "d": pa.array([decimal.Decimal("1.25")]),
            "u": pa.array([2**64 - 1], pa.uint64()),
            "date": pa.array([datetime.date(2024, 1, 31)]),
            "z": pa.array([datetime.datetime(2024, 1, 31)], pa.timestamp("us", "Europe/Berlin")),
            "bytes": pa.array([b"\xff"]),
        }
    )
    frame = whole(PARQUET, written(tmp_path, table, "parquet"))
    assert frame["d"][0] == decimal.Decimal("1.25")
    assert frame["u"][0] == 2**64 - 1 and str(frame["u"].dtype) == "uint64"
    assert frame["date"][0] == datetime.date(2024, 1, 31)
    assert frame["z"][0] == pd.Timestamp("2024-01-31T01:00+01:00")
    assert frame["bytes"][0] == b"\xff"


def test_an_index_of_pandas_is_a_column(tmp_path):
    path = tmp_path / "t.parquet"
    pd.DataFrame({"x": [1, 2]}, index=pd.Index([7, 9], name="key")).to_parquet(path)
    assert whole(PARQUET, path).to_dict("list") == {"x": [1, 2], "key": [7, 9]}


@pytest.mark.fault("J19")
@FORMATS
def test_a_file_that_has_changed_is_noticed(tmp_path, format):
    options = TableOptions(format)
    path = written(tmp_path, pa.table({"x": range(10)}), format)
    schema, (piece,) = pieces_of(options, path)
    hint = "the file may have changed since it was looked at: run again when it no longer changes"
    for other, message in (
        (pa.table({"x": range(7)}), f"{path}: row 7 is not there any more"),
        (pa.table({"y": range(10)}), f"{path}: no column 'x' any more"),
        (pa.table({"x": [[k] for k in range(10)]}), None),
        (pa.table({"x": [None, *range(9)]}), None),
    ):
        written(tmp_path, other, format)
        with pytest.raises(TableError) as caught:
            PieceReader(options, schema, "pandas").read(*piece, 0, 10)
        if message:
            assert (caught.value.message, caught.value.hint) == (message, hint)
    path.unlink()
    with pytest.raises(TableError, match=r"cannot be read: .*No such file"):
        PieceReader(options, schema, "pandas").read(*piece, 0, 10)


@pytest.mark.fault("J14")
@pytest.mark.parametrize(
    ("data", "format"),
    [(b"", "parquet"), (b"PAR1", "parquet"), (b"a,b\n1,2\n" * 9, "parquet"), (b"", "arrow"), (b"ARROW1\0\0", "arrow")],
)
def test_what_is_no_such_file_is_refused(tmp_path, data, format):
    path = tmp_path / f"t.{format}"
    path.write_bytes(data)
    assert scouted(TableOptions(format), path)["error"].startswith(f"cannot read {path} as {format}: ")


@FORMATS
def test_two_columns_of_one_name_are_refused(tmp_path, format):
    table = pa.table([pa.array([1]), pa.array([2])], ["x", "x"])
    path = written(tmp_path, table, format)
    assert scouted(TableOptions(format), path)["error"] == f"{path} has several columns of one name: 'x'"


def test_compressed_record_batches(tmp_path):
    path = written(tmp_path, table_of(50), "arrow", compression="zstd")
    assert whole(ARROW, path, rows=7)["i"].tolist() == list(range(50))


def test_a_frame_can_be_changed_in_place(tmp_path):
    path = written(tmp_path, pa.table({"i": [1, 2], "f": [0.5, 1.5], "b": [True, False]}), "parquet")
    schema, (piece,) = pieces_of(PARQUET, path)
    frame = PieceReader(PARQUET, schema, "pandas").read(*piece, 0, 2)
    for name, value in (("i", 9), ("f", 9.5), ("b", False)):
        frame.loc[0, name] = value
        assert frame[name][0] == value


def test_many_nullable_columns(tmp_path):
    data = {f"c{k}": pa.array([k, None if k % 2 else 1]) for k in range(300)}
    frame = whole(PARQUET, written(tmp_path, pa.table(data), "parquet"), rows=1)
    assert list(frame.columns) == list(data)
    assert [str(type) for type in frame.dtypes[:2]] == ["int64", "Int64"]
    assert np.array_equal(frame.iloc[0].to_numpy(dtype=int), range(300))


@FORMATS
def test_text_that_is_no_utf8_is_refused(tmp_path, format):
    bad = pa.array([b"\xff"], pa.binary())
    table = pa.table({"s": pa.Array.from_buffers(pa.string(), 1, bad.buffers())})
    path = written(tmp_path, table, format, **({"store_schema": True} if format == "parquet" else {}))
    schema, (piece,) = pieces_of(TableOptions(format), path)
    with pytest.raises(TableError, match=r"rows 0 to 1 cannot be read: .*UTF8"):
        PieceReader(TableOptions(format), schema, "pandas").read(*piece, 0, 1)


def test_polars(tmp_path):
    polars = pytest.importorskip("polars")
    path = written(tmp_path, table_of(20), "parquet")
    schema, pieces = pieces_of(PARQUET, path, rows=6)
    import_ahead("polars")
    reader = PieceReader(PARQUET, schema, "polars")
    frames = [reader.read(*piece, 0, piece[3]) for piece in pieces]
    assert polars.concat(frames).equals(polars.from_arrow(table_of(20)).cast({"c": polars.String}))


def test_polars_that_is_not_installed_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "polars", None)
    with pytest.raises(DatasetError, match=r'^as = "polars" needs polars$') as caught:
        PieceReader(PARQUET, Schema(()), "polars")
    assert caught.value.hint == "pip install polars"


def test_the_schema_of_a_scout_travels(tmp_path):
    path = written(tmp_path, table_of(4), "parquet")
    schema = Schema.from_json(scouted(PARQUET, path)["schema"])
    assert [column.type for column in schema.columns] == [
        *("int64", "int32", "double", "bool", "string", "string", "timestamp[us]", "list<element: int64>"),
    ]
    assert schema.names == ()
