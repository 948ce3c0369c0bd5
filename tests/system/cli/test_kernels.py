"""Kernels that lack what we prefer, or refuse it, as old ones and strict containers do."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from system.cli import kernels
from system.cli.terminals import TIMEOUT_S
from system.cli.test_environments import LIMIT
from system.cli.test_real_runs import batchflow, make_project

KERNEL = [sys.executable, kernels.__file__]
RUN = [sys.executable, "-m", "batchflow", "run"]
SCRIPT = "import os\ndef run(mini_batch):\n    return [os.path.basename(path) for path in mini_batch]\n"
ROWS = "result\n" + "".join(f"{number:03}.txt\n" for number in range(20))


def run_on(calls: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """``batchflow run`` where the named system calls fail; skips where filters are not allowed."""
    if not kernels.NUMBERS:
        pytest.skip("the numbers of system calls are not known for this processor")
    if subprocess.run([*KERNEL, calls, sys.executable, "-c", ""], capture_output=True, check=False).returncode:
        pytest.skip("filters of system calls are not allowed here")
    return subprocess.run(
        [*KERNEL, calls, *RUN], cwd=folder, capture_output=True, text=True, check=False, timeout=TIMEOUT_S
    )


@pytest.mark.fault("F21")
@pytest.mark.parametrize("calls", ["renameat2=ENOSYS", "renameat2=EINVAL", "copy_file_range=ENOSYS"])
def test_a_kernel_without_what_we_prefer_is_good_enough(calls: str, tmp_path: Path) -> None:
    folder = make_project(tmp_path, SCRIPT)
    workflow = folder / "workflow.toml"
    workflow.write_text(
        workflow.read_text()
        + '[steps.split]\nrun = "cp ${inputs.rows} ${outputs.parts}/x"\n'
        + 'inputs = { rows = "${steps.score.outputs.rows}" }\noutputs = { parts = "parts/" }\n'
    )
    workflow.write_text(workflow.read_text().replace('["score"]', '["split"]'))
    for new in ("", "021.txt"):
        if new:
            (folder / "data" / new).touch()
        done = run_on(calls, folder)
        assert done.returncode == 0, done.stderr
        rows = (folder / "rows.csv").read_text()
        assert rows == ROWS + (f"{new}\n" if new else "")
        assert (folder / "parts/x").read_text() == rows
    assert sorted(os.listdir(folder)) == [
        *(".batchflow", "data", "parts", "rows.csv", "score.py", "workflow.toml"),
    ]


@pytest.mark.fault("G2", "G3")
@pytest.mark.parametrize(
    ("calls", "words"),
    [
        ("memfd_create=ENOSYS", "this machine gives no shared memory: Function not implemented"),
        ("memfd_create=EPERM", "this machine gives no shared memory: Operation not permitted"),
        ("fallocate=ENOSPC", "No space left on device"),
    ],
)
def test_without_shared_memory_the_run_ends_in_words_and_can_be_continued(
    calls: str, words: str, tmp_path: Path
) -> None:
    folder = make_project(tmp_path, SCRIPT)
    done = run_on(calls, folder)
    assert (done.returncode, "Traceback" in done.stderr) == (4, False), done.stderr
    assert words in done.stderr
    assert done.stderr.splitlines()[-1].startswith("to continue: ")
    assert batchflow(folder, "run").returncode == 0
    assert (folder / "rows.csv").read_text() == ROWS


@pytest.mark.fault("G3")
def test_rings_beyond_a_limit_end_the_run_in_words_and_can_be_continued(tmp_path: Path) -> None:
    """A limit on the size of files, as of one descriptor of memory."""
    folder = make_project(tmp_path, SCRIPT)
    limited = f"import os, resource, sys\n{LIMIT.format('RLIMIT_FSIZE', 1 << 20)}\nos.execv(sys.argv[1], sys.argv[1:])"
    done = subprocess.run(
        [sys.executable, "-c", limited, *RUN], cwd=folder, capture_output=True, text=True, check=False
    )
    assert (done.returncode, "Traceback" in done.stderr) == (4, False), done.stderr
    assert "bytes of shared memory for the rings of a worker" in done.stderr
    assert batchflow(folder, "run").returncode == 0
    assert (folder / "rows.csv").read_text() == ROWS
