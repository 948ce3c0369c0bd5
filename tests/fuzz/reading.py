"""``python -m tests.fuzz.reading``: random files, read as CSV, against Python's ``csv`` and what types allow."""

from __future__ import annotations

import argparse
import csv
import io
import random
import sys

import pyarrow as pa

from batchflow import _core
from batchflow.tables.csv_parser import CsvParser
from batchflow.tables.dialects import core_dialect, csv_dialect
from batchflow.tables.evidence import seen_in, type_of_seen
from batchflow.tables.options import TableOptions
from batchflow.tables.schema import Column, Schema

ALPHABET = "a10-. x\"'\\\n\r,;\t\ufeffé"
SAMPLES = {"int64": b"1", "double": b"1.5"}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.reading", description=__doc__)
    parser.add_argument("--cases", type=int, default=200_000, help="how many (default: 200000)")
    parser.add_argument("--seed", type=int, default=0, help="number of the first one (default: 0)")
    options = parser.parse_args()
    failed = 0
    for seed in range(options.seed, options.seed + options.cases):
        said = complaint(seed)
        failed += bool(said)
        if said:
            print(f"seed={seed}: {said}", flush=True)
    print(f"{options.cases:,} files, {failed:,} read wrongly")
    return 1 if failed else 0


def make_file(numbers: random.Random) -> tuple[bytes, TableOptions]:
    options = TableOptions(
        "csv",
        numbers.choice(",;\t"),
        numbers.choice(['"', "'", None]),
        numbers.choice([None, None, "\\"]),
        null_values=(),
    )
    if numbers.random() < 0.5:
        return "".join(numbers.choices(ALPHABET, k=numbers.randrange(1, 60))).encode(), options
    width = numbers.randrange(1, 4)
    fields = ["0", "-0", "07", "1", " 1", "1.5", "0.5", "0x1", '"1"', "a", "", "1e5", "-3", '" 2"', "\\1"]
    rows = [options.delimiter.join(numbers.choices(fields, k=width)) for _ in range(numbers.randrange(1, 5))]
    return numbers.choice(["\n", "\r\n", "\r"]).join(rows).encode(), options


def complaint(seed: int) -> str:
    """What is wrong with the reading of a random file; empty if nothing."""
    numbers = random.Random(seed)
    data, options = make_file(numbers)
    _, _, count, problem = _core.record_range(data, 0, len(data), **core_dialect(options))
    if problem is not None:
        return ""
    rows = [row for row in csv.reader(io.StringIO(data.decode(), newline=""), **csv_dialect(options)) if row]
    said = f"{count} records" if count != len(rows) else rows and wrong_reading(data, options, rows, numbers)
    return f"{said}: {data!r} {options}" if said else ""


def wrong_reading(data: bytes, options: TableOptions, rows: list[list[str]], numbers: random.Random) -> str:
    width = len(rows[0])
    found = arrow_rows(data, options, ["string"] * width)
    if any(len(row) != width for row in rows):
        return "" if found is None else "rows of different lengths are read"
    if found != rows:
        return f"read as {found}"
    place, type = numbers.randrange(width), numbers.choice(list(SAMPLES))
    is_read = arrow_rows(data, options, [type if k == place else "string" for k in range(width)]) is not None
    fits = all(inferred(SAMPLES[type], row[place].encode()) == type for row in rows)
    return "" if is_read == fits else f"column {place} as {type}: read={is_read}, fits={fits}"


def arrow_rows(data: bytes, options: TableOptions, types: list[str]) -> list[list[object]] | None:
    """None if they are refused."""
    names = tuple(map(str, range(len(types))))
    columns = tuple(Column(name, type) for name, type in zip(names, types, strict=True))
    parser = CsvParser(options, Schema(columns, names))
    try:
        table = parser.parse(data)
    except pa.ArrowInvalid:
        return None
    if parser.misfit(data, table) is not None:
        return None
    return [list(row) for row in zip(*(column.to_pylist() for column in table.columns), strict=True)]


def inferred(*texts: bytes) -> str:
    return type_of_seen(seen_in(pa.chunked_array([pa.array(texts, pa.binary())])))[0]


if __name__ == "__main__":
    sys.exit(main())
