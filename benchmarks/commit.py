"""What the promise costs: exactly-once against a plain append, a resume, a finished run that is recognised.

    python -m benchmarks.commit [--runs N] [--quick]

*append*: two workers give 50 MB of rows a second (each ``run()`` sleeps until its share of the time is over), the rows
go to one file.  batchflow with ``durability = "full"`` and ``"process"``, and multiprocessing.Pool whose parent writes
what ``imap`` gives and calls fsync at the end; interleaved, medians.  *busy*: the same rate, but each ``run()`` burns
its time, so that what the driver computes is taken from the workers; against two processes that append half of the rows
each to a file of their own and call fsync at the end.  *resume*: a journal of 1,000,000 committed
mini-batches, each an extent of its own, which is the worst case (order = "completion"), opened, checked, and searched
for what is left.  *finished*: ``batchflow run`` when there is nothing to do, as a command, beside the listing of its
files.
Writes ``benchmarks/results/commit.json``.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from batchflow.cpus import available_cpus

RATE = 50_000_000
"""Bytes a second, of both workers together."""
ROW_SIZE = 1_000
BATCH = 100
WORKERS = 2
PAUSE_S = ROW_SIZE * BATCH * WORKERS / RATE
SCRIPT = f"""
import time
ROW = "x" * {ROW_SIZE - 1}
PAUSE_S = {PAUSE_S}
due = None

def run(mini_batch):
    global due
    due = max(due or 0.0, time.perf_counter() - 0.05) + PAUSE_S
    time.sleep(max(0.0, due - time.perf_counter()))
    return [ROW] * len(mini_batch)
"""
BUSY_SCRIPT = f"""
import time
ROW = "x" * {ROW_SIZE - 1}

def run(mini_batch):
    end = time.thread_time() + {PAUSE_S}
    while time.thread_time() < end:
        pass
    return [ROW] * len(mini_batch)
"""
WORKFLOW = """
schema = 1
[datasets.files]
files = "in/"
[steps.score]
inputs = {{ files = "${{datasets.files}}" }}
outputs = {{ rows = "out/rows.txt" }}
[steps.score.parallel]
entry_script = "score.py"
mini_batch_size = {size}
append_row_to = "rows"
workers = 2
durability = "{durability}"
"""


def make_files(folder: Path, count: int) -> None:
    """Names for one file, many times faster to make than files; a file system allows some ten thousand for each."""
    folder.mkdir(parents=True)
    for number in range(count):
        path = folder / f"{number:08}"
        if number % 30_000 == 0:
            source = path
            source.touch()
        else:
            os.link(source, path)


def batchflow_append(folder: Path, durability: str, script: str) -> float:
    """Seconds from the first worker's readiness to the end of the step."""
    import batchflow

    (folder / "score.py").write_text(script)
    (folder / "workflow.toml").write_text(WORKFLOW.format(size=BATCH, durability=durability))
    record = batchflow.run(folder / "workflow.toml", force=True)
    timings = record.receipt("score").details["timings"]
    return float(timings["dispatch"] + timings["finish"])


def pool_append(folder: Path, count: int) -> float:
    """The same with a pool of the standard library: rows lost or doubled after any crash."""
    scope: dict[str, Any] = {}
    exec(SCRIPT, scope)
    global _run
    _run = scope["run"]
    paths = [f"{number:08}" for number in range(count)]
    mini_batches = [paths[start : start + BATCH] for start in range(0, count, BATCH)]
    with multiprocessing.get_context("fork").Pool(WORKERS) as pool, (folder / "plain.txt").open("wb") as file:
        pool.map(len, ["x"] * WORKERS)
        since_s = time.perf_counter()
        for rows in pool.imap(_call, mini_batches):
            file.write(("\n".join(rows) + "\n").encode())
        file.flush()
        os.fsync(file.fileno())
        return time.perf_counter() - since_s


def halves_append(folder: Path, count: int) -> float:
    """The same rows by two processes that share nothing."""
    scope: dict[str, Any] = {}
    exec(BUSY_SCRIPT, scope)
    context = multiprocessing.get_context("fork")
    gate = context.Barrier(WORKERS + 1)

    def append_half(path: Path) -> None:
        with path.open("wb") as file:
            gate.wait()
            for _ in range(0, count // WORKERS, BATCH):
                file.write(("\n".join(scope["run"](range(BATCH))) + "\n").encode())
            file.flush()
            os.fsync(file.fileno())

    paths = [folder / f"half{number}" for number in range(WORKERS)]
    halves = [context.Process(target=append_half, args=(path,)) for path in paths]
    for half in halves:
        half.start()
    gate.wait()
    since_s = time.perf_counter()
    for half in halves:
        half.join()
    elapsed_s = time.perf_counter() - since_s
    if sum(path.stat().st_size for path in paths) != count * ROW_SIZE:
        raise SystemExit("the halves are not whole")
    return elapsed_s


_run: Any = None


def _call(mini_batch: list[str]) -> list[str]:
    return _run(mini_batch)  # type: ignore[no-any-return]


def append(folder: Path, runs: int, megabytes: int) -> dict[str, Any]:
    count = megabytes * 1_000_000 // ROW_SIZE
    make_files(folder / "in", count)
    times: dict[str, list[float]] = {"full": [], "process": [], "pool": []}
    for _ in range(runs):
        for durability in ("full", "process"):
            times[durability].append(batchflow_append(folder, durability, SCRIPT))
        times["pool"].append(pool_append(folder, count))
        if (folder / "plain.txt").read_bytes() != (folder / "out/rows.txt").read_bytes():
            raise SystemExit("the outputs differ")
    medians = {name: statistics.median(values) for name, values in times.items()}
    ideal_s = megabytes * 1_000_000 / RATE
    return {
        "megabytes": megabytes,
        "ideal_s": ideal_s,
        "seconds": times,
        "cost_full": medians["full"] / medians["pool"] - 1,
        "cost_process": medians["process"] / medians["pool"] - 1,
        "over_ideal": {name: value / ideal_s - 1 for name, value in medians.items()},
    }


def busy(folder: Path, runs: int, megabytes: int) -> dict[str, Any]:
    count = megabytes * 1_000_000 // ROW_SIZE
    make_files(folder / "in", count)
    times: dict[str, list[float]] = {"full": [], "process": [], "halves": []}
    for _ in range(runs):
        for durability in ("full", "process"):
            times[durability].append(batchflow_append(folder, durability, BUSY_SCRIPT))
        times["halves"].append(halves_append(folder, count))
    pairs = {
        name: [mine / plain for mine, plain in zip(times[name], times["halves"], strict=True)]
        for name in ("full", "process")
    }
    costs = {f"cost_{name}": statistics.median(ratios) - 1 for name, ratios in pairs.items()}
    return {"megabytes": megabytes, "seconds": times, **costs}


def resume(folder: Path, runs: int, count: int) -> dict[str, Any]:
    from batchflow._core import Extent
    from batchflow.journal.commits import Journal, State
    from batchflow.mini_batches import MiniBatches

    numbers = list(range(count))
    random.Random(0).shuffle(numbers)
    with Journal.open_for_run(folder) as journal:
        state = State(run_id="r", step="score", item_count=10 * count + 10, signature={}, mini_batch_size=10)
        journal.begin(state)
        for start in range(0, count, 10_000):
            extents = [
                Extent(number * 10, 10, (start + place) * 100, 100, 0, 10, 0, 1, 1)
                for place, number in enumerate(numbers[start : start + 10_000])
            ]
            size = (start + len(extents)) * 100
            journal.commit(extents, [], replace(journal.state or state, committed_size=size))
    times = []
    for _ in range(runs):
        since_s = time.perf_counter()
        with Journal.open_for_run(folder) as journal:
            journal.check()
            work = MiniBatches.of(journal.gaps(), 10)
            times.append(time.perf_counter() - since_s)
        if work.count != 1:
            raise SystemExit("wrong gaps")
    return {"mini_batches": count, "seconds": times, "median_s": statistics.median(times)}


def finished(folder: Path, runs: int, count: int) -> dict[str, Any]:
    make_files(folder / "in", count)
    (folder / "score.py").write_text("def run(mini_batch):\n    return [path[-8:] for path in mini_batch]\n")
    (folder / "workflow.toml").write_text(WORKFLOW.format(size=1000, durability="full"))
    command = [sys.executable, "-m", "batchflow", "run", str(folder / "workflow.toml")]
    subprocess.run(command, check=True, capture_output=True)
    times, listings = [], []
    for _ in range(runs):
        since_s = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        times.append(time.perf_counter() - since_s)
        listings.append(_listing_s(folder))
    return {
        "items": count,
        "seconds": times,
        "median_s": statistics.median(times),
        "manifest_s": statistics.median(listings),
        "in_manifests": statistics.median(times) / statistics.median(listings),
    }


def _listing_s(folder: Path) -> float:
    """Listing with size and mtime of every file, and the digest of that."""
    from batchflow.data import list_files

    since_s = time.perf_counter()
    list_files((f"{folder}/in/",)).digest(os.fsencode(folder))
    return time.perf_counter() - since_s


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.commit", description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="small sizes: to see that it works")
    arguments = parser.parse_args()
    scale = 100 if arguments.quick else 1
    results: dict[str, Any] = {"cpus": available_cpus(), "python": sys.version.split()[0], "kernel": os.uname().release}
    cases = [
        ("append", lambda folder: append(folder, arguments.runs, max(10, 500 // scale))),
        ("busy", lambda folder: busy(folder, arguments.runs, max(10, 500 // scale))),
        ("resume", lambda folder: resume(folder, arguments.runs, 1_000_000 // scale)),
        ("finished", lambda folder: finished(folder, arguments.runs, 10_000)),
        ("finished_many", lambda folder: finished(folder, min(3, arguments.runs), 1_000_000 // scale)),
    ]
    for name, case in cases:
        with tempfile.TemporaryDirectory(prefix="batchflow-bench-") as folder:
            results[name] = case(Path(folder))
        print(name, json.dumps(results[name]), flush=True)
    if not arguments.quick:
        target = Path(__file__).parent / "results/commit.json"
        target.write_text(json.dumps(results, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
