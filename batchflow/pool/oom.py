"""Which deaths are the kernel's doing, for want of memory?

A process that is killed for that ends by SIGKILL like any other; the kernel only counts.  It counts before it kills, so
whoever sees the death sees the count.  Reads the counter of this process's own cgroup, which its workers share; where
there is none, that of the machine.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable
from pathlib import Path

from batchflow.clock import Clock

LOOK_S = 1.0
CLAIM_S = 30.0
"""How long after the kernel counted a kill a death may be due to it: a large process takes a while to go."""


class OomWatch:
    """Tells deaths by the kernel's out-of-memory killer from other SIGKILLs; each kill explains one death."""

    def __init__(self, clock: Clock, read: Callable[[], int] | None = None) -> None:
        """``read``: how many kills there have been so far."""
        self._clock = clock
        self._read = read or find_counter()
        self._count = self._read()
        self._looked_s = clock.monotonic()
        self._unclaimed_s: deque[float] = deque(maxlen=4096)

    def look(self) -> None:
        """Call often: so it is known when a kill was."""
        now_s = self._clock.monotonic()
        if now_s - self._looked_s >= LOOK_S:
            self._take(now_s)

    def claim(self) -> bool:
        """A process died of a SIGKILL that we did not send: was it for want of memory?"""
        now_s = self._clock.monotonic()
        self._take(now_s)
        while self._unclaimed_s and now_s - self._unclaimed_s[0] > CLAIM_S:
            self._unclaimed_s.popleft()
        if not self._unclaimed_s:
            return False
        self._unclaimed_s.popleft()
        return True

    def _take(self, now_s: float) -> None:
        count = self._read()
        self._unclaimed_s.extend([now_s] * min(max(0, count - self._count), 4096))
        self._count, self._looked_s = count, now_s


def find_counter(proc: Path = Path("/proc")) -> Callable[[], int]:
    """A function that reads how many processes the kernel has killed, in our cgroup or in all; 0 if that is hidden."""
    for path in [*_cgroup_files(proc), proc / "vmstat"]:
        if _kills(path) is not None:
            return lambda path=path: _kills(path) or 0  # type: ignore[misc]
    return lambda: 0


def _kills(path: Path) -> int | None:
    with contextlib.suppress(OSError, ValueError):
        for line in path.read_bytes().splitlines():
            name, _, value = line.partition(b" ")
            if name == b"oom_kill":
                return int(value)
    return None


def _cgroup_files(proc: Path) -> list[Path]:
    """Where the counters of this process's cgroups are: version 2, then version 1."""
    with contextlib.suppress(OSError):
        groups = (proc / "self/cgroup").read_text("utf-8", "surrogateescape").splitlines()
        mounts = (proc / "self/mountinfo").read_text("utf-8", "surrogateescape").splitlines()
        return [file for kind in ("cgroup2", "cgroup") for file in _files_of(kind, groups, mounts)]
    return []


def _files_of(kind: str, groups: list[str], mounts: list[str]) -> list[Path]:
    """``groups`` has lines such as ``4:memory:/path``, or ``0::/path`` for version 2; ``mounts`` is mountinfo."""
    controllers = "" if kind == "cgroup2" else "memory"
    fields = [line.split(":", 2) for line in groups if line.count(":") >= 2]
    ours = [path for _, names, path in fields if controllers in names.split(",")]
    found = []
    for line in mounts:
        place, _, source = line.partition(" - ")
        kind_found, _, options = (*source.split(" ", 2), "", "")[:3]
        if kind_found != kind or (controllers and controllers not in options.split(",")):
            continue
        _, _, _, root, folder, *_ = place.split(" ")
        for path in ours:
            below = path.removeprefix(root if root != "/" else "").lstrip("/")
            file = "memory.events" if kind == "cgroup2" else "memory.oom_control"
            found.append(Path(folder.replace("\\040", " "), below, file))
    return found
