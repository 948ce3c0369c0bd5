"""The mutants of the rings are made for the rings as they are: each patch applies to the letter."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PATCHES = sorted((ROOT / "tests" / "crash" / "ring_mutants").glob("*.patch"))


@pytest.mark.skipif(shutil.which("patch") is None, reason="the program patch is not installed")
@pytest.mark.parametrize("patch", PATCHES, ids=lambda path: path.stem)
def test_a_mutant_is_one_of_todays_rings(patch: Path) -> None:
    command = ["patch", "-p1", "--fuzz=0", "--dry-run", "--quiet", "-i", str(patch)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_there_are_mutants() -> None:
    assert len(PATCHES) > 40
