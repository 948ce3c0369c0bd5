"""Every lack of memory or descriptors is an error with words, where it happens.

Memory runs out because the address space of a process is limited for a moment.  The C below, allocation by allocation:
tests/crash/rings/memory.c.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("lacking.py")


@pytest.mark.skipif(
    "asan" in os.environ.get("LD_PRELOAD", ""), reason="the sanitizer needs address space without limit"
)
@pytest.mark.parametrize(
    "what",
    [
        "no_descriptor_for_the_rings",
        "no_room_for_the_rings",
        "no_address_space_for_the_rings",
        "no_memory_for_the_books_of_a_worker",
        "no_memory_for_a_request",
        "no_memory_for_results",
    ],
)
def test_a_lack_of_something_is_told(what: str) -> None:
    # One arena, and large blocks by mmap: else memory that was freed would serve.
    environment = os.environ | {"MALLOC_ARENA_MAX": "1", "MALLOC_MMAP_THRESHOLD_": "131072"}
    environment["PYTHONPATH"] = os.pathsep.join(path or str(Path.cwd()) for path in sys.path)
    ended = subprocess.run([sys.executable, SCRIPT, what], env=environment, capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stderr) == (0, "")
