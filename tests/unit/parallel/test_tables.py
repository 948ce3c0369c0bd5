"""Tables as the work of a step: indexes that are made, kept and believed; names and numbers of rows."""

from __future__ import annotations

import gzip
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from batchflow.control import StopLevel, StopRequest
from batchflow.data import list_files
from batchflow.errors import DatasetError, InterruptedRunError
from batchflow.model import FailureEntry
from batchflow.parallel import tables as room
from batchflow.parallel.inputs import Split, StepInputs
from batchflow.parallel.tables import TableItems, TableOpener
from batchflow.parallel.values import OverInput
from batchflow.tables.options import TableOptions
from batchflow.tables.scout import scout
from batchflow.tables.shuffle import shuffle
from batchflow.worker.inputs import TableRange, WorkerInputs

TEXT = 'id,name\n1,a\n2,"b\nb"\n3,c\n'
BYTES = Split(10, "bytes")


class Scene:
    """Two files of three rows, one compressed file of two; the scout is no process."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        (folder / "in").mkdir()
        (folder / "in/a.csv").write_text(TEXT)
        (folder / "in/b.csv").write_text(TEXT.replace("1,a", "4,d"))
        (folder / "in/c.csv.gz").write_bytes(gzip.compress(b"id,name\n7,x\n8,y\n"))
        self.over = OverInput("rows", (f"{folder}/in/",), table=TableOptions("csv"))
        self.jobs: list[Mapping[str, Any]] = []
        self.notices: list[str] = []
        self.said: list[str] = []
        self.stop = StopRequest()
        scene = self

        class PlayedScout:
            def __init__(self, job: Mapping[str, Any], log_path: Path) -> None:
                scene.jobs.append(job)

            def result(self, stop: StopRequest) -> dict[str, Any]:
                job = scene.jobs[-1]
                found = shuffle(job, lambda line: None) if "keys" in job else scout(job, lambda line: None)
                if "error" in found:
                    raise DatasetError(found["error"], hint=found["hint"])
                return found

            def close(self) -> None:
                pass

        patch.setattr(room, "Scout", PlayedScout)

    def open(self, split: Split = BYTES, cores: int = 2) -> TableItems:
        listing = list_files(self.over.patterns)
        paths = self.folder / "rows.index", self.folder / "scout.log"
        words: dict[str, Any] = {"say": self.said.append, "notice": self.notices.append}
        return TableOpener(self.over, listing, split, *paths, cores, stop=self.stop, **words).open()

    def inputs(self, split: Split = BYTES) -> StepInputs:
        return StepInputs([self.open(split)], split)


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    return Scene(tmp_path, monkeypatch)


def test_rows_are_numbered_over_all_files_and_pieces_end_with_them(scene: Scene) -> None:
    inputs = scene.inputs()
    assert inputs.item_count == 8
    assert list(inputs.grid.cuts) == [0, 2, 3, 5, 6, 8]  # type: ignore[union-attr]
    assert scene.said == ["finding rows"]
    theirs = WorkerInputs()
    for description, descriptors in inputs.attachments(inputs.grid):
        theirs.attach(description, descriptors)
    read = theirs.reader("pandas")
    assert list(read(0, 2)["name"]) == ["a", "b\nb"]
    assert list(read(4, 5)["id"]) == [2]
    assert list(read(6, 8)["id"]) == [7, 8]
    assert theirs.locate(5, 6) == TableRange("rows", ((5, 6),), f"{scene.folder}/in/b.csv", (2, 3))
    assert theirs.keys(5) == {}
    inputs.close()


@pytest.mark.parametrize("cores", [1, 2, 4])
def test_the_number_of_cores_changes_nothing(scene: Scene, cores: int) -> None:
    items = scene.open(cores=cores)
    assert list(items.cuts(BYTES)) == [0, 2, 3, 5, 6]
    items.close()


def test_rows_are_known_by_their_files_and_bytes(scene: Scene) -> None:
    inputs = scene.inputs()
    a, c = f"{scene.folder}/in/a.csv", f"{scene.folder}/in/c.csv.gz"
    assert inputs.names(1, 2) == [{"file": a, "row": 1, "bytes": [12, 20]}]
    assert inputs.names(0, 3) == [
        {"file": a, "row": 0, "bytes": [8, 20]},
        {"file": a, "row": 1, "bytes": [8, 20]},
        {"file": a, "row": 2, "bytes": [20, 24]},
    ]
    assert inputs.candidates(0, 2) == [{"file": a, "rows": [0, 2], "bytes": [8, 20]}]
    assert inputs.names(7, 8) == [{"file": c, "row": 1}]
    assert inputs.told(1, 2) == f"{a}, row 1, bytes 12 to 20"
    assert inputs.told(6, 8) == f"{c}, rows 0 to 1"
    inputs.close()


def test_of_a_file_that_is_gone_no_bytes_are_told(scene: Scene) -> None:
    inputs = scene.inputs()
    (scene.folder / "in/a.csv").unlink()
    assert inputs.names(1, 2) == [{"file": f"{scene.folder}/in/a.csv", "row": 1}]
    inputs.close()


def test_failures_are_counted_by_file(scene: Scene) -> None:
    inputs = scene.inputs()
    failures = [FailureEntry(2, 2, "exception", {}), FailureEntry(6, 2, "shortfall", {"missing_count": 1})]
    files = [("a.csv", 3, 1), ("b.csv", 3, 1), ("c.csv.gz", 2, 1)]
    assert inputs.counted(failures) == {
        "rows": {
            "items": 8,
            "failed": 3,
            "files": [{"file": f"{scene.folder}/in/{name}", "rows": rows, "failed": bad} for name, rows, bad in files],
        }
    }
    inputs.close()


def test_of_very_many_files_only_the_sum_is_told(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "_FILES_MAX", 2)
    inputs = scene.inputs()
    assert inputs.counted([]) == {"rows": {"items": 8, "failed": 0}}
    inputs.close()


# Believing what is kept


def test_what_was_found_is_not_looked_for_again(scene: Scene) -> None:
    scene.open().close()
    items = scene.open()
    assert (len(scene.jobs), items.item_count, scene.said) == (1, 8, ["finding rows"])
    items.close()


@pytest.mark.parametrize("what", ["size", "options", "file", "damage", "gone"])
def test_what_may_be_otherwise_is_looked_for_again(scene: Scene, what: str) -> None:
    scene.open().close()
    split, index = BYTES, scene.folder / "rows.index"
    if what == "size":
        split = Split(1, "rows")
    elif what == "options":
        scene.over = replace(scene.over, table=TableOptions("csv", sample_rows=5))
    elif what == "file":
        os.utime(scene.folder / "in/b.csv", ns=(1, 1))
    elif what == "damage":
        index.write_bytes(index.read_bytes()[:-1] + b"!")
    else:
        index.unlink()
    items = scene.open(split)
    assert (len(scene.jobs), items.item_count) == (2, 8)
    items.close()


def test_where_it_cannot_be_kept_it_is_found_each_time(scene: Scene) -> None:
    (scene.folder / "rows.index").mkdir()
    for count in (1, 2):
        scene.open().close()
        assert len(scene.jobs) == count


# What is wrong


@pytest.mark.fault("J9")
def test_no_rows_at_all_are_refused(scene: Scene) -> None:
    for name in ("a.csv", "b.csv"):
        (scene.folder / "in" / name).write_text("id,name\n")
    (scene.folder / "in/c.csv.gz").unlink()
    with pytest.raises(DatasetError, match=r"^input rows has no rows, in 2 files$"):
        scene.open()


@pytest.mark.fault("J19")
def test_a_file_that_changes_while_it_is_looked_at_is_refused(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    split_file = room.split_file

    def and_grows(path: str, *arguments: Any, **keys: Any) -> Any:
        found = split_file(path, *arguments, **keys)
        with Path(path).open("a") as file:
            file.write("9,z\n")
        return found

    monkeypatch.setattr(room, "split_file", and_grows)
    with pytest.raises(DatasetError, match=r"in/a\.csv changed while its rows were looked for$"):
        scene.open()
    assert not (scene.folder / "rows.index").exists()


def test_the_first_file_that_cannot_be_split_is_named(scene: Scene) -> None:
    for name in ("a.csv", "b.csv"):
        (scene.folder / "in" / name).write_text('id,name\n1,"a\n')
    with pytest.raises(DatasetError, match=r"in/a\.csv"):
        scene.open(cores=1)


def test_who_stops_the_run_waits_for_no_file(scene: Scene) -> None:
    scene.stop.request(StopLevel.DRAIN)
    with pytest.raises(InterruptedRunError, match=r"^stopped while looking for rows$"):
        scene.open()


def test_a_warning_is_told_in_every_run(scene: Scene) -> None:
    (scene.folder / "in/a.csv").write_text('id,name\n1,a"b\n')
    for count in (1, 2):
        scene.open().close()
        assert len(scene.notices) == count
    assert "a.csv" in scene.notices[0]


# Keys


def test_rows_of_each_key_are_a_mini_batch(scene: Scene) -> None:
    (scene.folder / "in/b.csv").write_text(TEXT)
    split = Split(0, "keys", ("name",))
    inputs = scene.inputs(split)
    assert scene.said == ["finding rows", "sorting rows by their keys"]
    assert list(inputs.grid.cuts) == [0, 2, 4, 6, 7, 8]  # type: ignore[union-attr]
    theirs = WorkerInputs()
    for description, descriptors in inputs.attachments(inputs.grid):
        theirs.attach(description, descriptors)
    read = theirs.reader("pandas")
    assert [theirs.keys(start) for start in (0, 2, 7)] == [{"name": "a"}, {"name": "b\nb"}, {"name": "y"}]
    assert list(read(2, 4)["name"]) == ["b\nb", "b\nb"]
    assert theirs.locate(2, 4) == ("rows", ((2, 4),))
    assert inputs.names(3, 4) == [{"keys": {"name": "b\nb"}, "row": 1}]
    assert inputs.told(0, 2) == "name=a, rows 0 to 1"
    assert inputs.counted([]) == {"rows": {"items": 8, "failed": 0}}
    inputs.close()
    again = scene.inputs(split)
    assert (len(scene.jobs), again.item_count) == (2, 8)
    again.discard()
    again.close()
    assert not (scene.folder / "rows.keys").exists()
    once_more = scene.inputs(split)
    assert (len(scene.jobs), once_more.names(0, 1)) == (4, [{"keys": {"name": "a"}, "row": 0}])
    once_more.close()


def test_rows_are_found_in_any_order(scene: Scene) -> None:
    (scene.folder / "in/a.csv").write_text("id,name\n" + "".join(f'{k},"{k}\n"\n' for k in range(50)))
    inputs = scene.inputs(Split(1 << 20, "bytes"))
    text = (scene.folder / "in/a.csv").read_bytes()
    for first, last in [(0, 1), (1, 2), (7, 9), (48, 50), (3, 4), (4, 5), (49, 50), (0, 50)]:
        begin, end = inputs.candidates(first, last)[0]["bytes"]  # type: ignore[index]
        assert text[begin:end] == b"".join(b'%d,"%d\n"\n' % (k, k) for k in range(first, last))
    inputs.close()
