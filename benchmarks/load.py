"""What a tree of processes costs, and what others did to the machine meanwhile.  Linux only.

In timed runs nothing samples: CPU time comes from the kernel's own sums when the child is reaped, the machine's from
``/proc/stat`` before and after.  Memory is sampled in a round of its own, whose times are thrown away.
"""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
PSS_INTERVAL_S = 0.05


def busy_seconds(text: str) -> float:
    """CPU seconds in which the machine was not idle, from the text of ``/proc/stat``: all CPUs, theft included.

    Guest time is left out because the kernel counts it in user time already.
    """
    user, nice, system, _idle, _iowait, irq, softirq, steal = (int(field) for field in text.split()[1:9])
    return (user + nice + system + irq + softirq + steal) / TICKS_PER_SECOND


def foreign_share(machine_cpu_s: float, tree_cpu_s: float, wall_s: float, cpu_count: int) -> float:
    """The share of ``cpu_count`` CPUs over ``wall_s`` that neither idled nor belonged to the tree."""
    if wall_s <= 0:
        return 0.0
    return max(0.0, machine_cpu_s - tree_cpu_s) / (wall_s * cpu_count)


def tree_pss(pid: int) -> int:
    """Proportional set size of a process and all its descendants, in bytes; those that just ended count as 0."""
    try:
        root = psutil.Process(pid)
        pids = [pid, *(child.pid for child in root.children(recursive=True))]
    except psutil.Error:
        return 0
    total = 0
    for one in pids:
        try:
            lines = Path(f"/proc/{one}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        total += sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
    return total


class PssSampler(threading.Thread):
    """Watches one tree from a thread until ``finish`` is called."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self._pid = pid
        self._done = threading.Event()
        self._peak = 0

    def run(self) -> None:
        while not self._done.is_set():
            self._peak = max(self._peak, tree_pss(self._pid))
            self._done.wait(PSS_INTERVAL_S)

    def finish(self) -> int:
        """Stop, and return the peak in bytes."""
        self._done.set()
        self.join()
        return self._peak


@dataclass(frozen=True)
class Observed:
    """One finished child process: what it said and what it cost."""

    output: str
    errors: str
    exit_code: int
    wall_s: float
    cpu_s: float
    """Of the child and everything it reaped."""
    machine_cpu_s: float
    """Of the whole machine meanwhile."""
    pss_peak_bytes: int


def observe(command: Sequence[str], environment: dict[str, str], scratch: Path, *, sample: bool) -> Observed:
    """Run a command to its end; what it prints goes through two files in ``scratch``."""
    output_path, errors_path = scratch / "stdout", scratch / "stderr"
    busy_before = busy_seconds(Path("/proc/stat").read_text())
    start = time.perf_counter()
    with output_path.open("wb") as output, errors_path.open("wb") as errors:
        child = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=errors)
    sampler = PssSampler(child.pid) if sample else None
    if sampler is not None:
        sampler.start()
    # Reaped by hand: only wait4 gives the CPU time of the child and of all that it reaped itself.
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    wall_s = time.perf_counter() - start
    pss_peak_bytes = sampler.finish() if sampler is not None else 0
    busy_s = busy_seconds(Path("/proc/stat").read_text()) - busy_before
    return Observed(
        output=output_path.read_text("utf-8", "replace"),
        errors=errors_path.read_text("utf-8", "replace"),
        exit_code=child.returncode,
        wall_s=wall_s,
        cpu_s=usage.ru_utime + usage.ru_stime,
        machine_cpu_s=busy_s,
        pss_peak_bytes=pss_peak_bytes,
    )
