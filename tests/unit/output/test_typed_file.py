"""The file of a typed output: the rows of the stream, in bytes that know nothing of how they were committed."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from batchflow._core import crc32c
from batchflow.output import typed_child, typed_file
from batchflow.output.typed import Written
from batchflow.output.typed_file import DamagedRowsError, row_groups, value_sizes, write_typed
from batchflow.worker.results import make_encoder


def stream_of(tables: list[Any]) -> bytes:
    """What is committed of these results."""
    encoder = make_encoder(output_format="parquet")
    encoded = [encoder.encode(table, 0) for table in tables]
    return b"".join([next((one.header for one in encoded if one.header), b""), *(one.rows for one in encoded)])


def write(folder: Path, tables: list[Any], output_format: str = "parquet", tail: bytes = b"") -> tuple[Path, Written]:
    source, target = folder / "rows", folder / f"out.{output_format}"
    content = stream_of(tables)
    source.write_bytes(content + tail)
    return target, write_typed(source, len(content), crc32c(content), target, output_format)


def load(path: Path) -> pa.Table:
    if path.suffix == ".parquet":
        return parquet.read_table(path)
    with pa.ipc.open_file(path) as file:
        return file.read_all()


TABLE = pa.table({"n": [1, None, 3], "t": ["a", "bb", None], "l": [[1], None, []], "s": [{"x": 1}, {"x": None}, None]})


@pytest.mark.parametrize("output_format", ["parquet", "arrow"])
def test_the_rows_of_the_stream(tmp_path: Path, output_format: str) -> None:
    target = tmp_path / f"out.{output_format}"
    target.write_text("half of an older one")
    # What lies behind the committed rows is garbage.
    path, written = write(tmp_path, [TABLE, [], TABLE.slice(1)], output_format, tail=b"\xff\xff\xff\xff\x10")
    assert path == target
    assert load(path).to_pylist() == TABLE.to_pylist() + TABLE.slice(1).to_pylist()
    assert load(path).schema.metadata is None
    content = path.read_bytes()
    assert written == (len(content), crc32c(content), 5)


@pytest.mark.parametrize("output_format", ["parquet", "arrow"])
def test_no_rows_are_a_file_without_columns(tmp_path: Path, output_format: str) -> None:
    path, written = write(tmp_path, [], output_format)
    assert load(path).shape == (0, 0)
    assert written.row_count == 0


rows = st.lists(
    st.fixed_dictionaries(
        {
            "n": st.one_of(st.integers(-9, 9), st.none()),
            "t": st.one_of(st.text(max_size=30), st.none()),
            "b": st.one_of(st.booleans(), st.none()),
            "l": st.one_of(st.lists(st.integers(0, 9), max_size=4), st.none()),
        }
    ),
    min_size=1,
    max_size=40,
)
SCHEMA = pa.schema({"n": pa.int64(), "t": pa.string(), "b": pa.bool_(), "l": pa.list_(pa.int64())})


@pytest.mark.parametrize("output_format", ["parquet", "arrow"])
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(rows=rows, cuts=st.sets(st.integers(1, 40)), limits=st.tuples(st.integers(1, 12), st.integers(1, 400)))
def test_the_bytes_depend_on_the_rows_alone(
    tmp_path: Path, output_format: str, rows: list[Any], cuts: set[int], limits: tuple[int, int]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(typed_file, "GROUP_ROWS", limits[0])
        patch.setattr(typed_file, "GROUP_SIZE", limits[1])
        whole = pa.Table.from_pylist(rows, SCHEMA)
        path, written = write(tmp_path, [whole], output_format)
        content = path.read_bytes()
        assert load(path).to_pylist() == rows
        ends = [*sorted(cut for cut in cuts if cut < len(rows)), len(rows)]
        starts = [0, *ends[:-1]]
        # Slices of one table share its memory; those made for themselves do not.
        for parts in (
            [whole.slice(start, end - start) for start, end in zip(starts, ends, strict=True)],
            [pa.Table.from_pylist(rows[start:end], SCHEMA) for start, end in zip(starts, ends, strict=True)],
        ):
            assert write(tmp_path, parts, output_format)[1] == written
            assert path.read_bytes() == content


def test_what_lies_in_memory_for_a_null_is_no_part_of_the_rows(tmp_path: Path) -> None:
    def column(garbage: int) -> pa.Table:
        values = pa.py_buffer(np.array([1, garbage], "i8").tobytes())
        return pa.table({"n": pa.Array.from_buffers(pa.int64(), 2, [pa.py_buffer(b"\1"), values])})

    for output_format in ("parquet", "arrow"):
        written = {write(tmp_path, [column(garbage)], output_format)[1] for garbage in (0, 7)}
        assert len(written) == 1


def sizes(table: pa.Table) -> list[int]:
    return [len(group) for group in row_groups(table.to_batches(max_chunksize=3))]


def test_groups_end_by_rows_and_by_size(monkeypatch: pytest.MonkeyPatch) -> None:
    table = pa.table({"n": pa.array(range(10), pa.int32())})
    monkeypatch.setattr(typed_file, "GROUP_ROWS", 4)
    assert sizes(table) == [4, 4, 2]
    monkeypatch.setattr(typed_file, "GROUP_SIZE", 12)
    assert sizes(table) == [3, 3, 3, 1]
    monkeypatch.setattr(typed_file, "GROUP_SIZE", 1)  # a row that is too large has a group of its own
    assert sizes(table) == [1] * 10
    monkeypatch.setattr(typed_file, "GROUP_SIZE", 1 << 20)
    monkeypatch.setattr(typed_file, "GROUP_ROWS", 10)
    assert sizes(table) == [10]


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (pa.array([1, None], pa.int64()), [8, 8]),
        (pa.array([1, 2], pa.int16()), [2, 2]),
        (pa.array([True, False]), [1, 1]),
        (pa.array(["abc", None, "ß"]), [3, 0, 2]),
        (pa.array([b"abc", b""]), [3, 0]),
        (pa.array([[1, 2], None, [3]]), [16, 0, 8]),
        (pa.array([["ab", "c"], ["d"]]).slice(1), [1]),
        (pa.array([{"a": 1, "b": "xy"}, {"a": 2, "b": ""}]), [10, 8]),
        (pa.array([{"a": 1, "b": "xy"}, {"a": 2, "b": ""}]).slice(1), [8]),
        (pa.array([[("k", 1)]], pa.map_(pa.string(), pa.int64())), [8]),
    ],
)
def test_what_a_value_counts_for(array: pa.Array, expected: list[int]) -> None:
    assert value_sizes(array).tolist() == expected


def test_damage_is_noticed(tmp_path: Path) -> None:
    content = stream_of([TABLE, TABLE])
    source, target = tmp_path / "rows", tmp_path / "out.parquet"
    for place in range(0, len(content), 7):
        source.write_bytes(content[:place] + bytes([content[place] ^ 16]) + content[place + 1 :])
        with pytest.raises(DamagedRowsError):
            write_typed(source, len(content), crc32c(content), target, "parquet")
    source.write_bytes(content[:-9])
    with pytest.raises(DamagedRowsError, match=f"its checksum is wrong, size={len(content)}"):
        write_typed(source, len(content), crc32c(content), target, "parquet")


def test_a_full_disk_is_told_by_its_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    content = stream_of([TABLE])
    (tmp_path / "rows").write_bytes(content)
    job = {
        "source": str(tmp_path / "rows"),
        "size": len(content),
        "checksum": crc32c(content),
        "target": str(tmp_path / "out.parquet"),
        "output_format": "parquet",
    }
    written = typed_child.answer(job)
    assert written["row_count"] == 3
    assert typed_child.answer({**job, "checksum": 1}) == {"damaged": f"its checksum is wrong, size={len(content)}"}
    assert typed_child.answer({**job, "source": "/nowhere"}) == {"errno": errno.ENOENT, "path": "/nowhere"}
    monkeypatch.setattr(typed_file.os, "write", full)
    assert typed_child.answer(job) == {"errno": errno.ENOSPC, "path": str(tmp_path / "out.parquet")}


def test_nothing_is_written_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_text("kept")
    (tmp_path / "out.parquet").symlink_to(tmp_path / "elsewhere")
    path, _ = write(tmp_path, [TABLE])
    assert not path.is_symlink()
    assert (tmp_path / "elsewhere").read_text() == "kept"
