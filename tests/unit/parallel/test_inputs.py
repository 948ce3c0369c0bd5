"""What a step is over: numbers, names and mini-batches of items of several inputs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from batchflow.data import list_files
from batchflow.errors import DatasetError
from batchflow.mini_batches import CutGrid, UniformGrid
from batchflow.model import FailureEntry
from batchflow.parallel.inputs import FileItems, Split, StepInputs
from batchflow.parallel.values import OverInput
from batchflow.worker.inputs import DatasetRange, WorkerInputs


def make_files(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)


def over(folder: Path, name: str, partition_format: str | None = None) -> OverInput:
    return OverInput(name, (f"{folder}/{name}/",), partition_format=partition_format)


def opened(split: Split, *inputs: OverInput) -> StepInputs:
    return StepInputs([FileItems(one, list_files(one.patterns), split.keys) for one in inputs], split)


def attached(inputs: StepInputs) -> WorkerInputs:
    """As a worker has them."""
    found = WorkerInputs()
    for description, descriptors in inputs.attachments(inputs.grid):
        found.attach(description, descriptors)
    return found


def test_files_of_one_input_are_split_evenly(tmp_path: Path) -> None:
    make_files(tmp_path, "a/1", "a/2", "a/3")
    inputs = opened(Split(2, "items"), over(tmp_path, "a"))
    assert isinstance(inputs.grid, UniformGrid)
    assert (inputs.grid.size, inputs.grid.count, inputs.item_count) == (2, 2, 3)
    theirs = attached(inputs)
    assert isinstance(theirs.grid, UniformGrid)
    assert (theirs.grid.size, theirs.grid.item_count) == (2, 3)
    assert theirs.reader(None)(1, 3) == [f"{tmp_path}/a/2", f"{tmp_path}/a/3"]
    assert theirs.locate(1, 3) == DatasetRange("a", ((1, 3),))
    assert theirs.keys(1) == {}
    assert inputs.told(1, 2) == f"{tmp_path}/a/2"
    assert inputs.told(0, 3) == f"{tmp_path}/a/1 and 2 more"
    inputs.close()


def test_each_of_several_inputs_is_split_on_its_own(tmp_path: Path) -> None:
    make_files(tmp_path, *(f"a/{k}" for k in range(3)), *(f"b/{k}" for k in range(4)))
    inputs = opened(Split(2, "items"), over(tmp_path, "a"), over(tmp_path, "b"))
    assert isinstance(inputs.grid, CutGrid)
    assert (list(inputs.grid.cuts), inputs.item_count) == ([0, 2, 3, 5, 7], 7)
    paths = [f"{tmp_path}/{name}" for name in ("a/0", "a/1", "a/2", "b/0", "b/1", "b/2", "b/3")]
    assert inputs.names(0, 7) == inputs.candidates(0, 7) == paths
    assert inputs.names(2, 4) == paths[2:4]
    theirs = attached(inputs)
    assert isinstance(theirs.grid, CutGrid)
    assert list(theirs.grid.cuts) == [0, 2, 3, 5, 7]
    read = theirs.reader(None)
    assert [read(0, 2), read(2, 3), read(5, 7)] == [paths[0:2], paths[2:3], paths[5:7]]
    assert theirs.locate(5, 7) == DatasetRange("b", ((2, 4),))
    inputs.close()
    inputs.close()  # twice is once


def test_the_same_file_may_be_in_two_inputs(tmp_path: Path) -> None:
    make_files(tmp_path, "a/1")
    one, two = over(tmp_path, "a"), OverInput("b", (f"{tmp_path}/a/",))
    inputs = opened(Split(10, "items"), one, two)
    assert inputs.names(0, 2) == [f"{tmp_path}/a/1"] * 2
    inputs.close()


def test_files_with_equal_keys_are_a_mini_batch(tmp_path: Path) -> None:
    make_files(tmp_path, *(f"a/{user}/{kind}-{k}" for k in (1, 2) for user in ("bob", "ann") for kind in ("x", "y")))
    split = Split(0, "keys", ("kind", "user"))
    inputs = opened(split, over(tmp_path, "a", "{user}/{kind}-{k}"))
    assert isinstance(inputs.grid, CutGrid)
    assert list(inputs.grid.cuts) == [0, 2, 4, 6, 8]
    names = [os.path.relpath(str(name), tmp_path / "a") for name in inputs.names(0, 8)]
    assert names == ["ann/x-1", "ann/x-2", "bob/x-1", "bob/x-2", "ann/y-1", "ann/y-2", "bob/y-1", "bob/y-2"]
    theirs = attached(inputs)
    assert [os.path.relpath(path, tmp_path / "a") for path in theirs.reader(None)(2, 4)] == names[2:4]
    assert theirs.keys(2) == {"kind": "x", "user": "bob"}
    assert theirs.inputs[0].listing.size(0) == len("a/ann/x-1")
    inputs.close()


def test_a_file_without_keys_is_named(tmp_path: Path) -> None:
    make_files(tmp_path, "a/ann/1.txt", "a/ann/2.wav", "a/3.wav")
    split = Split(0, "keys", ("user",))
    with pytest.raises(DatasetError) as caught:
        opened(split, over(tmp_path, "a", "a/{user}/{k}.txt"))
    assert caught.value.message == (
        f"input a: {tmp_path}/a/3.wav and 1 more does not end as partition_format says, a/{{user}}/{{k}}.txt"
    )
    assert caught.value.hint == "let the pattern match only files that do, or change partition_format"


def test_failures_are_counted_by_input(tmp_path: Path) -> None:
    make_files(tmp_path, *(f"a/{k}" for k in range(3)), *(f"b/{k}" for k in range(4)))
    inputs = opened(Split(9, "items"), over(tmp_path, "a"), over(tmp_path, "b"))
    failures = [
        FailureEntry(1, 3, "exception", {}),
        FailureEntry(4, 2, "shortfall", {"missing_count": 1}),
    ]
    assert inputs.counted(failures) == {"a": {"items": 3, "failed": 2}, "b": {"items": 4, "failed": 2}}
    inputs.close()
