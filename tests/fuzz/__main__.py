"""``python -m tests.fuzz``: a million random files against Python's ``csv``, on all cores."""

from __future__ import annotations

import argparse
import sys
import time
from concurrent.futures import ProcessPoolExecutor

from batchflow.cpus import available_cpus
from tests.fuzz.cases import make_case, read_corpus
from tests.fuzz.oracle import Bytes

STRIDE = 5_000


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--cases", type=int, default=1_000_000, help="how many (default: 1000000)")
    parser.add_argument("--seed", type=int, default=0, help="number of the first one (default: 0)")
    options = parser.parse_args()
    begin_s = time.monotonic()
    starts = range(options.seed, options.seed + options.cases, STRIDE)
    sizes = [min(STRIDE, options.seed + options.cases - start) for start in starts]
    failed = 0
    with ProcessPoolExecutor(available_cpus()) as pool:
        for complaints in pool.map(run_some, starts, sizes):
            failed += len(complaints)
            for line in complaints[:5]:
                print(line, flush=True)
    seconds = time.monotonic() - begin_s
    print(f"{options.cases:,} files, {failed:,} split wrongly, {seconds:.0f} s")
    return 1 if failed else 0


def run_some(start: int, count: int) -> list[str]:
    """One line for each case that is split wrongly."""
    corpus, file = read_corpus(), Bytes()
    try:
        cases = ((seed, make_case(seed, corpus)) for seed in range(start, start + count))
        return [f"seed={seed}: {said}\n  {case}" for seed, case in cases if (said := case.complaint(file))]
    finally:
        file.close()


if __name__ == "__main__":
    sys.exit(main())
