"""Named places at which a test can end the process, as a crash would.

Nothing happens unless the environment has ``BATCHFLOW_TEST_BUILD=1`` and ``BATCHFLOW_FAILPOINT=NAME`` or ``NAME:N``
(the N-th time, counted from 1) when this module is imported.  Imports nothing of ours.
"""

from __future__ import annotations

import os
import signal

NAMES = (
    "journal_begun",
    "output_opened",
    "before_pwrite",
    "after_pwrite",
    "after_fdatasync",
    "before_commit",
    "after_commit",
    "resume_verified",
    "before_truncate",
    "after_truncate",
    "resume_committed",
    "reopen_copied",
    "reopen_committed",
    "before_order",
    "order_copied",
    "order_committed",
    "order_renamed",
    "failed_list_written",
    "before_made",
    "output_made",
    "before_finish",
    "after_finish",
    "receipt_written",
    "before_rename",
    "after_rename",
    "after_dirsync",
    "before_success",
    "after_success",
)


def _armed() -> tuple[str, int]:
    if os.environ.get("BATCHFLOW_TEST_BUILD") != "1":
        return "", 0
    name, _, number = os.environ.get("BATCHFLOW_FAILPOINT", "").partition(":")
    if name and name not in NAMES:
        raise ValueError(f"no such failpoint, name={name!r}")
    return name, int(number or 1)


_name, _left = _armed()


def reach(name: str) -> None:
    """The program is at this place: end here, without any cleaning up, if a test asked for it."""
    global _left
    if name == _name:
        _left -= 1
        if _left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
