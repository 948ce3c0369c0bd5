"""Which lines of the rings are reached: ``python -m tests.crash.rings.coverage``.

Builds the extension with gcov's counters in a copy, with the lines of the .pxi files as Cython tells them to the
compiler, and the programs too; runs the core's tests there and the programs that end by themselves; prints each file
with the lines that nothing reached.  Exit 1 if there are any.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from collections import Counter, defaultdict
from pathlib import Path

from tests.crash.rings import programs
from tests.crash.rings.programs import ROOT

BUILD = ROOT / "build" / "coverage"
FILES = (
    "ring.h",
    "channel.h",
    "append.h",
    "gather.h",
    "port.h",
    "laps.h",
    "crc32c.h",
    "ring.pxi",
    "port.pxi",
    "gather.pxi",
)
TESTS = ("tests/unit/core", "tests/system/core")
PROGRAMS = {"fuzz": ["1", "0", "20000"], "memory": []}
DIRECTIVES = "boundscheck=False,wraparound=False,cdivision=True,freethreading_compatible=True"


def build() -> None:
    shutil.rmtree(BUILD, ignore_errors=True)
    package = BUILD / "batchflow"
    shutil.copytree(ROOT / "batchflow", package, ignore=shutil.ignore_patterns("*.so", "_core.c", "__pycache__"))
    for name in ("pyproject.toml", "tests"):
        (BUILD / name).symlink_to(ROOT / name)
    command = [sys.executable, "-m", "cython", "-3", "--line-directives", "-X", DIRECTIVES, "batchflow/_core.pyx"]
    subprocess.run(command, cwd=BUILD, check=True)
    target = f"batchflow/_core{sysconfig.get_config_var('EXT_SUFFIX')}"
    includes = [f"-I{path}" for path in ("batchflow", sysconfig.get_path("include"))]
    flags = ["-std=gnu11", "-O0", "-w", "-fPIC", "--coverage", *includes]
    subprocess.run(["gcc", *flags, "-c", "batchflow/_core.c", "-o", "_core.o"], cwd=BUILD, check=True)
    subprocess.run(["gcc", "-shared", "--coverage", "_core.o", "-o", target], cwd=BUILD, check=True)


def run() -> None:
    command = [sys.executable, "-B", "-m", "pytest", "-q", "-p", "no:cacheprovider", *TESTS]
    subprocess.run(command, cwd=BUILD, env=os.environ | {"PYTHONPATH": str(BUILD)}, check=True)
    for name, words in PROGRAMS.items():
        flags = [*programs.FLAGS, "-O0", "--coverage", "-Ibatchflow", f"-I{programs.SOURCES}"]
        source = str(programs.SOURCES / f"{name}.c")
        subprocess.run(["gcc", *flags, "-c", source, "-o", f"{name}.o"], cwd=BUILD, check=True)
        subprocess.run(["gcc", "--coverage", f"{name}.o", "-o", name], cwd=BUILD, check=True)
        subprocess.run([f"./{name}", *words], cwd=BUILD, check=True)


def counts() -> dict[str, Counter[int]]:
    """File → line → how often it was reached, in whatever it was compiled into."""
    found: defaultdict[str, Counter[int]] = defaultdict(Counter)
    for name in ("_core", *PROGRAMS):
        answer = subprocess.run(
            ["gcov", "--json-format", "--stdout", f"{name}.o"], cwd=BUILD, check=True, stdout=subprocess.PIPE, text=True
        )
        for report in map(json.loads, answer.stdout.splitlines()):
            for file in report["files"]:
                for line in file["lines"]:
                    found[Path(file["file"]).name][line["line_number"]] += line["count"]
    return found


def statements(path: Path) -> set[int]:
    """Lines that do something; Cython's counters stand on declarations and docstrings, too."""
    numbers, is_text = set(), False
    for number, line in enumerate(path.read_text().splitlines(), 1):
        text = line.strip()
        quotes = text.count('"""') if path.suffix == ".pxi" else 0
        declares = path.suffix == ".pxi" and (text.startswith("@") or (text.startswith("cdef") and "=" not in text))
        if not (is_text or quotes or declares):
            numbers.add(number)
        is_text = is_text != (quotes % 2 == 1)
    return numbers


def main() -> int:
    build()
    run()
    found, total, missed_count = counts(), 0, 0
    for name in FILES:
        path = ROOT / "batchflow/core" / name
        known = statements(path) & found[name].keys()
        missed = sorted(number for number in known if not found[name][number])
        print(f"{name:12} {len(known):6} lines {100 * (1 - len(missed) / len(known)):6.1f} %")
        lines = path.read_text().splitlines()
        for number in missed:
            print(f"    {number:4} {lines[number - 1]}")
        total, missed_count = total + len(known), missed_count + len(missed)
    print(json.dumps({"lines": total, "missed": missed_count, "percent": round(100 * (1 - missed_count / total), 2)}))
    return 1 if missed_count else 0


if __name__ == "__main__":
    sys.exit(main())
