"""How many processors this process may really use.  Imports nothing of ours."""

from __future__ import annotations

import os
from pathlib import Path


def available_cpus(cgroup_root: Path = Path("/sys/fs/cgroup")) -> int:
    """By affinity and by the cgroup's quota (v2 ``cpu.max``, v1 ``cpu.cfs_quota_us``), at least 1.

    ``os.cpu_count()`` counts the machine, not what a container or a batch slot was given.
    """
    allowed = len(os.sched_getaffinity(0))
    quota = _quota(cgroup_root)
    return allowed if quota is None else max(1, min(allowed, quota))


def _quota(root: Path) -> int | None:
    """The quota in whole processors, rounded up; None without one."""
    try:
        limit, period = (root / "cpu.max").read_text().split()
    except (OSError, ValueError):
        try:
            limit = (root / "cpu" / "cpu.cfs_quota_us").read_text().strip()
            period = (root / "cpu" / "cpu.cfs_period_us").read_text().strip()
        except OSError:
            return None
    if not limit.isdigit() or not period.isdigit() or int(period) == 0:
        return None  # "max", or -1
    return max(1, -(-int(limit) // int(period)))
