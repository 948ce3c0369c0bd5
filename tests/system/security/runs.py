"""Small workflows, run by the real command in a process of its own, and looked at while they run."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from system.runner.processes import descendants, wait_until

PARALLEL = """\
schema = 1
[steps.predict]
inputs = { files = "data/*.txt" }
outputs = { rows = "build/rows.csv", more = "build/more/" }
[steps.predict.parallel]
entry_script = "score.py"
mini_batch_size = 1
workers = 2
append_row_to = "rows"
"""

WAITING = """
import time
from pathlib import Path

def run(mini_batch):
    Path("running").touch()
    while not Path("go").exists():
        time.sleep(0.01)
    return mini_batch
"""
"""An entry script that says when it runs, and goes on when it is told to."""


def make(folder: Path, files: Mapping[str, str], item_count: int = 4) -> Path:
    """Write the files of a workflow, and ``data/0.txt`` and so on."""
    for name, text in {**files, **{f"data/{index}.txt": "x" for index in range(item_count)}}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def batchflow(
    folder: Path, *words: str, environment: Mapping[str, str] | None = None, umask: int = -1
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "batchflow", *words],
        cwd=folder,
        env={**os.environ, **(environment or {})},
        umask=umask,
        capture_output=True,
        text=True,
        timeout=120,
    )


@contextlib.contextmanager
def running(folder: Path, *words: str, environment: Mapping[str, str] | None = None) -> Iterator[subprocess.Popen[str]]:
    """A run whose script is ``WAITING`` or waits like it, from the moment its workers are at work; it ends well."""
    process = subprocess.Popen(
        [sys.executable, "-m", "batchflow", "run", *words],
        cwd=folder,
        env={**os.environ, **(environment or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        wait_until(lambda: (folder / "running").exists() or process.poll() is not None)
        yield process
        (folder / "go").touch()
        out, err = process.communicate(timeout=60)
        assert process.returncode == 0, out + err
    finally:
        process.kill()
        process.communicate()


def processes_of(process: subprocess.Popen[str]) -> list[int]:
    """The driver and everything below it."""
    return [process.pid, *descendants(process.pid)]
