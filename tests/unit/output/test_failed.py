"""``failed.jsonl`` is complete or not there, and holds any text."""

from __future__ import annotations

import json
import os

import pytest

from batchflow._core import crc32c
from batchflow.errors import ResourceError
from batchflow.model import Dispatch, Failure, Shortfall
from batchflow.output.failed import entry_of_failure, entry_of_shortfall, write_failures

FAILURE = Failure(
    Dispatch(3, 2, 0, 2), "exception", "ValueError", "bad \udce9", traceback="Traceback\n  …", worker=1, pid=77
)
NAMES = ["/data/a.png", os.fsdecode(b"x\xe9\n.png"), "/data/b.png"]


def names(start, stop):
    return NAMES[start:stop]


def entries(path):
    return [json.loads(line) for line in path.read_text(encoding="ascii").splitlines()]


def test_one_object_for_each_failed_item(tmp_path):
    path = tmp_path / "steps" / "score" / "failed.jsonl"
    part = Dispatch(4, 5, 2, 1, is_part=True)
    died = Failure(part, "died", "WorkerDiedError", "", signal=9, worker=0, pid=78, output_tail="bye\n")
    checksum = write_failures(path, [entry_of_failure(FAILURE, 103), entry_of_failure(died, 104)], names)
    assert checksum == crc32c(path.read_bytes())
    first, second, third = entries(path)
    assert first == {
        "kind": "exception",
        "item": "/data/a.png",
        "mini_batch": 103,
        "attempts": 2,
        "error_type": "ValueError",
        "message": "bad \udce9",
        "traceback": "Traceback\n  …",
        "signal": None,
        "exit_code": None,
        "worker": 1,
        "pid": 77,
        "output_tail": "",
    }
    assert os.fsencode(second["item"]) == b"x\xe9\n.png"
    assert (third["kind"], third["signal"], third["output_tail"]) == ("died", 9, "bye\n")
    assert (third["mini_batch"], third["attempts"]) == (104, 5)


def test_one_object_for_each_shortfall(tmp_path):
    path = tmp_path / "failed.jsonl"
    shortfall = Shortfall(5, 1, returned_count=1, missing_count=2, start=0, item_count=3)
    write_failures(path, [entry_of_shortfall(shortfall, 5)], lambda start, stop: ["a", "b", "c"][start:stop])
    assert entries(path) == [
        {
            "kind": "shortfall",
            "mini_batch": 5,
            "attempts": 1,
            "returned_count": 1,
            "missing_count": 2,
            "candidates": ["a", "b", "c"],
        }
    ]


def test_an_entry_names_its_items_by_their_place():
    failure = Failure(Dispatch(3, 2, 30, 2), "exception", "ValueError", "bad")
    entry = entry_of_failure(failure, 103)
    assert (entry.first_item, entry.item_count, entry.kind) == (30, 2, "exception")
    entry = entry_of_shortfall(Shortfall(5, 1, 1, 2, start=15, item_count=3), 5)
    assert (entry.first_item, entry.item_count, entry.kind) == (15, 3, "shortfall")


def test_a_run_without_failures_replaces_the_old_file_by_an_empty_one(tmp_path):
    path = tmp_path / "failed.jsonl"
    path.write_text("old\n")
    assert write_failures(path, [], names) == 0
    assert path.read_text() == ""
    assert os.listdir(tmp_path) == ["failed.jsonl"]


def test_the_old_file_stays_until_the_new_one_is_complete(tmp_path):
    path = tmp_path / "failed.jsonl"
    path.write_text("old\n")

    def broken(start, stop):
        raise KeyError("the run")

    with pytest.raises(KeyError, match="the run"):
        write_failures(path, [entry_of_failure(FAILURE, 3)], broken)
    assert path.read_text() == "old\n"


def test_a_file_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "failed.jsonl").mkdir()
    with pytest.raises(ResourceError, match=r"cannot write .*failed\.jsonl"):
        write_failures(tmp_path / "failed.jsonl", [], names)
