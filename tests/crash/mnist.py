"""10,000 MNIST images, and the driver killed 20 times; one image that kills, hangs or eats memory.

    python -m tests.crash.mnist kills  --mnist FOLDER [--kills 20] [--seed N]
    python -m tests.crash.mnist poison --mnist FOLDER

``kills``: the command is killed at random moments after its first commit and typed again each time; the file must be,
byte for byte, that of an uninterrupted run.  The figure is the wall time that a kill costs: all lives together minus
the uninterrupted run, through the number of kills.
``poison``: 9,999 rows, one failure that names the file and how it ended, and how many items were scored in excess.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import random
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.crash.real import Project, ended

SCRIPT = """
import os, time
import numpy as np
from PIL import Image

def init():
    global centres
    centres = np.load(os.path.join(os.path.dirname(os.path.abspath(__file__)), "centres.npy"))

def run(mini_batch):
    with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "scored"), "a") as log:
        log.write(f"{{len(mini_batch)}}\\n")
    rows = []
    for path in mini_batch:
        name = os.path.basename(path)
        {misbehave}
        pixels = np.asarray(Image.open(path), dtype=np.float32).ravel()
        time.sleep({pause})
        rows.append({{"file": name, "digit": int(((centres - pixels) ** 2).sum(axis=1).argmin())}})
    return rows
"""
POISON = "004711.png"
KINDS = {
    "kills its worker": ("import ctypes; ctypes.string_at(0)", "", "SIGSEGV"),
    "hangs": ("time.sleep(3600)", 'run_invocation_timeout = "2 s"', "run_invocation_timeout"),
    "eats all memory": (
        "held = [bytearray(16 << 20) for _ in iter(lambda: time.sleep(0.01), 1)]",
        'worker_memory = "512 MiB"',
        "worker_memory",
    ),
}


def read_idx(path: Path) -> bytes:
    packed = path.with_name(path.name + ".gz")
    return gzip.decompress(packed.read_bytes()) if packed.exists() else path.read_bytes()


class Digits(Project):
    """The test images as PNG files, scored by the nearest mean digit."""

    def __init__(self, folder: Path, mnist: Path, *, pause: float, size: int, misbehave: str = "pass", more: str = ""):
        import numpy as np
        from PIL import Image

        super().__init__(folder, count=1, pause=0, size=size)
        (folder / "in/000000").unlink()
        images = np.frombuffer(read_idx(mnist / "t10k-images-idx3-ubyte"), np.uint8, offset=16).reshape(-1, 28, 28)
        labels = np.frombuffer(read_idx(mnist / "t10k-labels-idx1-ubyte"), np.uint8, offset=8)
        self.names = [f"{number:06}.png" for number in range(len(images))]
        for name, image in zip(self.names, images, strict=True):
            Image.fromarray(image).save(folder / "in" / name, compress_level=0)
        centres = np.stack([images[labels == digit].mean(axis=0).ravel() for digit in range(10)])
        np.save(folder / "centres.npy", centres.astype(np.float32))
        (folder / "score.py").write_text(SCRIPT.format(pause=pause, misbehave=misbehave))
        text = (folder / "workflow.toml").read_text()
        (folder / "workflow.toml").write_text(text.replace('run_invocation_timeout = "5 s"\n', "") + more + "\n")

    @property
    def scored(self) -> int:
        """Items given to ``run()`` so far."""
        return sum(int(line) for line in (self.folder / "scored").read_text().splitlines())


def kills(mnist: Path, count: int, seed: int) -> dict[str, Any]:
    choose = random.Random(seed)
    with tempfile.TemporaryDirectory(prefix="batchflow-mnist-") as name:
        plain = Digits(Path(name) / "plain", mnist, pause=0.003, size=10)
        since_s = time.monotonic()
        if plain.finish() != 0:
            raise SystemExit((plain.folder / "said").read_text())
        plain_s = time.monotonic() - since_s
        killed = Digits(Path(name) / "killed", mnist, pause=0.003, size=10)
        violations: list[str] = []
        lives_s: list[float] = []
        while len(lives_s) < count:
            before = killed.committed_size()
            with ended(killed.start()) as process:
                since_s = time.monotonic()
                while killed.committed_size() <= before and process.poll() is None:
                    time.sleep(0.002)
                time.sleep(choose.uniform(0, 0.6))
                if process.poll() is not None:
                    violations.append(f"it was done after {len(lives_s)} kills: nothing left to kill")
                    break
                process.kill()
                process.wait()
                lives_s.append(time.monotonic() - since_s)
            violations += killed.leftovers()
        since_s = time.monotonic()
        code = killed.finish()
        lives_s.append(time.monotonic() - since_s)
        if code != 0 or killed.output.read_bytes() != plain.output.read_bytes():
            violations.append(
                f"the output differs, or exit code {code}\n{(killed.folder / 'said').read_text()[-2000:]}"
            )
        rows = killed.output.read_bytes().count(b"\n") - 1 if killed.output.exists() else 0
        return {
            "case": "mnist kills",
            "kills": len(lives_s) - 1,
            "rows": rows,
            "violations": violations,
            "uninterrupted_s": round(plain_s, 2),
            "all_lives_s": round(sum(lives_s), 2),
            "lost_for_each_kill_s": round((sum(lives_s) - plain_s) / max(1, len(lives_s) - 1), 3),
            "items_scored": killed.scored,
            "items_scored_twice_for_each_kill": round((killed.scored - rows) / max(1, len(lives_s) - 1), 1),
            "life_median_s": round(statistics.median(lives_s), 2),
        }


def poison(mnist: Path, kind: str, size: int) -> dict[str, Any]:
    body, more, named = KINDS[kind]
    with tempfile.TemporaryDirectory(prefix="batchflow-mnist-") as name:
        digits = Digits(
            Path(name) / "p", mnist, pause=0, size=size, misbehave=f'if name == "{POISON}": {body}', more=more
        )
        since_s = time.monotonic()
        code = digits.finish()
        elapsed_s = time.monotonic() - since_s
        state = digits.folder / ".batchflow/workflow/steps/score"
        failures = [json.loads(line) for line in (state / "failed.jsonl").read_text().splitlines()]
        lines = digits.output.read_text().splitlines()
        excess = digits.scored - 10_000
        violations = [
            text
            for text, is_wrong in {
                f"exit code {code}": code != 0,
                f"{len(lines) - 1} rows": len(lines) != 10_000 or sorted(lines[1:]) != lines[1:],
                f"failures {failures}": [os.path.basename(one["item"]) for one in failures] != [POISON],
                f"it does not say {named}: {failures}": named not in json.dumps(failures),
                f"{excess} items in excess of {3 * size}": excess > 3 * size,
            }.items()
            if is_wrong
        ]
        message = failures[0]["message"] if failures else ""
        return {
            "case": f"one image {kind}",
            "mini_batch_size": size,
            "rows": len(lines) - 1,
            "excess_items": excess,
            "message": message,
            "elapsed_s": round(elapsed_s, 2),
            "violations": violations,
        }


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.crash.mnist", description=__doc__)
    parser.add_argument("case", choices=("kills", "poison"))
    parser.add_argument("--mnist", type=Path, required=True)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    if arguments.case == "kills":
        results = [kills(arguments.mnist, arguments.kills, arguments.seed)]
    else:
        results = [poison(arguments.mnist, kind, size) for kind in KINDS for size in (10, 100)]
    for result in results:
        print(json.dumps(result))
    return 1 if any(result["violations"] for result in results) else 0


if __name__ == "__main__":
    sys.exit(main())
