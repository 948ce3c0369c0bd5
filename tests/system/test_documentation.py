"""The Python blocks of the documentation run as they stand, each as a script of its own in an empty folder."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTS = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md")))
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
TIMEOUT_S = 300


def blocks(name: str, text: str) -> list[tuple[str, str]]:
    """(document and line, code) of every block."""
    return [(f"{name}:{text[: match.start()].count(chr(10)) + 1}", match[1]) for match in BLOCK.finditer(text)]


ALL = [block for path in DOCUMENTS for block in blocks(path.relative_to(ROOT).as_posix(), path.read_text("utf-8"))]


@pytest.mark.parametrize("code", [code for _, code in ALL], ids=[place for place, _ in ALL])
def test_a_block_of_the_documentation_runs(code, tmp_path):
    script = tmp_path / "block.py"
    script.write_text(code, encoding="utf-8")
    ended = subprocess.run(
        [sys.executable, "-W", "error", str(script)],
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert ended.returncode == 0, f"{ended.stdout}\n{ended.stderr}"


def test_blocks_are_found_with_their_lines():
    text = "a\n\n```python\nx = 1\n```\n\n```console\nls\n```\n```python\ny\n```\n"
    assert blocks("a.md", text) == [("a.md:3", "x = 1\n"), ("a.md:10", "y\n")]
