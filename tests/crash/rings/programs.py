"""The programs in C: build them against a copy of the core's headers, run them, add up what they say."""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

SOURCES = Path(__file__).parent
ROOT = SOURCES.parents[2]
BUILD = ROOT / "build" / "rings"
CORE = ROOT / "batchflow"
FLAGS = ("-std=gnu11", "-O2", "-g", "-Wall", "-Wextra", "-Wno-unused-function")
PERTURB = ("-DBF_PERTURB",)
"""Yields around every atomic access, so that rare interleavings become common."""
THREADS = ("-O1", "-DTHREADS", "-fsanitize=thread", "-Wno-tsan", "-pthread")
"""Both sides in one process: ThreadSanitizer sees every access that nothing orders."""
SANITIZE = ("-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")


def build(name: str, core: Path = CORE, flags: Sequence[str] = ()) -> Path:
    """The program ``name`` against the headers in ``core``/core, built unless it has been."""
    command = ["gcc", *FLAGS, *flags, f"-I{core}", f"-I{SOURCES}", str(SOURCES / f"{name}.c")]
    digest = hashlib.sha256(repr(command).encode())
    for path in sorted([*SOURCES.glob("*.[ch]"), *(core / "core").glob("*.h")]):
        digest.update(path.read_bytes())
    program = BUILD / f"{name}-{digest.hexdigest()[:16]}"
    if not program.exists():
        BUILD.mkdir(parents=True, exist_ok=True)
        unfinished = program.with_suffix(".new")
        subprocess.run([*command, "-o", str(unfinished)], check=True)
        unfinished.rename(program)
    return program


def run(commands: Sequence[Sequence[str]], timeout_s: float) -> list[dict[str, Any]]:
    """Run them at the same time; what each says.  One that ends by a signal or not at all has violated something."""
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for command in commands]
    answers = []
    for command, process in zip(commands, running, strict=True):
        try:
            out, _ = process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            out = ""
        if not out:
            print(f"VIOLATION no answer, status={process.returncode}: {' '.join(command)}", flush=True)
        answers.append(json.loads(out) if out else {"violations": 1})
    return answers


def add_up(answers: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Sums of all figures."""
    total: dict[str, Any] = {}
    for answer in answers:
        for name, value in answer.items():
            total[name] = total.get(name, 0) + value
    return total
