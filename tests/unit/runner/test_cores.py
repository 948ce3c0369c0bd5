"""The CPUs of this process: affinity, limited by the control group's quota."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from batchflow.runner.cores import available_cores, cgroup_quota


@pytest.mark.parametrize(
    ("leaf", "parent", "quota"),
    [("max 100000", "max 100000", None), ("150000 100000", "max 100000", 1.5), ("400000 100000", "50000 100000", 0.5)],
)
def test_the_tightest_quota_counts(tmp_path: Path, leaf: str, parent: str, quota: float | None) -> None:
    (tmp_path / "user" / "job").mkdir(parents=True)
    (tmp_path / "user" / "cpu.max").write_text(parent)
    (tmp_path / "user" / "job" / "cpu.max").write_text(leaf)
    membership = tmp_path / "membership"
    membership.write_text("0::/user/job\n")
    assert cgroup_quota(tmp_path, membership) == quota
    cores = available_cores(tmp_path, membership)
    assert 1 <= cores <= len(os.sched_getaffinity(0))
    assert quota is None or cores <= max(1, quota + 1)


def test_without_control_groups_the_affinity_counts(tmp_path: Path) -> None:
    assert available_cores(tmp_path, tmp_path / "missing") == len(os.sched_getaffinity(0))
