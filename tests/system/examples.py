"""The example workflows, each in a copy of ``workflows/`` of its own, run with the real command."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TIMEOUT_S = 300


@dataclass(frozen=True)
class Example:
    """One workflow in a folder of its own; ``settings`` are given to every run of it."""

    folder: Path
    name: str
    settings: tuple[str, ...] = ()

    @property
    def build(self) -> Path:
        return self.folder / "build" / self.name

    def run(self, *words: str, exit_code: int = 0) -> str:
        """Everything ``batchflow run`` prints, on both streams."""
        settings = [word for setting in self.settings for word in ("--set", setting)]
        ended = subprocess.run(
            [sys.executable, "-m", "batchflow", "run", f"{self.name}.toml", *settings, *words],
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=TIMEOUT_S,
        )
        assert ended.returncode == exit_code, ended.stdout
        return ended.stdout

    def rows(self, name: str) -> list[dict[str, str]]:
        with (self.build / name).open(newline="") as file:
            return list(csv.DictReader(file))

    def metrics(self) -> dict:
        return json.loads((self.build / "metrics.json").read_text())

    def receipt(self, step: str = "predict") -> dict:
        return json.loads((self.folder / ".batchflow" / self.name / "steps" / step / "receipt.json").read_text())

    def times(self, *names: str) -> list[int]:
        return [(self.build / name).stat().st_mtime_ns for name in names]


def copy_of_workflows(folder: Path) -> Path:
    unwanted = shutil.ignore_patterns("build", ".batchflow", "__pycache__")
    return shutil.copytree(ROOT / "workflows", folder / "workflows", ignore=unwanted)
