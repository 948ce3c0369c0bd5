"""Ending what is left of a session whose leader was a guard of ours and was killed."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path

_LOOK_AGAIN_S = 0.01
_LOOKS_MAX = 200


def kill_session(session: int) -> None:
    """Kill the processes of the session that our child ``session`` leads.

    The child must not have been collected: until then its number is nobody else's, and who has it is a descendant.
    Gives up on what does not die: it is another user's by now, or the kernel holds it.
    """
    for _ in range(_LOOKS_MAX):
        members = [pid for pid in _processes() if pid != session and _session_of(pid) == session]
        if not members:
            return
        for pid in members:
            with contextlib.suppress(OSError):
                process = os.pidfd_open(pid)
                try:
                    # Asked again, now that the process can no longer be taken for another.
                    if _session_of(pid) == session:
                        signal.pidfd_send_signal(process, signal.SIGKILL)
                finally:
                    os.close(process)
        time.sleep(_LOOK_AGAIN_S)


def _processes() -> list[int]:
    return [int(folder.name) for folder in Path("/proc").iterdir() if folder.name.isdigit()]


def _session_of(pid: int) -> int | None:
    """The session of a process that runs; None if it has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return None
    return None if fields[0] in (b"Z", b"X") else int(fields[3])
