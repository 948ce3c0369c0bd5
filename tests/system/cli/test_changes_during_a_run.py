"""Files that somebody changes while a run reads them: the run goes on with what it began with, the next one knows."""

from __future__ import annotations

from pathlib import Path

import pytest
from system.cli.test_real_runs import batchflow, make_project


def names(folder: Path) -> list[str]:
    return [Path(line).name for line in (folder / "rows.csv").read_text().splitlines()[1:]]


EVERY = [f"{number:03}.txt" for number in range(20)]


@pytest.mark.fault("H12")
def test_an_item_that_changes_during_the_run_keeps_its_row_and_is_stale_afterwards(tmp_path: Path) -> None:
    change = "    if '007' in mini_batch[0]: open(mini_batch[0], 'a').write('more')\n"
    folder = make_project(tmp_path, f"def run(mini_batch):\n{change}    return mini_batch\n")
    done = batchflow(folder, "run")
    assert (done.returncode, names(folder)) == (0, EVERY), done.stderr
    assert "input changed files" in batchflow(folder, "plan").stdout


EDITS = """
import os, signal, threading
{before}
def run(mini_batch, context):
    if "007" in mini_batch[0] and not os.path.exists("edited"):
        with open(__file__, "w") as file:
            file.write("def run(mini_batch):\\n    return ['new'] * len(mini_batch)\\n")
        open("edited", "w").close()
        os.kill({victim}, signal.SIGKILL)
        signal.pause()
    if "011" in mini_batch[0] and context.attempt == 1:
        raise ValueError("shown as it ran")
    return mini_batch
"""


@pytest.mark.fault("D7")
@pytest.mark.parametrize(
    ("victim", "before"),
    [
        ("os.getpid()", ""),
        ("os.getppid()", ""),
        (
            "os.getpid()",
            "threading.Thread(target=signal.pause, daemon=True).start()  # so each worker imports it itself",
        ),
    ],
    ids=["a new worker", "a new zygote", "a new worker that imports"],
)
def test_a_script_that_is_edited_during_the_run_counts_from_the_next_run_on(
    victim: str, before: str, tmp_path: Path
) -> None:
    folder = make_project(tmp_path, EDITS.format(victim=victim, before=before))
    more = ("--set", "steps.score.parallel.run_max_try=3")
    done = batchflow(folder, "run", *more)
    assert (done.returncode, names(folder)) == (0, EVERY), done.stderr
    assert "code changed" in batchflow(folder, "plan", *more).stdout
    assert batchflow(folder, "run", *more).returncode == 0
    assert (folder / "rows.csv").read_text().splitlines()[1:] == ["new"] * 20
