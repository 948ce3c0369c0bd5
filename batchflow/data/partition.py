"""Split ``range(item_count)`` into mini-batches.  Arithmetic only: no mini-batch exists before it is asked for.

Invariant: every item is in exactly one mini-batch; only the last may be shorter than ``mini_batch_size``.
"""

from __future__ import annotations

from batchflow.model import MiniBatch


def mini_batch_count(item_count: int, mini_batch_size: int) -> int:
    """How many mini-batches there are.  Raises ``ValueError`` if ``item_count < 0`` or ``mini_batch_size < 1``."""
    if item_count < 0 or mini_batch_size < 1:
        raise ValueError(f"expected item_count >= 0 and mini_batch_size >= 1, got {item_count=} {mini_batch_size=}")
    return -(-item_count // mini_batch_size)


def mini_batch_range(index: int, item_count: int, mini_batch_size: int) -> MiniBatch:
    """Mini-batch ``index`` (from 0).  Raises ``IndexError`` if there is none of that index."""
    if not 0 <= index < mini_batch_count(item_count, mini_batch_size):
        raise IndexError(f"no mini-batch {index=} with {item_count=} {mini_batch_size=}")
    start = index * mini_batch_size
    return MiniBatch(index, start, min(start + mini_batch_size, item_count))
