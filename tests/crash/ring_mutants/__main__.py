"""``python -m tests.crash.ring_mutants``: every check on every mutant, and first on the rings as they are."""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.crash.rings import programs

ROOT = programs.ROOT
PATCHES = Path(__file__).parent
BUILD = ROOT / "build" / "ring_mutants"
TIMEOUT_S = 120.0
UNIT_TESTS = ("tests/unit/core",)
SYSTEM_TESTS = ("tests/system/core/test_rings_of_the_dead.py",)


@dataclass(frozen=True)
class Mutant:
    name: str
    what: str
    patch: Path | None
    """None: the rings as they are."""

    @property
    def files(self) -> set[str]:
        """What it changes, by suffix."""
        text = "" if self.patch is None else self.patch.read_text()
        return {Path(line.split()[1]).suffix for line in text.splitlines() if line.startswith("+++ ")}


def mutants(names: Sequence[str]) -> list[Mutant]:
    found = [
        Mutant(path.stem, path.read_text().partition("\n")[0], path)
        for path in sorted(PATCHES.glob("*.patch"))
        if not names or path.stem in names
    ]
    unknown = set(names) - {mutant.name for mutant in found}
    if unknown:
        raise SystemExit(f"no such mutant: {', '.join(sorted(unknown))}")
    return found


def make_copy(mutant: Mutant) -> Path:
    """A copy of the package with the mutation; its compiled core comes later, if a check needs it."""
    copy = BUILD / mutant.name
    shutil.rmtree(copy, ignore_errors=True)
    copy.mkdir(parents=True)
    shutil.copytree(
        ROOT / "batchflow", copy / "batchflow", ignore=shutil.ignore_patterns("*.so", "_core.c", "__pycache__")
    )
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE", "tests"):
        (copy / name).symlink_to(ROOT / name)
    if mutant.patch is not None:
        command = ["patch", "-p1", "--fuzz=0", "--quiet", "--no-backup-if-mismatch", "-i", str(mutant.patch)]
        if subprocess.run(command, cwd=copy).returncode:
            raise SystemExit(f"{mutant.patch.name} does not apply to the rings as they are: make it again")
    return copy


def compile_core(copy: Path) -> None:
    """The extension, unoptimised: what Cython makes of the .pyx is made again only if a .pxi has changed."""
    package = copy / "batchflow"
    parts = sorted([*package.glob("*.pyx"), *(package / "core").glob("*.pxi")])
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in parts)).hexdigest()
    made = BUILD / f"_core-{digest[:16]}.c"
    if not made.exists():
        directives = "boundscheck=False,wraparound=False,cdivision=True,freethreading_compatible=True"
        command = [sys.executable, "-m", "cython", "-3", "-X", directives, "batchflow/_core.pyx"]
        subprocess.run(command, cwd=copy, check=True)
        shutil.copy2(package / "_core.c", made)
    shutil.copy2(made, package / "_core.c")
    target = package / f"_core{sysconfig.get_config_var('EXT_SUFFIX')}"
    paths = (package, sysconfig.get_path("include"), sysconfig.get_path("platinclude"))
    includes = [f"-I{path}" for path in paths]
    command = [
        "gcc",
        "-std=gnu11",
        "-O0",
        "-w",
        "-shared",
        "-fPIC",
        *includes,
        str(package / "_core.c"),
        "-o",
        str(target),
    ]
    subprocess.run(command, check=True)


def run_programs(copy: Path, name: str, words: Sequence[str], flags: Sequence[Sequence[str]]) -> bool:
    """Did any build of the program see a violation, die, or hang?"""
    package = copy / "batchflow"
    try:
        built = [programs.build(name, package, flag) for flag in flags]
    except subprocess.CalledProcessError:
        return True  # the compiler has noticed
    running = [
        subprocess.Popen([str(program), *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for program in built
    ]
    caught = False
    for process in running:
        try:
            caught = process.wait(TIMEOUT_S) != 0 or caught
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            caught = True
    for program in built:
        if copy.name != "none":
            program.unlink()
    return caught


def kills(copy: Path) -> bool:
    return run_programs(copy, "kills", ["1", "0", "4000", "1"], [(), programs.PERTURB])


def fuzz(copy: Path) -> bool:
    return run_programs(copy, "fuzz", ["1", "0", "200000"], [programs.SANITIZE])


def memory(copy: Path) -> bool:
    return run_programs(copy, "memory", [], [programs.SANITIZE])


def wakes(copy: Path) -> bool:
    return run_programs(copy, "wakes", ["1", "4000"], [(), programs.PERTURB])


def races(copy: Path) -> bool:
    return run_programs(copy, "wakes", ["1", "1000"], [programs.THREADS])


def run_tests(copy: Path, tests: Sequence[str]) -> bool:
    """Do they fail, or hang?  The first batchflow on the path is the copy."""
    command = [sys.executable, "-B", "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *tests]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    environment = os.environ | {"PYTHONPATH": str(copy), "HYPOTHESIS_STORAGE_DIRECTORY": str(BUILD / "hypothesis")}
    process = subprocess.Popen(command, cwd=copy, env=environment, start_new_session=True, **quiet)  # type: ignore[call-overload]
    try:
        return process.wait(TIMEOUT_S) != 0
    except subprocess.TimeoutExpired:
        return True
    finally:  # also when somebody ends us: a mutant may have made a loop of it
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def unit(copy: Path) -> bool:
    compile_core(copy)
    return run_tests(copy, UNIT_TESTS)


def system(copy: Path) -> bool:
    return run_tests(copy, SYSTEM_TESTS)


CHECKS: dict[str, tuple[Callable[[Path], bool], frozenset[str]]] = {
    "kills": (kills, frozenset({".h"})),
    "fuzz": (fuzz, frozenset({".h"})),
    "memory": (memory, frozenset({".h"})),
    "wakes": (wakes, frozenset({".h"})),
    "races": (races, frozenset({".h"})),
    "unit": (unit, frozenset({".h", ".pxi", ".py"})),
    "system": (system, frozenset({".pxi", ".py"})),
}
"""Each with the files that it can see a change in."""


def judge(mutant: Mutant) -> dict[str, bool | None]:
    """Check → whether it has caught the mutant; None where it cannot."""
    copy = make_copy(mutant)
    files = mutant.files
    verdict: dict[str, bool | None] = {}
    for name, (check, sees) in CHECKS.items():
        verdict[name] = check(copy) if mutant.patch is None or files & sees else None
    shutil.rmtree(copy)
    return verdict


def line(name: str, verdict: dict[str, bool | None], what: str) -> str:
    cells = " | ".join({True: "caught", False: "–", None: ""}[verdict[check]].center(6) for check in CHECKS)
    return f"| {name:26} | {cells} | {what}"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.crash.ring_mutants", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME")
    asked = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    began_s = time.monotonic()
    healthy = judge(Mutant("none", "the rings as they are", None))
    print(line("none", healthy, "the rings as they are"), flush=True)
    caught, survivors = 0, []
    for mutant in mutants(asked.names):
        verdict = judge(mutant)
        print(line(mutant.name, verdict, mutant.what), flush=True)
        caught += any(verdict.values())
        survivors += [] if any(verdict.values()) else [mutant.name]
    report = {"caught": caught, "survivors": survivors, "false_alarms": [name for name, bad in healthy.items() if bad]}
    print(json.dumps(report | {"elapsed_s": round(time.monotonic() - began_s, 1)}))
    return 1 if survivors or report["false_alarms"] else 0


if __name__ == "__main__":
    sys.exit(main())
