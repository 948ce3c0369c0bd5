"""Commands that are timed as a whole, and the small workflows they are given."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import batchflow
from benchmarks.cases.common import MissingToolError

LAUNCHER = "import sys\nfrom batchflow.__main__ import main\nsys.exit(main())\n"
SCORE = "def run(mini_batch):\n    return [path[-12:] for path in mini_batch]\n"
PARALLEL = """schema = 1

[datasets.files]
files = "{files}"

[steps.score]
inputs  = {{ files = "${{datasets.files}}" }}
outputs = {{ rows = "out/rows.txt" }}

[steps.score.parallel]
entry_script    = "score.py"
mini_batch_size = {size}
append_row_to   = "rows"
workers         = {workers}
durability      = "{durability}"
arguments       = {arguments}
"""
SHELL_STEP = """
[steps.step_{number:03}]
run     = "echo {number} > ${{outputs.file}}"
{inputs}outputs = {{ file = "out/{number:03}.txt" }}
"""
SNAKEFILE = 'rule one:\n    output: "out/1.txt"\n    shell: "echo 1 > {output}"\n'


@dataclass(frozen=True)
class Ended:
    """A command that ended well: when it began, how long it took, what it printed."""

    begin_s: float
    wall_s: float
    output: str


def environment() -> dict[str, str]:
    """That of this process, with the batchflow under measurement first on the path."""
    return os.environ | {"PYTHONPATH": str(Path(batchflow.__file__).parents[1]), "NO_COLOR": "1"}


def timed(command: Sequence[str], folder: Path) -> Ended:
    """Raises ``RuntimeError`` with its last words where the command does not end well."""
    surroundings = environment()
    begin_s = time.monotonic()
    ended = subprocess.run(
        command, cwd=folder, env=surroundings, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    wall_s = time.monotonic() - begin_s
    if ended.returncode != 0:
        raise RuntimeError(f"exit_code={ended.returncode} command={command}\n{ended.stderr[-2000:]}")
    return Ended(begin_s, wall_s, ended.stdout)


def batchflow_command(folder: Path, *arguments: str) -> list[str]:
    """What the installed command ``batchflow`` does, whether or not this checkout is installed."""
    launcher = folder / "batchflow-command"
    launcher.write_text(LAUNCHER)
    return [sys.executable, str(launcher), *arguments]


def snakemake_command(*arguments: str) -> list[str]:
    """Raises ``MissingToolError``."""
    beside = shutil.which("snakemake", path=str(Path(sys.executable).parent))
    found = beside or shutil.which("snakemake")
    if found is None:
        raise MissingToolError("snakemake is not installed")
    return [found, *arguments]


def write_parallel(
    folder: Path,
    *,
    files: str = "in/",
    size: int = 10,
    workers: int = 2,
    durability: str = "full",
    script: str = SCORE,
    arguments: Sequence[str] = (),
) -> Path:
    """A workflow of one parallel step over ``files``, with a script that does next to nothing; returns its path."""
    (folder / "score.py").write_text(script)
    path = folder / "workflow.toml"
    text = PARALLEL.format(
        files=files, size=size, workers=workers, durability=durability, arguments=json.dumps(list(arguments))
    )
    path.write_text(text)
    return path


def write_shell_steps(folder: Path, count: int) -> Path:
    """A workflow of ``count`` shell steps, each of which waits for the one before; returns its path."""
    path = folder / "workflow.toml"
    steps = [
        SHELL_STEP.format(
            number=number,
            inputs=f'inputs  = {{ before = "${{steps.step_{number - 1:03}.outputs.file}}" }}\n' if number else "",
        )
        for number in range(count)
    ]
    path.write_text("schema = 1\n" + "".join(steps))
    return path
