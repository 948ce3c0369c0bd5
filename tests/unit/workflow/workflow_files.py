"""A folder with the files that workflow files of the tests refer to, and helpers to load them."""

from __future__ import annotations

from pathlib import Path

import pytest

from batchflow.workflow import WorkflowFileError, load_workflow
from batchflow.workflow.values import Workflow

FILES = {
    "score.py": "def init():\n    pass\n\ndef run(mini_batch):\n    return mini_batch\n",
    "tasks.py": "def main(inputs, outputs, args):\n    pass\n",
    "no_run.py": "def walk(mini_batch):\n    return mini_batch\n",
    "two_many.py": "def run(a, b, c):\n    return a\n",
    "no_syntax.py": "def run(mini_batch:\n    return\n",
    "data.csv": "x\n1\n",
    "data/a.png": "",
    "models/small/weights.bin": "",
}

STEP = '[steps.a]\nrun = "true"\n'
"""A step without fault, two lines."""

PARALLEL = """\
[steps.p]
inputs = { images = "data/" }
outputs = { rows = "rows.csv" }
[steps.p.parallel]
entry_script = "score.py"
"""
"""A parallel step without fault, five lines; further keys of it can follow."""


def make_folder(folder: Path, text: str | bytes = "") -> Path:
    """Write the files and the workflow; returns the workflow's path."""
    for name, content in FILES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    path = folder / "workflow.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def load(folder: Path, text: str, **options: object) -> Workflow:
    return load_workflow(make_folder(folder, text), **{"environ": {}, "caller_folder": folder, **options})  # type: ignore[arg-type]


def refused(folder: Path, text: str | bytes, **options: object) -> WorkflowFileError:
    path = make_folder(folder, text)
    with pytest.raises(WorkflowFileError) as caught:
        load_workflow(path, **{"environ": {}, "caller_folder": folder, **options})  # type: ignore[arg-type]
    return caught.value
