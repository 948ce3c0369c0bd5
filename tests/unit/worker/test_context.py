"""What ``run(mini_batch, context)`` can ask its context."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from batchflow.worker.context import MiniBatchContext, StepContext
from batchflow.worker.inputs import DatasetRange


@pytest.fixture
def step(tmp_path):
    return StepContext(
        step="score",
        run_id="r1",
        arguments=("--model", "m"),
        locate=lambda start, stop: DatasetRange("images", ((start, stop),)),
        keys=lambda start: {"user": "ann"} if start == 99 else {},
        scratch_path=tmp_path / "scratch" / "worker-1",
        output_dir=Path("/data/out"),
    )


def test_every_attribute(step, tmp_path):
    context = MiniBatchContext(step, 4, 2, 40, 47)
    assert (context.mini_batch_index, context.minibatch_index) == (4, 4)
    assert (context.attempt, context.retry_count) == (2, 1)
    assert context.item_count == 7
    assert context.partition_key_value == {}
    assert context.dataset == DatasetRange("images", ((40, 47),))
    assert (context.step, context.run_id, context.arguments) == ("score", "r1", ("--model", "m"))
    assert context.output_dir == Path("/data/out")
    assert context.logger is logging.getLogger("batchflow.score")
    assert repr(context) == "MiniBatchContext(step='score', mini_batch_index=4, attempt=2, item_count=7)"
    assert MiniBatchContext(step, 0, 1, 99, 100).partition_key_value == {"user": "ann"}


def test_the_scratch_folder_is_made_on_first_use_and_shared_by_a_worker(step, tmp_path):
    first, second = MiniBatchContext(step, 0, 1, 0, 1), MiniBatchContext(step, 1, 1, 1, 2)
    assert list(tmp_path.iterdir()) == []
    (first.scratch_dir / "x").touch()
    assert first.scratch_dir == second.scratch_dir == tmp_path / "scratch" / "worker-1"
    assert (second.scratch_dir / "x").exists()
    assert first.scratch_dir.stat().st_mode & 0o777 == 0o700


def test_a_script_cannot_set_what_does_not_exist(step):
    context = MiniBatchContext(step, 0, 1, 0, 1)
    with pytest.raises(AttributeError):
        context.mini_batch_indx = 3
