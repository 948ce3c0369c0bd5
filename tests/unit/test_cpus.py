"""How many processors there are, with a cgroup of the test's own."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from batchflow.cpus import available_cpus


@pytest.fixture(autouse=True)
def sixteen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(16)))


@pytest.mark.fault("M6")
@pytest.mark.parametrize(
    ("content", "count"),
    [
        ("max 100000", 16),
        ("200000 100000", 2),
        ("250000 100000", 3),
        ("50000 100000", 1),
        ("1 100000", 1),
        ("9900000 100000", 16),
        ("200000 0", 16),
        ("nonsense", 16),
        ("", 16),
    ],
)
def test_the_quota_of_a_cgroup(tmp_path: Path, content: str, count: int) -> None:
    (tmp_path / "cpu.max").write_text(content + "\n")
    assert available_cpus(tmp_path) == count


@pytest.mark.fault("M6")
@pytest.mark.parametrize(("quota", "period", "count"), [("-1", "100000", 16), ("150000", "100000", 2), ("x", "1", 16)])
def test_the_quota_of_an_old_cgroup(tmp_path: Path, quota: str, period: str, count: int) -> None:
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu/cpu.cfs_quota_us").write_text(quota + "\n")
    (tmp_path / "cpu/cpu.cfs_period_us").write_text(period + "\n")
    assert available_cpus(tmp_path) == count


@pytest.mark.fault("M6")
def test_without_a_cgroup_the_affinity_counts(tmp_path: Path) -> None:
    assert available_cpus(tmp_path) == 16
