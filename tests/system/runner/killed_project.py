"""A project whose command is killed at a place that has a name, and what it must have made in the end.

The second mini-batch waits until the last one is in the file: rows are committed out of order and put in order at the
end.  The script writes files of its own, a folder and a file.  The rows are csv, or parquet, whose file is made last.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from batchflow.journal.state_folder import ROWS_NAME

FAULTY = Path(__file__).parents[1] / "cli" / "faulty.py"
ITEMS = 10
WORKFLOW = """\
schema = 1

[datasets.texts]
files = "in/*.txt"

[steps.score]
inputs = { texts = "${datasets.texts}" }
outputs = { rows = "build/rows.csv", files = "build/files/", failed = "build/failed.jsonl", note = "build/note.txt" }

[steps.score.parallel]
entry_script = "score.py"
mini_batch_size = 2
workers = 2
append_row_to = "rows"
failed_to = "failed"
arguments = ["${outputs.note}"]
error_threshold = 1
"""
SCRIPT = """\
import os, sys, time

def init():
    # Each worker writes it, and may be ended while it does: there is no moment in which it is empty again.
    descriptor = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT, 0o666)
    os.write(descriptor, b"note")
    os.close(descriptor)

def run(mini_batch, context):
    names = [os.path.basename(path) for path in mini_batch]
    while "02.txt" in names and b"09.txt" not in open(GROWING, "rb").read():
        time.sleep(0.01)
    if "05.txt" in names and not os.path.exists("healed"):
        raise ValueError("unlucky")
    for name in names:
        (context.output_dir / name).write_text(name)
    return [{"name": name, "length": len(name) * int(name[:2])} for name in names]
"""


class Project:
    """A folder with a workflow, and the command line in it."""

    def __init__(self, folder: Path, *, is_typed: bool = False) -> None:
        self.folder = folder
        self.rows = folder / "build" / ("rows.parquet" if is_typed else "rows.csv")
        self.stream = folder / ".batchflow/flow/steps/score" / ROWS_NAME
        """What is committed of a parquet file."""
        self._is_typed = is_typed

    def make(self) -> Project:
        (self.folder / "in").mkdir(parents=True)
        for number in range(ITEMS):
            (self.folder / f"in/{number:02}.txt").touch()
        growing = self.stream if self._is_typed else self.rows.with_name("rows.csv.partial")
        (self.folder / "flow.toml").write_text(WORKFLOW.replace("rows.csv", self.rows.name))
        (self.folder / "score.py").write_text(SCRIPT.replace("GROWING", repr(str(growing))))
        return self

    def call(self, verb: str, failpoint: str = "") -> subprocess.CompletedProcess[str]:
        variables = {"BATCHFLOW_TEST_BUILD": "1", "BATCHFLOW_FAILPOINT": failpoint}
        return subprocess.run(
            [sys.executable, str(FAULTY), "batchflow.parallel.books:SPILL_S=0.05", *verb.split(), "flow.toml"],
            cwd=self.folder,
            env={name: value for name, value in os.environ.items() if name not in variables} | variables,
            capture_output=True,
            text=True,
            timeout=120,
        )

    def ends(self, verb: str, *, exit_code: int = 0) -> None:
        done = self.call(verb)
        assert done.returncode == exit_code, done.stderr

    def is_killed(self, verb: str, failpoint: str) -> None:
        done = self.call(verb, failpoint)
        assert done.returncode == -signal.SIGKILL, f"{failpoint} was not reached: {done.stdout}{done.stderr}"

    def heal(self) -> None:
        (self.folder / "healed").touch()

    def made(self) -> dict[str, object]:
        """Everything that must be as if nothing had happened."""
        build = self.folder / "build"
        failed = [json.loads(line) for line in (build / "failed.jsonl").read_text().splitlines()]
        receipt = json.loads((self.folder / ".batchflow/flow/steps/score/receipt.json").read_text())
        counts = ("items_in", "succeeded", "failed", "rows_out", "surplus", "output_size", "output_checksum")
        return {
            "rows": self._rows_as_csv() if self._is_typed else self.rows.read_bytes(),
            "files": {path.name: path.read_text() for path in (build / "files").iterdir()},
            "note": (build / "note.txt").read_text(),
            "failed": [(Path(one["item"]).name, one["kind"], one["message"]) for one in failed],
            "receipt": {name: receipt[name] for name in counts},
            "size": self.rows.stat().st_size,
            "names": sorted(path.name for path in build.iterdir()),
        }

    def _rows_as_csv(self) -> bytes:
        from pyarrow import parquet

        columns = parquet.read_table(self.rows).to_pydict()
        rows = zip(*columns.values(), strict=True)
        return "".join(",".join(map(str, row)) + "\n" for row in [tuple(columns), *rows]).encode()


def expected(lost: set[int], rows_name: str) -> dict[str, object]:
    """Written down here, and not taken from a run."""
    names = [f"{number:02}.txt" for number in range(ITEMS) if number not in lost]
    rows = "name,length\n" + "".join(f"{name},{6 * int(name[:2])}\n" for name in names)
    return {
        "rows": rows.encode(),
        "files": {name: name for name in names},
        "failed": [(f"{number:02}.txt", "exception", "unlucky") for number in sorted(lost)],
        "note": "note",
        "names": ["failed.jsonl", "files", "note.txt", rows_name],
    }


def assert_as_if_nothing_had_happened(project: Project, lost: set[int]) -> None:
    made = project.made()
    receipt = made.pop("receipt")
    size = made.pop("size")
    assert made == expected(lost, project.rows.name)
    assert isinstance(receipt, dict)
    assert (receipt["items_in"], receipt["succeeded"], receipt["failed"]) == (ITEMS, ITEMS - len(lost), len(lost))
    assert (receipt["rows_out"], receipt["output_size"]) == (ITEMS - len(lost), size)
    # The committed rows of a typed output are kept as long as some may be missing among them.
    assert project.stream.exists() == (project.rows.suffix == ".parquet" and bool(lost))
