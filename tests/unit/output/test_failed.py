"""``failed.jsonl`` is complete or not there, and holds any text."""

from __future__ import annotations

import json
import os

import pytest

from batchflow.errors import ResourceError
from batchflow.model import Dispatch, Failure, Shortfall
from batchflow.output.failed import FailureLog

FAILURE = Failure(Dispatch(3, 2), "exception", "ValueError", "bad \udce9", traceback="Traceback\n  …", worker=1, pid=77)


def entries(path):
    return [json.loads(line) for line in path.read_text(encoding="ascii").splitlines()]


def test_one_object_for_each_failed_item(tmp_path):
    path = tmp_path / "steps" / "score" / "failed.jsonl"
    odd = os.fsdecode(b"x\xe9\n.png")
    with FailureLog(path) as log:
        log.add_failure(FAILURE, ["/data/a.png", odd])
        died = Failure(Dispatch(4, 1), "died", "WorkerDiedError", "", signal=9, worker=0, pid=78, output_tail="bye\n")
        log.add_failure(died, ["/data/b.png"])
        assert log.item_count == 3
        assert not path.exists()
    first, second, third = entries(path)
    assert first == {
        "kind": "exception",
        "item": "/data/a.png",
        "mini_batch": 3,
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


def test_one_object_for_each_shortfall(tmp_path):
    path = tmp_path / "failed.jsonl"
    with FailureLog(path) as log:
        log.add_shortfall(Shortfall(5, 1, returned_count=1, missing_count=2), ["a", "b", "c"])
        assert log.item_count == 2
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


def test_a_run_without_failures_replaces_the_old_file_by_an_empty_one(tmp_path):
    path = tmp_path / "failed.jsonl"
    path.write_text("old\n")
    log = FailureLog(path)
    assert path.read_text() == "old\n"
    log.close()
    log.close()
    assert path.read_text() == ""
    assert os.listdir(tmp_path) == ["failed.jsonl"]


def test_what_is_known_is_published_when_the_run_ends_with_an_error(tmp_path):
    path = tmp_path / "failed.jsonl"
    with pytest.raises(KeyError, match="the run"), FailureLog(path) as log:
        log.add_failure(FAILURE, ["a"])
        raise KeyError("the run")
    assert len(entries(path)) == 1


def test_a_file_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ResourceError, match=r"cannot write .*/file/failed.jsonl: (Not a directory|File exists)"):
        FailureLog(tmp_path / "file" / "failed.jsonl")
    path = tmp_path / "failed.jsonl"
    path.mkdir()
    log = FailureLog(path)
    with pytest.raises(ResourceError, match=r"cannot write .*/failed.jsonl: Is a directory"):
        log.close()
