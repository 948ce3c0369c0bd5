"""Code that is looked at and never run."""

from __future__ import annotations

from pathlib import Path

import pytest
from unit.workflow.workflow_files import PARALLEL, load

from batchflow.workflow import scripts


@pytest.mark.parametrize(
    "source",
    [
        "def run(mini_batch): pass",
        "def run(batch, context): pass",
        "def run(batch, context=None, *, x=1): pass",
        "def run(*batches): pass",
        "def run(batch, /): pass",
        "run = print",
        "run: object = print",
        "from json import loads as run",
        "if True:\n    def run(x): pass\nelse:\n    run = None",
        "try:\n    import x\nexcept ImportError:\n    def run(x): pass",
        "with open('x') as f:\n    run = f",
        "@decorated\ndef run(a, b, c, d): pass",
        "def run(): pass\ndef run(x): pass",
        "raise SystemExit\ndef run(x): pass",
    ],
)
def test_a_usable_run(source: str, tmp_path: Path) -> None:
    (tmp_path / "s.py").write_text(source)
    scripts.check_entry_script(tmp_path / "s.py", "s.py")


@pytest.mark.fault("D5")
@pytest.mark.parametrize(
    ("source", "code", "message"),
    [
        ("", "BF052", "does not define run()"),
        ("class A:\n    def run(self, x): pass", "BF052", "does not define run()"),
        ("def outer():\n    def run(x): pass", "BF052", "does not define run()"),
        ("def run(): pass", "BF052", "must take (mini_batch)"),
        ("def run(a, b, c): pass", "BF052", "must take (mini_batch) or (mini_batch, context), line 1"),
        ("def run(a, *, b): pass", "BF052", "must take (mini_batch)"),
        ("async def run(a): pass", "BF052", "is async"),
        ("class run: pass", "BF052", "is a class"),
        ("def run(a)\n", "BF051", "s.py, line 1: expected ':'"),
        ("x = '\0'", "BF051", "s.py"),
        ("x = " + "(" * 5000, "BF051", "s.py"),
        ("x = '\ud800'", "BF051", "s.py"),
    ],
)
def test_an_unusable_run(source: str, code: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "s.py").write_bytes(source.encode("utf-8", "surrogatepass"))
    with pytest.raises(scripts.ScriptFault) as caught:
        scripts.check_entry_script(tmp_path / "s.py", "s.py")
    assert caught.value.code == code
    assert message in caught.value.message


def test_an_unreadable_script_is_named(tmp_path: Path) -> None:
    import os

    os.mkfifo(tmp_path / "pipe.py")
    with pytest.raises(scripts.ScriptFault, match=r"entry script pipe\.py is not a regular file"):
        scripts.check_entry_script(tmp_path / "pipe.py", "pipe.py")


def test_a_script_is_never_executed(tmp_path: Path) -> None:
    text = PARALLEL.replace("score.py", "canary.py") + "[steps.c]\ncall = 'canary:main'\n"
    (tmp_path / "canary.py").write_text(
        "from pathlib import Path\nPath(__file__).with_name('executed').touch()\n"
        "def run(x): pass\ndef main(inputs, outputs, args): pass\n"
    )
    load(tmp_path, text)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("target", ["pkg.mod:main", "pkg:main", "space.mod:main", "json:dumps"])
def test_modules_of_packages_and_installed_ones(target: str, tmp_path: Path) -> None:
    for name in ("pkg/__init__.py", "pkg/mod.py", "space/mod.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("def main(inputs, outputs, args): pass\n")
    scripts.check_call(target, tmp_path)


@pytest.mark.parametrize(
    ("target", "message"),
    [("pkg.nope:main", "no module `pkg.nope`"), ("nope_nope:main", "no module `nope_nope`"), ("pkg:f", "is async")],
)
def test_modules_that_are_missing(target: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "pkg").mkdir()
    (tmp_path / "pkg/__init__.py").write_text("async def f(inputs, outputs, args): pass\n")
    with pytest.raises(scripts.ScriptFault, match=message):
        scripts.check_call(target, tmp_path)
