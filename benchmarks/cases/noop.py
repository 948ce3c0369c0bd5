"""What the three no-op cases share: the files, the rows they must give, the peers, the chunk sizes to try."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks import data
from benchmarks.options import Options
from benchmarks.values import Expectation, Metric, Scenario

PEERS = ("loop", "pool", "pool-unordered", "executor", "joblib", "mpire", "dataloader", "batchflow")
SLOW = ("dask", "ray-actors", "ray-data", "spark")
"""Seconds to start: measured where dispatch is the subject, at one size."""
CHUNKS = (8, 32, 128, 512, 1024)
SCRIPT = Path(__file__).parents[1] / "entry" / "noop.py"


def scenario(
    options: Options, case: str, name: str, explanation: str, *, metrics: Sequence[tuple[str, str]], size: int
) -> Scenario:
    """``options.mini_batches`` x 10 empty files, in mini-batches of ``size``; ``metrics`` are (phase, title)."""
    item_count = options.mini_batches * 10
    folder = data.numbered_files(options.data, item_count)
    mini_batch_count = -(-item_count // size)
    chunks = tuple(chunk for chunk in CHUNKS if 4 * chunk * options.workers <= mini_batch_count)
    if options.quick:
        chunks = chunks[-2:]
    return Scenario(
        case=case,
        title=f"{name}, mini-batches of {size:,}",
        explanation=explanation,
        folder=str(folder),
        item_count=item_count,
        mini_batch_size=size,
        script=str(SCRIPT),
        arguments=(),
        output_format="text",
        workers=options.workers,
        peers=options.chosen((*PEERS[:-1], *SLOW, PEERS[-1]) if case == "dispatch" and size == 10 else PEERS),
        chunks=chunks,
        metrics=tuple(Metric(key, title, "µs per mini-batch", mini_batch_count, 1e6) for key, title in metrics),
        expectation=Expectation(item_count, data.digest_of_rows(data.numbered_names(item_count))),
        tuning_key=f"no-op {size} of {item_count}",
    )
