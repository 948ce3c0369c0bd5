"""Which GPUs a worker sees."""

from __future__ import annotations

import pytest

from batchflow.worker.loop import gpu_environment


@pytest.mark.parametrize(
    ("worker", "gpus_per_worker", "visible", "expected"),
    [
        (0, 0, "0,1", None),
        (0, 1, "0,1", "0"),
        (1, 1, "0,1", "1"),
        (2, 1, "0,1", "0"),
        (1, 2, "4,5,6,7", "6,7"),
        (1, 2, "4,5,6", "6,4"),
        (0, 3, "4", "4"),
        (1, 1, "GPU-aa, GPU-bb", "GPU-bb"),
        (0, 1, "", None),
        (0, 1, " , ", None),
    ],
)
def test_each_worker_gets_its_share_in_turn(
    worker: int, gpus_per_worker: int, visible: str, expected: str | None
) -> None:
    environment = gpu_environment(worker, gpus_per_worker, visible)
    assert environment == ({} if expected is None else {"CUDA_VISIBLE_DEVICES": expected})
