"""A folder full of modules named like Python's and ours: whoever works in it, batchflow imports none of them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import batchflow

TIMEOUT_S = 180
OURS = (
    *("cloudpickle", "numpy", "pandas", "psutil", "pyarrow", "pydantic", "pydantic_core", "rich", "threadpoolctl"),
    *("tomli", "tree_sitter", "tree_sitter_toml", "typing_extensions"),
)
"""What batchflow uses and Python does not bring along."""
TRAP = """\
with open(r"{folder}/caught", "a") as file:
    file.write(__name__ + "\\n")
raise ImportError("the wrong " + __name__)
"""

LAUNCHER = "import sys\nfrom batchflow.__main__ import main\nsys.exit(main())\n"

WORKFLOW = """\
schema = 1
name = "trapped"
default = ["evaluate"]

[datasets.numbers]
files = "in/*.txt"

[steps.prepare]
run = "python -I prepare.py ${outputs.done}"
outputs = { done = "build/done.txt" }

[steps.score]
inputs = { numbers = "${datasets.numbers}", done = "${steps.prepare.outputs.done}" }
outputs = { rows = "build/rows.EXTENSION", failed = "build/failed.jsonl" }

[steps.score.parallel]
entry_script = "score.py"
over = "numbers"
mini_batch_size = 1
workers = 1
append_row_to = "rows"
failed_to = "failed"
error_threshold = -1

[steps.evaluate]
call = "evaluate:main"
inputs = { rows = "${steps.score.outputs.rows}" }
outputs = { lines = "build/lines.txt" }
"""
SCORE = """\
def run(mini_batch):
    with open(mini_batch[0]) as file:
        number = int(file.read())
    if number == 3:
        raise ValueError("three")
    return [ROW]
"""
EVALUATE = """\
def main(inputs, outputs, args):
    with open(inputs["rows"]) as rows, open(outputs["lines"], "w") as lines:
        lines.write(str(len(rows.read().split())))
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The modules of the trap lie beside the workflow, the entry script and the called function."""
    folder = tmp_path / "trapped"
    folder.mkdir()
    for name in [*sys.stdlib_module_names, *OURS]:
        (folder / f"{name}.py").write_text(TRAP.format(folder=folder))
    shutil.copytree(
        Path(batchflow.__file__).parent,
        folder / "batchflow",
        ignore=shutil.ignore_patterns("*.so", "_core.*", "core", "__pycache__"),
    )
    (folder / "in").mkdir()
    for number in range(6):
        (folder / f"in/{number}.txt").write_text(str(number))
    (folder / "prepare.py").write_text("import sys\nopen(sys.argv[1], 'w').close()\n")
    (folder / "evaluate.py").write_text(EVALUATE)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/batchflow").write_text(LAUNCHER)
    return folder


def caught(folder: Path) -> str:
    trap = folder / "caught"
    return trap.read_text() if trap.exists() else ""


def start(folder: Path, *arguments: str, text: str | None = None) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    ended = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=environment,
        input=text,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert caught(folder) == "", ended.stderr
    return ended


@pytest.mark.fault("D8")
@pytest.mark.parametrize(("extension", "row"), [("txt", "number"), ("csv", "{'n': number}"), ("jsonl", "(number,)")])
def test_the_command_its_workers_and_its_calls_import_nothing_of_the_folder(folder, extension, row):
    (folder / "workflow.toml").write_text(WORKFLOW.replace("EXTENSION", extension))
    (folder / "score.py").write_text(SCORE.replace("ROW", row))
    ended = start(folder, "../bin/batchflow", "run", "workflow.toml")
    assert ended.returncode == 0, ended.stderr
    assert (folder / "build/lines.txt").read_text() == ("6" if extension == "csv" else "5")
    assert '"ValueError"' in (folder / "build/failed.jsonl").read_text()
    for verb in ("plan", "check", "list", "dag", "status", "schema"):
        ended = start(folder, "../bin/batchflow", verb, *([] if verb == "schema" else ["workflow.toml"]))
        assert ended.returncode == 0, ended.stderr


def test_map_in_such_a_folder_imports_nothing_of_it(folder):
    (folder.parent / "bin/program.py").write_text(
        "import batchflow\n"
        "def double(batch): return [2 * one for one in batch]\n"
        "def fail(batch): raise ValueError('failed')\n"
        "if __name__ == '__main__':\n"
        "    assert list(batchflow.map(double, range(5), workers=1)) == [0, 2, 4, 6, 8]\n"
        "    try: list(batchflow.map(fail, range(5), workers=1))\n"
        "    except ValueError as error: print(error, error.__cause__)\n"
        "    with batchflow.Pool(1) as pool: print(pool.submit(pow, 2, 5).result())\n"
    )
    ended = start(folder, "../bin/program.py")
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.startswith("failed \nTraceback")
    assert ended.stdout.endswith("32\n")


def test_a_script_gets_its_own_modules_but_those_of_python_that_are_loaded_already(tmp_path):
    """What ``docs/embedding.md`` says about names."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in/0.txt").write_text("0")
    for name in ("json", "numpy", "helper"):
        (tmp_path / f"{name}.py").write_text("MINE = True\n")
    (tmp_path / "score.py").write_text(
        "import helper, json, numpy\n"
        "def run(mini_batch):\n"
        "    return [f\"{helper.MINE} {hasattr(numpy, 'MINE')} {hasattr(json, 'MINE')}\"]\n"
    )
    (tmp_path / "workflow.toml").write_text(
        'schema = 1\nname = "own"\ndefault = ["score"]\n[datasets.numbers]\nfiles = "in/*.txt"\n'
        '[steps.score]\ninputs = { numbers = "${datasets.numbers}" }\noutputs = { rows = "rows.txt" }\n'
        '[steps.score.parallel]\nentry_script = "score.py"\nover = "numbers"\nappend_row_to = "rows"\n'
    )
    batchflow.run(tmp_path / "workflow.toml")
    assert (tmp_path / "rows.txt").read_text() == "True True False\n"
