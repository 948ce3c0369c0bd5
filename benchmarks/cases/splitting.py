"""*splitting*: where the records of a CSV file with quoted line breaks begin, near every mebibyte."""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass

from benchmarks import process, tables
from benchmarks.cases.common import MissingToolError, Outcome
from benchmarks.options import Options
from benchmarks.values import Metric, Scenario, Task, Variant

LABEL = "splitting"
REPEATS = 3
PIECE_SIZE = 1 << 20
EXPLANATION = (
    "A CSV file of {size:.3g} GB, with quotes in every row and quoted line breaks in one of ten, its pages in memory. "
    "batchflow finds the first record behind every mebibyte and counts the records of each piece; wc counts line "
    "breaks and knows no quotes; polars and DuckDB count the rows, pyarrow reads them all. Memory is what a side added "
    "at its peak."
)
ONE, TWO = "one core", "two cores"
WAYS = {
    ONE: ("batchflow", "wc -l", "pyarrow.csv.open_csv"),
    TWO: ("batchflow", "wc -l", "polars count", "DuckDB count", "pyarrow.csv.open_csv"),
}
SLOW = ("DuckDB count", "pyarrow.csv.open_csv")


def setup(options: Options) -> list[Scenario]:
    table = tables.quoted_table(options.data, (64 << 20) if options.quick else 2_000_000_000)
    metrics = (
        Metric("split", "time", "s per GB", table.size, 1e9),
        Metric("memory", "memory", "MiB", 1, 1 / (1 << 20), compared=False),
    )
    return [
        Scenario(
            case=LABEL,
            title=title,
            explanation=EXPLANATION.format(size=table.size / 1e9),
            metrics=metrics,
            workers=0,
            shows_costs=False,
            item_count=table.row_count,
            variants=tuple(Variant(way, settings={"way": way}) for way in ways),
            settings={"title": title, "path": str(table.path), "row_count": table.row_count},
        )
        for title, ways in WAYS.items()
    ]


@dataclass(frozen=True)
class Counted:
    """What a side found, and how it is to be judged."""

    rows: int
    complaint: str = ""


def run(task: Task) -> Outcome:
    """The median of some repetitions; the pages are brought into memory before."""
    way, path = task.settings["way"], task.settings["path"]
    cores = sorted(os.sched_getaffinity(0))[: 1 if task.settings["title"] == ONE else 2]
    os.sched_setaffinity(0, cores)
    side = SIDES[way](path, len(cores))
    tables.warm(path)
    seconds, complaint = [], ""
    before = process.reset_peak()
    for _ in range(1 if way in SLOW else REPEATS):
        since_s = time.perf_counter()
        rows = side()
        seconds.append(time.perf_counter() - since_s)
        expected = task.settings["row_count"]
        if rows < expected if way == "wc -l" else rows != expected:
            complaint = f"expected {expected} rows, got {rows}"
    figures = {} if way == "wc -l" else {"memory": max(0.0, process.peak() - before)}
    return Outcome({"split": statistics.median(seconds)}, figures=figures, complaint=complaint)


def batchflow(path: str, cores: int) -> Callable[[], int]:
    from batchflow.tables.options import TableOptions
    from batchflow.tables.splitting import split_file

    return lambda: split_file(path, TableOptions("csv"), size=PIECE_SIZE, threads=cores).record_count


def wc(path: str, cores: int) -> Callable[[], int]:
    """As a command, its start included."""
    found = shutil.which("wc")
    if found is None:
        raise MissingToolError("wc is not installed")
    command = [found, "-l", path]
    return lambda: int(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[0])


def polars(path: str, cores: int) -> Callable[[], int]:
    os.environ["POLARS_MAX_THREADS"] = str(cores)
    import polars

    return lambda: int(polars.scan_csv(path).select(polars.len()).collect().item())


def duckdb(path: str, cores: int) -> Callable[[], int]:
    import duckdb

    connection = duckdb.connect(config={"threads": cores})
    columns = dict.fromkeys(tables.COLUMNS, "VARCHAR")
    form = f"header=true, auto_detect=false, delim=',', quote='\"', escape='\"', columns={columns}"

    def count() -> int:
        row = connection.execute(f"SELECT count(*) FROM read_csv(?, {form})", [path]).fetchone()
        return 0 if row is None else int(row[0])

    return count


def arrow(path: str, cores: int) -> Callable[[], int]:
    import pyarrow
    import pyarrow.csv

    pyarrow.set_cpu_count(cores)
    parsing = pyarrow.csv.ParseOptions(newlines_in_values=True)
    return lambda: sum(batch.num_rows for batch in pyarrow.csv.open_csv(path, parse_options=parsing))


SIDES: dict[str, Callable[[str, int], Callable[[], int]]] = {
    "batchflow": batchflow,
    "wc -l": wc,
    "polars count": polars,
    "DuckDB count": duckdb,
    "pyarrow.csv.open_csv": arrow,
}
