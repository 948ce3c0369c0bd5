"""A ``run()`` that gives rows of 1,000 bytes at a fixed pace: it sleeps until its mini-batch's time is over.

``--pause-s`` is that time; with ``--busy`` it computes instead, so that whatever the driver computes is taken from it.
"""

import argparse
import time

ROW = "x" * 999
LATE_MAX_S = 0.05
"""So much of what was lost is caught up with."""

_pause_s: float
_busy: bool
_due_s: float


def init() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--pause-s", type=float, required=True)
    parser.add_argument("--busy", action="store_true")
    prepare(**vars(parser.parse_args()))


def prepare(*, pause_s: float, busy: bool) -> None:
    global _pause_s, _busy, _due_s
    _pause_s, _busy, _due_s = pause_s, busy, 0.0


def run(mini_batch: list[str]) -> list[str]:
    global _due_s
    if _busy:
        end_s = time.thread_time() + _pause_s
        while time.thread_time() < end_s:
            pass
    else:
        _due_s = max(_due_s, time.perf_counter() - LATE_MAX_S) + _pause_s
        time.sleep(max(0.0, _due_s - time.perf_counter()))
    return [ROW] * len(mini_batch)
