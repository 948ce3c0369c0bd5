"""A small workflow that works as it is, for ``batchflow init``."""

from __future__ import annotations

from pathlib import Path

from batchflow.errors import RefusedError

WORKFLOW = """\
# Counts the bytes of every file in data/, on all cores:
#
#     batchflow run
#
# Run it again and there is nothing to do; change a file, the script or a parameter, and it runs again.

schema  = 1
name    = "count-bytes"
default = ["count"]

[params]                                        # --set NAME=VALUE overrides a default
batch = { default = 2, min = 1, help = "files in one run() call" }

[datasets.files]
files = "data/*.txt"                            # ** for any depth, or a folder with / at the end

[steps.count]
help    = "Count the bytes of every file"
inputs  = { files = "${datasets.files}" }
outputs = { counts = "build/counts.csv" }

[steps.count.parallel]                          # this table makes it a parallel step
entry_script    = "count_bytes.py"
mini_batch_size = "${params.batch}"
append_row_to   = "counts"                      # one row for each file, in the order of the files
"""

ENTRY_SCRIPT = '''\
"""Entry script of the step `count`.  Each worker process calls init() once, then run() for each mini-batch."""

from pathlib import Path


def init():
    """Load what every call of run() needs, such as a model."""


def run(mini_batch):
    """Return one row for each path in mini_batch, in the same order."""
    return [{"file": Path(path).name, "bytes": Path(path).stat().st_size} for path in mini_batch]
'''

INPUTS = {"one.txt": "1", "three.txt": "123", "ten.txt": "0123456789", "empty.txt": "", "newline.txt": "\n"}


def starter(folder: Path | str) -> tuple[Path, ...]:
    """Write the workflow, its entry script and its input files; returns their paths.

    Raises ``RefusedError``, and writes nothing, if one of them exists already.
    """
    folder = Path(folder)
    files = {folder / "workflow.toml": WORKFLOW, folder / "count_bytes.py": ENTRY_SCRIPT}
    files |= {folder / "data" / name: text for name, text in INPUTS.items()}
    existing = [str(path.relative_to(folder)) for path in files if path.is_symlink() or path.exists()]
    if existing:
        hint = "choose an empty folder"
        raise RefusedError(f"refused, nothing written: {', '.join(existing)} in {folder} already there", hint=hint)
    for path, text in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    return tuple(files)
