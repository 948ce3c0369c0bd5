"""A promised module is found where it was, whatever ``sys.path`` has become."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from batchflow.worker import later

PROGRAM = """
import sys
sys.path.insert(0, {early!r})
from batchflow.worker import later
later.promise("promised", "absent")
sys.path[:] = [{late!r}, *[one for one in sys.path if one != {early!r}]]
path = sys.path
import promised, free
assert sys.path is path, "the path is the list it was"
print(promised.WHERE, promised.helper.WHERE, free.WHERE, type(promised.__loader__).__name__)
print(promised.__spec__.loader is promised.__loader__)
try:
    import absent
except ImportError:
    print("no absent")
"""


def test_it_and_what_it_imports_come_from_the_old_path(tmp_path: Path) -> None:
    for name in ("early", "late"):
        folder = tmp_path / name
        folder.mkdir()
        for module in ("promised", "helper", "free"):
            more = "import helper\n" if module == "promised" else ""
            (folder / f"{module}.py").write_text(f"{more}WHERE = {name!r}\n")
    (tmp_path / "late" / "absent.py").write_text("")
    program = PROGRAM.format(early=str(tmp_path / "early"), late=str(tmp_path / "late"))
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.splitlines() == ["early early late SourceFileLoader", "True", "no absent"]


def test_what_was_not_promised_is_not_looked_for() -> None:
    finder = later._Finder(frozenset({"promised"}), [], [])
    assert finder.find_spec("free") is None
    with pytest.raises(ModuleNotFoundError, match=r"^No module named 'promised'$"):
        finder.find_spec("promised")
