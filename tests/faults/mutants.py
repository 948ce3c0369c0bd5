"""Take what handles a fault away, one after the other, in a copy of the source: the fault's test must fail.

``python -m tests.faults.mutants`` works in ``build/mutants`` and writes the table of ``docs/reliability.md``; names of
entries as arguments choose some of them and write nothing.  Exit code 1 when a mutant survived.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

from tests.faults.mutant_list import MUTANTS, Mutant
from tests.faults.table import DOCUMENT, ROOT, written

COPY = ROOT / "build/mutants"
PARTS = ("batchflow", "benchmarks", "tests", "pyproject.toml")
BEGIN = "<!-- mutants: written by `python -m tests.faults.mutants` -->"
END = "<!-- end of mutants -->"
TIMEOUT_S = 180.0
FAILED = 1
"""The exit code of pytest when tests ran and one of them failed."""


@dataclass(frozen=True)
class Result:
    mutant: Mutant
    caught: bool
    elapsed_s: float


def copy_source() -> None:
    """The source with its compiled core, as it is now, without what was made from it by running."""
    shutil.rmtree(COPY, ignore_errors=True)
    COPY.mkdir(parents=True)
    without = shutil.ignore_patterns("__pycache__", "_core.c")
    for part in PARTS:
        source = ROOT / part
        if source.is_dir():
            shutil.copytree(source, COPY / part, ignore=without)
        else:
            shutil.copy2(source, COPY / part)


def run_tests(tests: Sequence[str]) -> tuple[int, str]:
    """Exit code and output of pytest in the copy; a hang counts as a failed test."""
    command = [sys.executable, "-B", "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *tests]
    environment = os.environ | {"PYTHONPATH": str(COPY)}
    process = subprocess.Popen(
        command, cwd=COPY, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        output, _ = process.communicate(timeout=TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        return FAILED, process.communicate()[0]
    return process.returncode, output


def mutate(mutant: Mutant) -> Result:
    """Change the copy, run the test, change it back."""
    path = COPY / mutant.file
    good = path.read_text("utf-8")
    path.write_text(mutant.applied(good), "utf-8")
    began = time.monotonic()
    try:
        code, output = run_tests([mutant.test])
    finally:
        path.write_text(good, "utf-8")
    if code not in (0, FAILED):
        print(output)
    return Result(mutant, code == FAILED, time.monotonic() - began)


def table(results: Sequence[Result]) -> str:
    caught = sum(result.caught for result in results)
    lines = [BEGIN, "", f"{caught} of {len(results)} mutants are caught.", ""]
    lines += ["| fault | what is taken away | the test that fails |", "|---|---|---|"]
    for result in results:
        mutant = result.mutant
        name = mutant.test.removeprefix("tests/").partition("[")[0]
        answer = f"`{name}`" if result.caught else f"survived `{name}`"
        lines.append(f"| {mutant.entry} | {mutant.what}, `{mutant.file}` | {answer} |")
    return "\n".join([*lines, "", END])


def main(chosen: Sequence[str]) -> int:
    mutants = [one for one in MUTANTS if not chosen or one.entry in chosen]
    copy_source()
    code, output = run_tests(sorted({one.test for one in mutants}))
    if code != 0:
        print(f"{output}\nthe tests do not pass without a mutant")
        return 2
    results = []
    for mutant in mutants:
        result = mutate(mutant)
        results.append(result)
        verdict = "caught" if result.caught else "SURVIVED"
        print(f"{mutant.entry:>4}  {verdict:8}  {result.elapsed_s:5.1f} s  {mutant.what}", flush=True)
    if not chosen:
        DOCUMENT.write_text(written(DOCUMENT.read_text("utf-8"), table(results)), "utf-8")
    return int(not all(result.caught for result in results))


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
