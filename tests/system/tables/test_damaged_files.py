"""Parquet and Arrow files with flipped bytes, in a process of their own as the scout and the workers are.

Whatever happens to that process, nothing happens to this one; and what is read is as much as was announced.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import ipc, parquet

READS = """
import json, resource, sys
from pathlib import Path
from batchflow.errors import TableError
from batchflow.tables.options import TableOptions
from batchflow.tables.reading import PieceReader
from batchflow.tables.schema import Schema
from batchflow.tables.scout import scout

resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
format, path, *flips = sys.argv[1:]
options, whole = TableOptions(format), Path(path).read_bytes()
job = {"options": options.as_json(), "paths": [path + ".bad"], "size": 4096, "rows": 0}
for flip in flips:
    place, bits = map(int, flip.split(":"))
    Path(path + ".bad").write_bytes(whole[:place] + bytes([whole[place] ^ bits]) + whole[place + 1:])
    found, outcome = scout(job, lambda line: None), "refused"
    if "error" not in found:
        outcome = "read"
        reader = PieceReader(options, Schema.from_json(found["schema"]), "pandas")
        for file, begin, end, rows in found["pieces"][:50]:
            try:
                assert len(reader.read(path + ".bad", begin, end, rows, 0, min(rows, 100_000))) == min(rows, 100_000)
            except TableError:
                outcome = "failed"
    print(flip, outcome, flush=True)
"""


def damaged(path: Path, format: str, flips: list[str]) -> dict[str, str]:
    """What becomes of each flip: ``read``, ``refused``, ``failed``, or how the process that read it ended."""
    outcomes: dict[str, str] = {}
    left = flips
    while left:
        command = [sys.executable, "-c", READS, format, str(path), *left]
        child = subprocess.run(command, capture_output=True, text=True, timeout=240)
        outcomes |= dict(line.split() for line in child.stdout.splitlines())
        left = left[len(child.stdout.splitlines()) :]
        if left:
            assert child.returncode < 0 or "MemoryError" in child.stderr, child.stderr
            outcomes[left[0]] = f"ended {child.returncode}"
            left = left[1:]
    return outcomes


@pytest.mark.fault("J14")
@pytest.mark.parametrize("format", ["parquet", "arrow"])
def test_a_thousand_flipped_bytes(tmp_path, format):
    table = pa.table(
        {
            "i": pa.array([None if k % 9 == 1 else k for k in range(500)]),
            "s": pa.array([f"text {k % 40}" for k in range(500)]),
            "l": pa.array([[k, k + 1] for k in range(500)]),
            "d": pa.array([str(k % 3) for k in range(500)]).dictionary_encode(),
        }
    )
    path = tmp_path / f"t.{format}"
    if format == "parquet":
        parquet.write_table(table, path, row_group_size=200)
    else:
        with ipc.new_file(path, table.schema) as file:
            file.write_table(table, max_chunksize=200)
    size, numbers = path.stat().st_size, random.Random(14)
    # Half of them where the file says what is in it.
    places = [numbers.randrange(size) for _ in range(600)] + [
        size - 1 - numbers.randrange(size // 3) for _ in range(600)
    ]
    outcomes = damaged(
        path, format, [f"{place}:{1 << numbers.randrange(8)}" for place in list(dict.fromkeys(places))[:1000]]
    )
    found = {
        kind: sum(one.startswith(kind) for one in outcomes.values()) for kind in ("read", "refused", "failed", "ended")
    }
    assert sum(found.values()) == len(outcomes) >= 900
    assert found["refused"] > 20, json.dumps(found)
    assert found["failed"] > 10, json.dumps(found)
    assert found["ended"] < 50, json.dumps(found)
