"""Tables for the runs: made once from a seed, kept below one folder, used only when complete."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path

from benchmarks.data import draft_of

COLUMNS = ("id", "note", "price", "kind", "name", "flag")
WORDS = ("apple", "river", "stone", "cloud", "amber", "night", "paper", "green", "quiet", "seven")
BLOCK_SIZE = 16 << 20


@dataclass(frozen=True)
class Table:
    """A CSV file with a header."""

    path: Path
    size: int
    row_count: int


def quoted_table(data: Path, size: int) -> Table:
    """A CSV file of about ``size`` bytes: of its notes, which are all quoted, one in ten has two line breaks in quotes,
    one in ten doubled quotes and one in five a delimiter.
    """
    folder = data / f"table-{size}"
    if not folder.is_dir():
        draft = draft_of(folder)
        block, row_count = quoted_block(min(size, BLOCK_SIZE))
        count = max(1, round(size / len(block)))
        with (draft / "table.csv").open("wb") as file:
            file.write(",".join(COLUMNS).encode() + b"\n")
            for _ in range(count):
                file.write(block)
        (draft / "row_count").write_text(str(count * row_count))
        draft.rename(folder)
    path = folder / "table.csv"
    return Table(path, path.stat().st_size, int((folder / "row_count").read_text()))


def quoted_block(size: int) -> tuple[bytes, int]:
    """Some rows, and how many they are."""
    chance = random.Random(7)
    rows: list[str] = []
    total = 0
    while total < size:
        note = " ".join(chance.choices(WORDS, k=chance.randint(3, 12)))
        kind = chance.random()
        if kind < 0.1:
            note = note.replace(" ", "\n", 2)
        elif kind < 0.2:
            note = note.replace(" ", ' ""so"" ', 1)
        elif kind < 0.4:
            note = note.replace(" ", ", ", 1)
        price, name = chance.random() * 1000, f'"{chance.choice(WORDS)} {len(rows)}"'
        rows.append(
            f'{chance.randrange(10**9)},"{note}",{price:.3f},{chance.choice(WORDS)},{name},{chance.randrange(2)}\n'
        )
        total += len(rows[-1])
    return "".join(rows).encode(), len(rows)


def warm(path: str) -> None:
    """Bring a file's pages into memory, a little at a time."""
    with Path(path).open("rb", buffering=0) as file:
        while file.read(1 << 20):
            pass
