"""What the journal of a parallel step says of it as a whole: how far it is, and the running totals.  Frozen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from batchflow.journal.sums import Sums
from batchflow.mini_batches import split_count

MiniBatchUnit: TypeAlias = Literal["items", "bytes", "rows", "keys"]


@dataclass(frozen=True)
class Totals:
    """What the step has decided, over all its runs."""

    succeeded: int = 0
    failed: int = 0
    failed_mini_batches: int = 0
    """Of the grid, those with failed or missing items."""
    rows: int = 0
    surplus: int = 0
    attempts: int = 0
    worker_deaths: int = 0


@dataclass(frozen=True)
class State:
    """How far a step is.  ``phase``: ``running``; ``ordered`` (the output has been copied into input order);
    ``finished`` (complete and durable under its temporary name, or published)."""

    run_id: str
    """Of the run that last worked on it."""
    step: str
    item_count: int
    signature: Mapping[str, Any]
    """What the step is made from, see ``runner.signature``."""
    mini_batch_size: int
    """Of the first run: that of the grid."""
    mini_batch_unit: MiniBatchUnit = "items"
    """What it counts; 0 of ``keys``, where mini-batches are what has these in common."""
    cut_count: int = 0
    """Mini-batches of a grid of cuts, which are kept beside the state; 0: all are of one size."""
    cut_checksum: int = 0
    """CRC-32C of the cuts."""
    durability: Literal["full", "process"] = "full"
    phase: Literal["running", "ordered", "finished"] = "running"
    boot_id: str = ""
    file_id: int = 0
    """Inode of the output file; 0 before it exists, or where there is none."""
    folder_ids: Mapping[str, int] = field(default_factory=dict)
    """Inodes of the temporary folders that the script writes into, once they exist."""
    is_suspect: bool = False
    """A write or a sync failed: check every byte before going on."""
    committed_size: int = 0
    checksum: int = 0
    """CRC-32C of the committed bytes of the output."""
    header_size: int = 0
    columns: str = ""
    """The line that names the columns, ``latin-1`` of its bytes."""
    commit_number: int = 0
    work_s: float = 0.0
    """How long the work took that is committed."""
    totals: Totals = field(default_factory=Totals)
    sums: Sums = field(default_factory=Sums)
    extent_count: int = 0
    receipt: Mapping[str, Any] | None = None
    """Once it is finished."""
    output_size: int = 0
    output_checksum: int = 0
    """Of the file of rows, once it is finished: where it is made of the committed bytes, it has others."""
    output_ids: Mapping[str, int] = field(default_factory=dict)
    """Inodes of the outputs under their temporary names, once it is finished: what has which name tells how far its
    publication came."""

    @property
    def mini_batch_count(self) -> int:
        """Of the grid."""
        return self.cut_count or split_count(self.mini_batch_size, self.item_count)
