"""What isolation has saved of mini-batches, in memory, until all their parts are decided."""

from __future__ import annotations

from typing import NamedTuple

OVERHEAD_SIZE = 256
"""Bytes accounted for a piece over and above its columns and rows."""


class Piece(NamedTuple):
    """The result of one part, as ``Gather.put`` takes it: ``rows`` as bytes, ``columns`` names what is in them."""

    start: int
    item_count: int
    returned: int
    columns: bytes
    rows: bytes

    @property
    def names_columns(self) -> bool:
        return bool(self.columns and self.rows)

    @property
    def size(self) -> int:
        return len(self.columns) + len(self.rows) + OVERHEAD_SIZE


class Pieces:
    """By mini-batch.  Invariant: ``held_bytes`` is the size of all that is kept."""

    def __init__(self) -> None:
        self._pieces: dict[int, list[Piece]] = {}
        self._attempts: dict[int, int] = {}
        self.held_bytes = 0

    def keep(self, mini_batch_index: int, attempt: int, piece: Piece) -> None:
        self._pieces.setdefault(mini_batch_index, []).append(piece)
        self._attempts[mini_batch_index] = max(attempt, self._attempts.get(mini_batch_index, 0))
        self.held_bytes += piece.size

    def take(self, mini_batch_index: int) -> tuple[int, list[Piece]]:
        """All that is kept of it, in the order of the items, and the highest attempt of it; then nothing is kept."""
        pieces = self._pieces.pop(mini_batch_index, [])
        self.held_bytes -= sum(piece.size for piece in pieces)
        return self._attempts.pop(mini_batch_index, 0), sorted(pieces)

    @property
    def mini_batches(self) -> list[int]:
        """Of which anything is kept, ascending."""
        return sorted(self._pieces)

    def columns(self, mini_batch_index: int) -> bytes:
        """The columns of what is kept of it, which are the same for all that name any; empty if none does."""
        pieces = self._pieces.get(mini_batch_index, [])
        return next((piece.columns for piece in pieces if piece.names_columns), b"")
