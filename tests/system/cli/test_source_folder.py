"""A source folder without the compiled core says so, instead of failing somewhere inside."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

import batchflow

WORKFLOW = '[steps.a]\nrun = "true > ${outputs.o}"\noutputs = { o = "o.txt" }\n'


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A copy of the package's sources, as a fresh clone has them."""
    ignored = shutil.ignore_patterns("*.so", "_core.c", "__pycache__")
    shutil.copytree(Path(batchflow.__file__).parent, tmp_path / "batchflow", ignore=ignored)
    (tmp_path / "workflow.toml").write_text(WORKFLOW)
    return tmp_path


def python(source: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    # Without `site`, the import hooks of an editable installation do not find the core of another folder.
    packages = os.pathsep.join([str(source), sysconfig.get_path("purelib"), sysconfig.get_path("platlib")])
    return subprocess.run(
        [sys.executable, "-S", *arguments],
        cwd=source,
        env={"PYTHONPATH": packages, "PATH": "/usr/bin:/bin"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_command_names_the_folder_and_the_cure(source: Path) -> None:
    ended = python(source, "-m", "batchflow", "run")
    assert ended.returncode == 4
    assert f"the compiled core is not in {source}/batchflow, a source folder" in ended.stderr
    assert "python -m pip install -e ." in ended.stderr
    assert "Traceback" not in ended.stderr


def test_what_needs_no_core_works_without_it(source: Path) -> None:
    ended = python(source, "-m", "batchflow", "check")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "workflow.toml: 1 step, no problems" in ended.stdout


def test_the_python_face_says_the_same(source: Path) -> None:
    ended = python(source, "-c", "import batchflow; batchflow.map")
    assert "ImportError: the compiled core is not in" in ended.stderr
