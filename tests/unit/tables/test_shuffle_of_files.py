"""The job of sorting files by their keys, from what the driver and the scout have found to frames."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batchflow.errors import BatchflowError, DatasetError, NoRoomError, ResourceError
from batchflow.tables import shuffle
from batchflow.tables.options import TableOptions
from batchflow.tables.partition_reader import PartitionReader
from batchflow.tables.schema import Schema
from batchflow.tables.scout import scout
from batchflow.tables.splitting import split_file

FIRST = 'store,note,units\n2,"two\nlines",10\n1,,20\n'
SECOND = "store,note,units\n1,fine,\n2,b,40\n3,c,50\n"


def job_of(folder: Path, paths: Sequence[Path], options: TableOptions, keys: Sequence[str]) -> dict[str, Any]:
    """As the driver makes it."""
    names = [str(path) for path in paths]
    found = scout({"options": options.as_json(), "paths": names, "size": 20, "rows": 0}, lambda _: None)
    pieces = list(found["pieces"])
    if options.format in ("csv", "jsonl"):
        for file, name in enumerate(names):
            one = split_file(name, options, size=20)
            pieces += [[file, *piece] for piece in zip(one.begins, one.ends, one.counts, strict=True)]
    job = {"options": options.as_json(), "schema": found["schema"], "paths": names, "pieces": pieces}
    return json.loads(json.dumps({**job, "keys": list(keys), "folder": str(folder / "parts"), "identity": "x"}))


def frames_of(job: dict[str, Any], found: dict[str, Any]) -> list[pd.DataFrame]:
    reader = PartitionReader(Schema.from_json(job["schema"]), "pandas")
    return [reader.read(found["path"], *piece, 0, piece[2]) for piece in found["pieces"]]


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / "a.csv", tmp_path / "b.csv"]
    for path, text in zip(paths, (FIRST, SECOND), strict=True):
        path.write_text(text)
    return paths


def test_from_csv_files_to_frames(files: list[Path], tmp_path: Path) -> None:
    job, said = job_of(tmp_path, files, TableOptions("csv"), ["store"]), []
    found = shuffle.checked(shuffle.shuffle(job, said.append))
    assert found["keys"] == [{"store": 1}, {"store": 2}, {"store": 3}]
    assert [json.loads(line) for line in said] == [{"path": str(path)} for path in files]
    first, second, third = frames_of(job, found)
    assert str(first.dtypes["units"]) == str(third.dtypes["units"]) == "Int64"  # as a mini-batch of any other kind
    assert first["units"].tolist() == [20, pd.NA]
    assert second["note"].tolist() == ["two\nlines", "b"]
    assert (third["store"].tolist(), third.index.tolist()) == ([3], [0])


def test_a_part_of_a_key(files: list[Path], tmp_path: Path) -> None:
    job = job_of(tmp_path, files, TableOptions("csv"), ["store"])
    found = shuffle.shuffle(job, lambda _: None)
    reader = PartitionReader(Schema.from_json(job["schema"]), "arrow")
    assert reader.read(found["path"], *found["pieces"][1], 1, 1).to_pydict() == {
        "store": [2],
        "note": ["b"],
        "units": [40],
    }


def test_what_is_done_is_not_done_again(files: list[Path], tmp_path: Path) -> None:
    job = job_of(tmp_path, files, TableOptions("csv"), ["store"])
    found = shuffle.shuffle(job, lambda _: None)
    for path in files:
        path.unlink()
    assert shuffle.shuffle(job, lambda _: None) == found
    other = shuffle.shuffle(job | {"identity": "y"}, lambda _: None)
    with pytest.raises(DatasetError, match=re.escape(str(files[0]))):
        shuffle.checked(other)
    assert shuffle.find(Path(job["folder"]), "x") is None


def test_a_value_that_does_not_fit_is_named(files: list[Path], tmp_path: Path) -> None:
    job = job_of(tmp_path, files, TableOptions("csv", sample_rows=1), ["store"])
    files[1].write_text(SECOND.replace("50", "5x"))
    with pytest.raises(DatasetError, match=r"b\.csv:4 .*column 'units'.*'5x'"):
        shuffle.checked(shuffle.shuffle(job, lambda _: None))
    assert not Path(job["folder"]).exists()


def test_a_key_that_is_no_column(files: list[Path], tmp_path: Path) -> None:
    job = job_of(tmp_path, files, TableOptions("csv"), ["stor"])
    with pytest.raises(DatasetError, match="'stor' is no column") as caught:
        shuffle.checked(shuffle.shuffle(job, lambda _: None))
    assert caught.value.hint == "did you mean 'store'?"


def test_parquet_with_row_groups_and_a_dictionary(tmp_path: Path) -> None:
    count = 1000
    table = pa.table({"brand": pa.array(["b", "a"] * (count // 2)).dictionary_encode(), "n": range(count)})
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=64)
    job = job_of(tmp_path, [tmp_path / "a.parquet"], TableOptions("parquet"), ["brand"])
    found = shuffle.checked(shuffle.shuffle(job, lambda _: None))
    assert found["keys"] == [{"brand": "a"}, {"brand": "b"}]
    assert [frame["n"].tolist() for frame in frames_of(job, found)] == [
        list(range(1, count, 2)),
        list(range(0, count, 2)),
    ]


@pytest.mark.parametrize(
    ("kind", "error"), [("NoRoomError", NoRoomError), ("ResourceError", ResourceError), ("TableError", DatasetError)]
)
def test_whose_fault_it_is_survives_the_way_to_the_driver(kind: str, error: type[BatchflowError]) -> None:
    with pytest.raises(error, match="why") as caught:
        shuffle.checked({"error": "why", "hint": "cure", "kind": kind})
    assert (type(caught.value), caught.value.hint) == (error, "cure")
