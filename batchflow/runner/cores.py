"""How many CPUs this process may use: its affinity, and the quota of its control group."""

from __future__ import annotations

import contextlib
import math
import os
from pathlib import Path

_CGROUP_ROOT = Path("/sys/fs/cgroup")


def available_cores(cgroup_root: Path = _CGROUP_ROOT, membership: Path = Path("/proc/self/cgroup")) -> int:
    """At least 1; a quota of one and a half CPUs counts as two."""
    cores = len(os.sched_getaffinity(0))
    quota = cgroup_quota(cgroup_root, membership)
    return cores if quota is None else max(1, min(cores, math.ceil(quota)))


def cgroup_quota(root: Path, membership: Path) -> float | None:
    """The tightest limit, in CPUs, on the way from this process's control group (version 2) to the root, if any."""
    limits = []
    with contextlib.suppress(OSError):
        for line in membership.read_text().splitlines():
            if line.startswith("0::"):
                folder = root / line[3:].lstrip("/")
                limits = [_limit(one) for one in (folder, *folder.parents) if one == root or root in one.parents]
    return min((limit for limit in limits if limit is not None), default=None)


def _limit(folder: Path) -> float | None:
    with contextlib.suppress(OSError, ValueError):
        quota, period = (folder / "cpu.max").read_text().split()
        if quota != "max":
            return int(quota) / int(period)
    return None
