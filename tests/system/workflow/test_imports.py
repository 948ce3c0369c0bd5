"""What a fresh process has imported after it used the workflow file."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HEAVY = ("numpy", "pandas", "pyarrow", "pydantic", "rich", "tensorflow", "tomli", "tree_sitter")
SHOW = f"\nimport sys; print([name for name in {HEAVY} if name in sys.modules])"


def imported_after(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code + SHOW], capture_output=True, text=True, check=True, timeout=60)
    return done.stdout.strip()


def test_the_values_import_nothing_heavy() -> None:
    assert imported_after("import batchflow.workflow.values, batchflow.workflow") == "[]"


def test_rendering_and_ordering_import_nothing_heavy() -> None:
    assert imported_after("from batchflow.workflow import render, step_order, CODES, WorkflowFileError") == "[]"


def test_a_file_without_fault_is_not_searched_for_positions(tmp_path: Path) -> None:
    path = tmp_path / "workflow.toml"
    path.write_text("[params]\nx = 1\n[steps.a]\nrun = 'echo ${params.x}'\n")
    load = f"from batchflow.workflow import load_workflow; workflow = load_workflow({str(path)!r})"
    assert imported_after(load) == "['tomli']"
    line = "; assert workflow.params['x'].position.line == 2"
    assert imported_after(load + line) == "['tomli', 'tree_sitter']"


def test_what_would_be_done_is_told_without_what_does_it(tmp_path: Path) -> None:
    (tmp_path / "workflow.toml").write_text("[steps.a]\nrun = 'date > ${outputs.now}'\noutputs = { now = 'now' }\n")
    code = f"""
import os, sys
os.chdir({str(tmp_path)!r})
sys.argv = ["batchflow", "run", "-n"]
before = set(sys.modules)
from batchflow.__main__ import main
assert main() == 0
late = {{"asyncio", "ctypes", "logging", "sqlite3", "subprocess", "batchflow._core"}}
print(sorted(late & set(sys.modules) - before))
"""
    assert imported_after(code).splitlines()[-2:] == ["[]", "['tomli']"]
    assert [path.name for path in tmp_path.iterdir()] == ["workflow.toml"]
