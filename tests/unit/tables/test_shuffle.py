"""Rows by their keys: every row once, with its own, in order, however little memory there is."""

from __future__ import annotations

import datetime
import decimal
import errno
import json
import math
import os
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from batchflow.errors import DatasetError, NoRoomError, ResourceError, TableError
from batchflow.tables import runs, shuffle
from batchflow.tables.partition_reader import read_partition

PEOPLE = settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def partition(folder: Path, tables: Sequence[pa.Table], keys: Sequence[str], memory: int = 1 << 20) -> dict[str, Any]:
    row_count = sum(table.num_rows for table in tables)
    return shuffle.partition(tables, keys, folder, "input", row_count, memory=memory)


def parts_of(found: dict[str, Any]) -> list[tuple[dict[str, Any], list[dict[str, Any]]]]:
    """Each key with its rows."""
    return [
        (key, read_partition(found["path"], *piece).to_pylist())
        for key, piece in zip(found["keys"], found["pieces"], strict=True)
    ]


def cut(table: pa.Table, sizes: Sequence[int]) -> list[pa.Table]:
    """Consecutive slices."""
    found, start = [], 0
    for size in sizes:
        found.append(table.slice(start, size))
        start += size
    return [*found, table.slice(start)]


def test_the_rows_of_a_key_come_together_in_the_order_of_the_input(tmp_path: Path) -> None:
    first = pa.table({"store": [2, 1, 2], "brand": ["b", "a", "a"], "n": [0, 1, 2]})
    second = pa.table({"store": [1, 2], "brand": ["a", "b"], "n": [3, 4]})
    found = partition(tmp_path / "parts", [first, second], ["store", "brand"])
    assert [(key, [row["n"] for row in rows]) for key, rows in parts_of(found)] == [
        ({"store": 1, "brand": "a"}, [1, 3]),
        ({"store": 2, "brand": "a"}, [2]),
        ({"store": 2, "brand": "b"}, [0, 4]),
    ]
    assert found["row_count"] == 5
    assert sorted(one.name for one in (tmp_path / "parts").iterdir()) == ["result.json", "rows"]
    begins, ends = [piece[0] for piece in found["pieces"]], [piece[1] for piece in found["pieces"]]
    assert begins[1:] == ends[:-1]
    assert ends[-1] == os.path.getsize(found["path"])


def test_missing_keys_are_one_key_and_the_last(tmp_path: Path) -> None:
    table = pa.table({"k": pa.array([math.nan, None, 1.5, -0.0, 0.0, -math.inf]), "n": range(6)})
    found = partition(tmp_path / "parts", [table], ["k"])
    assert [(key["k"], [row["n"] for row in rows]) for key, rows in parts_of(found)] == [
        (-math.inf, [5]),
        (0.0, [3, 4]),
        (1.5, [2]),
        (None, [0, 1]),
    ]
    (_, rows) = parts_of(found)[1]
    assert [math.copysign(1, row["k"]) for row in rows] == [-1, 1]  # the rows themselves are as they were


DAY, UTC = datetime.date(2026, 1, 2), datetime.timezone.utc
KEYS: list[tuple[pa.DataType, list[Any], list[Any]]] = [
    (pa.int8(), [-1, 3], [-1, 3]),
    (pa.uint64(), [3, 2**64 - 1], [3, 2**64 - 1]),
    (pa.float32(), [-0.5, 0.5], [-0.5, 0.5]),
    (pa.bool_(), [False, True], [False, True]),
    (pa.string(), ["", "a", "a\0", "b", "é", "\U0001f600"], ["", "a", "a\0", "b", "é", "\U0001f600"]),
    (pa.large_string(), ["a", "b"], ["a", "b"]),
    (pa.binary(), [b"", b"\xff"], ["", "ff"]),
    (pa.binary(1), [b"\x00", b"\xff"], ["00", "ff"]),
    (pa.date32(), [DAY, DAY + datetime.timedelta(1)], ["2026-01-02", "2026-01-03"]),
    (pa.time64("us"), [datetime.time(1), datetime.time(1, 0, 2)], ["01:00:00", "01:00:02"]),
    (pa.timestamp("us"), [datetime.datetime(2026, 1, 2, 3)], ["2026-01-02T03:00:00"]),
    (pa.timestamp("s", tz="UTC"), [datetime.datetime(2026, 1, 2, 3, tzinfo=UTC)], ["2026-01-02T03:00:00+00:00"]),
    (pa.duration("s"), [datetime.timedelta(-1), datetime.timedelta(1)], ["-1 day, 0:00:00", "1 day, 0:00:00"]),
    (pa.decimal128(5, 2), [decimal.Decimal("-1.50"), decimal.Decimal("2.25")], ["-1.50", "2.25"]),
    (pa.dictionary(pa.int8(), pa.string()), ["a", "b"], ["a", "b"]),
    (pa.null(), [], []),
]


@pytest.mark.parametrize(("kind", "values", "expected"), KEYS, ids=lambda one: str(one)[:30])
def test_keys_of_every_type(kind: pa.DataType, values: list[Any], expected: list[Any], tmp_path: Path) -> None:
    """In order, each with its rows; two of everything, the missing ones at the end."""
    mixed = [None, *reversed(values), *values, None]
    table = pa.table({"k": pa.array(mixed, kind), "n": range(len(mixed))})
    found = partition(tmp_path / "parts", cut(table, [1]), ["k"])
    assert [key["k"] for key in found["keys"]] == [*expected, None]
    assert json.loads(json.dumps(found["keys"])) == found["keys"]
    for value, (_, rows) in zip([*values, None], parts_of(found), strict=True):
        assert [row["k"] for row in rows] == [value] * 2
        assert rows[0]["n"] < rows[1]["n"]


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (pa.list_(pa.int8()), "the column 'k' cannot be a partition key: it is of type list<item: int8>"),
        (pa.struct([("a", pa.int8())]), "it is of type struct<a: int8>"),
        (pa.month_day_nano_interval(), "it is of type month_day_nano_interval"),
    ],
)
def test_what_has_no_order_is_no_key(kind: pa.DataType, message: str, tmp_path: Path) -> None:
    table = pa.table({"k": pa.nulls(1, kind)})
    with pytest.raises(DatasetError) as caught:
        partition(tmp_path / "parts", [table], ["k"])
    assert message in caught.value.message
    assert not (tmp_path / "parts").exists()


def test_a_key_that_is_no_column(tmp_path: Path) -> None:
    table = pa.table({"store": [1], "brand": ["a"]})
    with pytest.raises(DatasetError, match="the partition key 'stor' is no column of the table") as caught:
        partition(tmp_path / "parts", [table], ["stor"])
    assert caught.value.hint == "did you mean 'store'?"
    with pytest.raises(DatasetError) as caught:
        partition(tmp_path / "parts", [table], ["xyz"])
    assert caught.value.hint == "columns: 'store', 'brand'"


VALUES = {
    "i": st.none() | st.integers(-3, 3),
    "f": st.none() | st.sampled_from([0.0, -0.0, 1.5, math.nan, math.inf]),
    "s": st.none() | st.sampled_from(["", "a", "b", "ab", "\0"]),
    "b": st.none() | st.booleans(),
    "wide": st.text(max_size=3),
}
SCHEMA = pa.schema(
    [("i", pa.int64()), ("f", pa.float64()), ("s", pa.string()), ("b", pa.bool_()), ("wide", pa.string())]
)


def key_of(row: dict[str, Any], keys: Sequence[str]) -> tuple[tuple[bool, Any], ...]:
    """Comparable: the missing behind the others."""
    values = [None if row[key] is None or row[key] != row[key] else row[key] for key in keys]
    return tuple((value is None, 0 if value is None else value) for value in values)


@PEOPLE
@given(
    rows=st.lists(st.fixed_dictionaries(VALUES), max_size=60),
    sizes=st.lists(st.integers(0, 10), max_size=6),
    keys=st.lists(st.sampled_from(["i", "f", "s", "b"]), min_size=1, max_size=4, unique=True),
    memory=st.sampled_from([1, 300, 2000, 1 << 20]),
    message_size=st.sampled_from([1, 200]),
)
def test_any_table_by_any_keys_in_any_memory(
    rows: list[dict[str, Any]],
    sizes: list[int],
    keys: list[str],
    memory: int,
    message_size: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The same as sorting the rows in memory by their keys."""
    monkeypatch.setattr(runs, "_MESSAGE_SIZE_MIN", message_size)
    numbered = [
        {name: row[name] if name != "wide" else f"{row['wide']}{index}" for name in SCHEMA.names}
        for index, row in enumerate(rows)
    ]
    table = pa.Table.from_pylist(numbered, SCHEMA)
    expected: dict[tuple[tuple[bool, Any], ...], list[dict[str, Any]]] = {}
    for row in sorted(numbered, key=lambda row: key_of(row, keys)):
        expected.setdefault(key_of(row, keys), []).append(row)
    found = parts_of(partition(tmp_path / "parts", cut(table, sizes), keys, memory))
    assert [key_of(key, keys) for key, _ in found] == list(expected)
    assert repr([rows for _, rows in found]) == repr(list(expected.values()))


def test_one_key_has_nearly_all_rows(tmp_path: Path) -> None:
    """A hundred times what fits into memory, in many runs, with other keys before and behind it."""
    count, chance = 50_000, random.Random(1)
    keys = [chance.choice([1, 3]) if chance.random() < 0.01 else 2 for _ in range(count)]
    table = pa.table({"k": keys, "n": range(count)})
    found = partition(tmp_path / "parts", cut(table, [1000] * 49), ["k"], memory=8000)
    for key, (value, rows) in zip([1, 2, 3], parts_of(found), strict=True):
        assert value == {"k": key}
        assert [row["n"] for row in rows] == [n for n in range(count) if keys[n] == key]


def test_many_keys_of_one_row_each(tmp_path: Path) -> None:
    count = 20_000
    numbers = random.Random(2).sample(range(count), count)
    found = partition(tmp_path / "parts", cut(pa.table({"k": numbers}), [777] * 20), ["k"], memory=50_000)
    assert [key["k"] for key in found["keys"]] == list(range(count))
    assert {rows for _, _, rows in found["pieces"]} == {1}


def test_codes_of_many_wide_keys_do_not_overflow(tmp_path: Path) -> None:
    """Seven columns of 1,000 values each are more combinations than a number of 64 bits counts."""
    count = 1000
    columns = {f"k{index}": random.Random(index).sample(range(count), count) for index in range(7)}
    table = pa.table({**columns, "n": range(count)})
    found = partition(tmp_path / "parts", [table], list(columns))
    assert len(found["keys"]) == count
    tuples = [tuple(key.values()) for key in found["keys"]]
    assert tuples == sorted(zip(*columns.values(), strict=True))


def test_no_rows(tmp_path: Path) -> None:
    empty = pa.table({"k": pa.array([], pa.int64())})
    for tables in ([], [empty]):
        found = partition(tmp_path / "parts", tables, ["k"])
        assert (found["pieces"], found["keys"], found["row_count"]) == ([], [], 0)


def test_what_is_there_is_found_only_if_it_is_complete_and_of_the_same_input(tmp_path: Path) -> None:
    folder = tmp_path / "parts"
    assert shuffle.find(folder, "input") is None
    made = partition(folder, [pa.table({"k": [1, 2]})], ["k"])
    assert shuffle.find(folder, "input") == made
    assert shuffle.find(folder, "another input") is None
    moved = folder.rename(tmp_path / "moved")
    assert shuffle.find(moved, "input") == made | {"path": str(moved / "rows")}
    rows = (moved / "rows").read_bytes()
    (moved / "rows").write_bytes(rows[:-1])
    assert shuffle.find(moved, "input") is None
    (moved / "rows").unlink()
    assert shuffle.find(moved, "input") is None
    (moved / "rows").write_bytes(rows)
    for broken in ("", "{}", "[]", "null"):
        (moved / "result.json").write_text(broken)
        assert shuffle.find(moved, "input") is None


def test_what_was_left_incomplete_is_made_again(tmp_path: Path) -> None:
    folder = tmp_path / "parts"
    folder.mkdir()
    (folder / "rows").write_bytes(b"torn")
    (folder / "runs").write_bytes(b"torn")
    found = partition(folder, [pa.table({"k": [1, 2]})], ["k"])
    assert [key for key, _ in parts_of(found)] == [{"k": 1}, {"k": 2}]
    shuffle.discard(folder)
    assert not folder.exists()
    shuffle.discard(folder)


def test_too_few_rows_are_told(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="3 rows came to be split by their keys, and 2 were"):
        shuffle.partition([pa.table({"k": [1, 2]})], ["k"], tmp_path / "parts", "input", 3)
    assert not (tmp_path / "parts").exists()


@pytest.mark.parametrize(
    ("number", "kind", "hint"), [(errno.ENOSPC, NoRoomError, "make room"), (errno.EIO, ResourceError, "")]
)
def test_a_full_disk(
    number: int, kind: type[ResourceError], hint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(runs.Runs, "merge", fails)
    with pytest.raises(kind, match=r"cannot sort the rows by their keys in .*parts: ") as caught:
        partition(tmp_path / "parts", [pa.table({"k": [1]})], ["k"])
    assert hint in (caught.value.hint or "")
    assert not (tmp_path / "parts").exists()


def test_the_files_are_for_nobody_else(tmp_path: Path) -> None:
    partition(tmp_path / "parts", [pa.table({"k": [1]})], ["k"])
    for path, mode in (("parts", 0o700), ("parts/rows", 0o600), ("parts/result.json", 0o600)):
        assert (tmp_path / path).stat().st_mode & 0o777 == mode


def test_a_damaged_file_is_a_failure_with_its_name(tmp_path: Path) -> None:
    found = partition(tmp_path / "parts", [pa.table({"k": [1, 2]})], ["k"])
    path, (begin, end, rows) = found["path"], found["pieces"][1]
    with pytest.raises(TableError, match=r"parts/rows: bytes .*: 1 rows where 2 were written"):
        read_partition(path, begin, end, rows + 1)
    with open(path, "r+b") as file:
        file.truncate(end - 10)
    with pytest.raises(TableError, match="parts/rows: bytes "):
        read_partition(path, begin, end, rows)
    os.unlink(path)
    with pytest.raises(TableError, match=r"parts/rows: bytes .*No such file"):
        read_partition(path, begin, end, rows)
