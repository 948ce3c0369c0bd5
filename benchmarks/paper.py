"""What a thousand million items on a hundred nodes would cost, reckoned from measured constants; nothing is run.

Pure: records in, lines out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.records import Records, median
from benchmarks.report import short, table_row

ITEMS = 10**9
NODES = 100
MINI_BATCH = 100
ROW_BYTES = 100
LEASE_S = 10
NAME_BYTES = 40
"""Of a path below its folder, with what tells it from its neighbours."""


@dataclass(frozen=True)
class Constants:
    """Measured; None where no record has it.  µs and bytes, as in the names."""

    item_us: float | None
    mini_batch_us: float | None
    manifest_us: float | None
    manifest_bytes: float | None
    gather_ms_per_mb: float | None
    resume_us: float | None


def constants(records: Records) -> Constants:
    fit = records.fit("batchflow") or {"a_us": None, "b_us": None}
    manifest = records.find("listing", title="manifest")
    resume = median(records.find("commit", title="resume"), "batchflow", "whole")
    return Constants(
        item_us=fit["a_us"],
        mini_batch_us=fit["b_us"],
        manifest_us=median(manifest, "batchflow", "list"),
        manifest_bytes=median(manifest, "batchflow", "beyond_names"),
        gather_ms_per_mb=median(records.find("gather"), "batchflow, full", "gather"),
        resume_us=resume,  # of 1,000,000 mini-batches: seconds in all are microseconds each
    )


def lines(records: Records) -> list[str]:
    found = constants(records)
    share = ITEMS // NODES
    mini_batches = ITEMS // MINI_BATCH
    rows = [
        row("listing by one driver", "{:.3g} µs an item", [found.manifest_us], ITEMS, 1e-6, "s"),
        row("listing by each node, its share", "{:.3g} µs an item", [found.manifest_us], share, 1e-6, "s"),
        memory_row("memory of the listing in one driver", found.manifest_bytes, ITEMS),
        memory_row("the same on each node", found.manifest_bytes, share),
        row(
            "dispatch on each node",
            "{:.3g} µs an item + {:.3g} µs a mini-batch",
            [found.item_us, found.mini_batch_us],
            share,
            1e-6,
            "s",
            weights=(1.0, 1 / MINI_BATCH),
        ),
        row("finding what is left, worst case", "{:.3g} µs a mini-batch", [found.resume_us], mini_batches, 1e-6, "s"),
        row(
            f"all rows through one driver, {ITEMS * ROW_BYTES / 1e9:.0f} GB",
            "{:.3g} ms a MB",
            [found.gather_ms_per_mb],
            ITEMS * ROW_BYTES // 1_000_000,
            1e-3,
            "s",
        ),
        row(
            "rows of each node into a file of its own",
            "{:.3g} ms a MB",
            [found.gather_ms_per_mb],
            share * ROW_BYTES // 1_000_000,
            1e-3,
            "s",
        ),
    ]
    leases = table_row(
        ["leases that the driver gives out", f"one of {LEASE_S} s a node", f"{NODES / LEASE_S:g} a second"]
    )
    return ["| what | measured here | would be |", "|---|---:|---:|", *rows, leases]


def row(
    what: str,
    form: str,
    values: Sequence[float | None],
    count: int,
    scale: float,
    unit: str,
    *,
    weights: Sequence[float] = (1.0,),
) -> str:
    """``count`` times the weighted sum of the values; a dash where one of them is not known."""
    known: list[Any] = [value for value in values if value is not None]
    if len(known) < len(values):
        return table_row([what, "not measured yet", "–"])
    total = count * scale * sum(value * weight for value, weight in zip(known, weights, strict=True))
    return table_row([what, form.format(*known), f"{short(total)} {unit}"])


def memory_row(what: str, beyond_names: float | None, count: int) -> str:
    if beyond_names is None:
        return table_row([what, "not measured yet", "–"])
    size = count * (beyond_names + NAME_BYTES)
    return table_row([what, f"{beyond_names:.3g} B + a name of {NAME_BYTES} B an item", f"{short(size / 1e9)} GB"])
