"""Projects whose input are tables: how they are made, and what must come out of them."""

from __future__ import annotations

import csv
import gzip
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from system.cli.terminals import TIMEOUT_S

BATCHFLOW = [sys.executable, "-m", "batchflow"]
WORKFLOW = """\
schema = 1
[datasets.rows]
table = "{table}"
{options}
[steps.score]
inputs = {{ rows = "${{datasets.rows}}" }}
outputs = {{ out = "out/rows.csv" }}
[steps.score.parallel]
entry_script = "score.py"
mini_batch_size = "{size}"
workers = {workers}
{settings}
"""
SCRIPT = """\
def run(mini_batch):
    frame = mini_batch[["id"]].copy()
    frame["y"] = mini_batch["x"] * 2
    frame["words"] = mini_batch["name"].str.count(" ") + 1
    return frame
"""
FILES = 3
ROWS = 200
"""Of each file."""


def rows_of(file: int) -> list[dict[str, Any]]:
    """Names have line breaks, commas and quotes; a record has 20 to 60 bytes as csv."""
    names = ('ann "the" b', "bob, or\r\nbill", "carol\nline two", "d", "e" * 30)
    return [{"id": 1000 * file + k, "x": k * 0.5, "name": names[k % 5]} for k in range(ROWS)]


def expected(files: int = FILES) -> bytes:
    rows = [row for file in range(files) for row in rows_of(file)]
    lines = [f"{row['id']},{row['x'] * 2},{row['name'].count(' ') + 1}\n" for row in rows]
    return ("id,y,words\n" + "".join(lines)).encode()


def csv_text(rows: list[dict[str, Any]]) -> str:
    import io

    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, ["id", "x", "name"], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def write_table(path: Path, rows: list[dict[str, Any]]) -> None:
    """In the format that its name says."""
    packed = path.suffix in (".gz", ".zst")
    kind = path.with_suffix("").suffix if packed else path.suffix
    if kind in (".csv", ".jsonl"):
        text = csv_text(rows) if kind == ".csv" else "".join(json.dumps(row) + "\n" for row in rows)
        if path.suffix == ".gz":
            path.write_bytes(gzip.compress(text.encode(), mtime=0))
        elif path.suffix == ".zst":
            import pyarrow as pa

            with pa.CompressedOutputStream(str(path), "zstd") as file:
                file.write(text.encode())
        else:
            path.write_bytes(text.encode())
        return
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.Table.from_pylist(rows)
    if kind == ".parquet":
        pq.write_table(table, path, row_group_size=70)
    else:
        with pa.ipc.new_file(str(path), table.schema) as writer:
            writer.write_table(table, max_chunksize=70)


def make_project(folder: Path, kind: str = "csv", **keys: Any) -> Path:
    (folder / "data").mkdir(parents=True)
    for file in range(FILES):
        write_table(folder / "data" / f"{file}.{kind}", rows_of(file))
    (folder / "score.py").write_text(SCRIPT)
    write_workflow(folder, table=f"data/*.{kind}", **keys)
    return folder


def write_workflow(folder: Path, **keys: Any) -> None:
    values = {"table": "data/*.csv", "options": "", "size": "1KB", "workers": 2, "settings": ""} | keys
    (folder / "workflow.toml").write_text(WORKFLOW.format(**values))


def call(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [*BATCHFLOW, *(words or ("run",))]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)


def succeeds(folder: Path, *words: str) -> str:
    """What it says on standard error."""
    done = call(folder, *words)
    assert done.returncode == 0, done.stderr
    return done.stderr


def output(folder: Path) -> bytes:
    return (folder / "out/rows.csv").read_bytes()


def state(folder: Path, name: str) -> Path:
    return folder / ".batchflow/workflow/steps/score" / name


def receipt(folder: Path) -> dict[str, Any]:
    return json.loads(state(folder, "receipt.json").read_text())  # type: ignore[no-any-return]


def failed(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in state(folder, "failed.jsonl").read_text().splitlines()]
