"""Random files, and what is asked about them.  A case depends on its seed and the corpus alone."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from batchflow import _core

from .oracle import Bytes, Dialect, complaint

CORPUS = Path(__file__).parent / "corpus"
GRAINS = (64, 128, 16384)
TOKENS = (
    *(b"a", b"bc", b"1", b" ", b"x" * 61, b"\xc3\xa9", b"\xef\xbb\xbf", b"\xff"),
    *(
        b"D",
        b"D",
        b"D",
        b"Q",
        b"Q",
        b"QQ",
        b"DQ",
        b"QD",
        b"N",
        b"N",
        b"\n",
        b"\r",
        b"\r\n",
        b"QN",
        b"NQ",
        b"E",
        b"EQ",
        b"EN",
    ),
    *(b"Qa\nbQ", b"Q,Q", b"QaQQbQ", b"aQb", b"Q Q", b"{", b'{"a":1}\n', b"\t", b"|"),
)
"""``D``, ``Q``, ``E`` and ``N`` stand for the dialect's delimiter, quote, escape and a line break."""
BREAKS = (b"\n", b"\r\n", b"\r", b"\n\r", b"\n\n")


@dataclass(frozen=True)
class Case:
    """One question; ``str(case)`` asks it again."""

    data: bytes
    dialect: Dialect
    size: int
    rows: int
    grain: int
    scan: str
    threads: int

    def complaint(self, file: Bytes) -> str:
        """What is wrong with the answer; empty if nothing is."""
        found = _core.split_records(
            file.put(self.data),
            0,
            len(self.data),
            size=self.size,
            rows=self.rows,
            grain=self.grain,
            scan=self.scan,
            threads=self.threads,
            **self.dialect.for_core(),
        )
        return complaint(self.data, self.dialect, found, size=self.size, rows=self.rows)


def read_corpus() -> list[bytes]:
    return [path.read_bytes() for path in sorted(CORPUS.iterdir())]


def make_case(seed: int, corpus: Sequence[bytes]) -> Case:
    chance = random.Random(seed)
    dialect = make_dialect(chance)
    if chance.random() < 0.3:
        data = mutated(chance, chance.choice(corpus))
    else:
        data = b"".join(chance.choices(TOKENS, k=chance.choice((3, 10, 30, 90))))
    data = spelled(data, dialect, chance.choice(BREAKS))
    if chance.random() < 0.02:
        place = chance.randrange(len(data) + 1)
        data = data[:place] + b"\0" + data[place:]
    rows = chance.choice((0, 0, 0, 1, 2, 5))
    return Case(
        data=data,
        dialect=dialect,
        size=0 if rows else chance.choice((0, 1, chance.randint(1, 70), chance.randint(1, len(data) + 2))),
        rows=rows,
        grain=chance.choice(GRAINS),
        scan=chance.choice(_core.RECORD_SCANS),
        threads=1,
    )


def make_dialect(chance: random.Random) -> Dialect:
    limit = chance.choice((1 << 20, 1 << 20, 1 << 20, 300, 20))
    if chance.random() < 0.1:
        return Dialect(lines=True, field_size_max=limit)
    return Dialect(
        delimiter=chance.choice((",", ",", ";", "\t", "|")),
        quote=chance.choice(('"', '"', '"', "'", None)),
        escape=chance.choice((None, None, None, "\\")),
        field_size_max=limit,
    )


def mutated(chance: random.Random, data: bytes) -> bytes:
    """``data`` with some tokens put in, and some bytes taken out or doubled."""
    for _ in range(chance.randint(0, 4)):
        place = chance.randrange(len(data) + 1)
        end = min(len(data), place + chance.randint(0, 8))
        data = data[:place] + chance.choice((b"", data[place:end] * 2, chance.choice(TOKENS))) + data[end:]
    return data


def spelled(data: bytes, dialect: Dialect, line_break: bytes) -> bytes:
    """Put the dialect's characters where their letters stand."""
    for letter, mark in (("D", dialect.delimiter), ("Q", dialect.quote or '"'), ("E", dialect.escape or "\\")):
        data = data.replace(letter.encode(), mark.encode())
    return data.replace(b"N", line_break)
