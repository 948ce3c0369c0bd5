"""Hostile CSV and JSON Lines files, generated: what is wrong × delimiter × quote × line break × byte order mark.

Each case is named, has its bytes, how it is written, and the reason for which it must be refused; empty: it must be
split.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from fuzz.oracle import Dialect

MARK = b"\xef\xbb\xbf"
BREAKS = {"lf": "\n", "crlf": "\r\n", "cr": "\r", "mixed": ""}
DELIMITERS = {"comma": ",", "semicolon": ";", "tab": "\t", "bar": "|"}
BORDER = 64
"""Bytes that the core looks at together where a test wants as few as possible."""

# D, Q, E and N stand for delimiter, quote, escape and line break; F fills up to the last byte before a border, G to the
# one before.
SPLIT = {
    "plain": "aDbN1D2N3D4N",
    "no final break": "aDbN1D2N3D4",
    "one row, no break": "aDb",
    "one column": "aNbNcN",
    "quoted break": "1DQaNbQN2DcN",
    "quoted breaks alone": "QNNNQNQNQN",
    "quoted delimiter": "1DQaDbQN2DcN",
    "doubled quotes": "1DQaQQbQN2DQQQQN3DQQNQQN",
    "doubled quotes at breaks": "QQQNQQQNQaQQNQQbQN",
    "empty fields": "DDNDDNQQDQQDN",
    "quoted all": "QaQDQbQNQ1QDQ2QN",
    "blank lines": "NNNaDbNNN1D2NNNN",
    "only breaks": "NNNN",
    "nothing": "",
    "spaces": "  N aDb N  D  N",
    "space before a quote": "1D QaQN2D QbQ N",
    "bare quote": "1D5Q pipeN2DbN",
    "bare quotes in pairs": "aQbDcQdN1D2N",
    "text behind a closing quote": "QaQbDcNQaQbQcDdN",
    "bare quote, quoted break": "5QDaNQbNcQDdN",
    "bare quote before a border": "F5QDQaNbQNcDdN",
    "ragged": "aDbN1N1D2D3NDDDN",
    "byte order mark inside": "aDbN\ufeff1D2N",
    "letters of many bytes": "éDüN𝄞D€N",
    "not utf-8": "a\udcffDbN\udc80\udcfeD2N",
    "escape outside quotes": "aEDbDcN1DEQ2N",
    "escape in quotes": "QaEQDNbQDcN1D2N",
    "escaped break": "aENbDcN1D2N",
    "escaped escape": "aEEDbNQEEQD2N",
    "escape at a border": "FEDbNcDdN",
    "bare quote at a border": "FQaNbQDcN1D2N",
    "quote opens behind a border": "FDQaNbQDcN1D2N",
    "quote opens before a border": "GDQaNbQDcN1D2N",
    "quote closes at a border": "QFQDcN1D2N",
    "quotes on both sides of a border": "QFQQxNQDcN1D2N",
    "breaks on both sides of a border": "FNN1D2NN",
    "break ends at a border": "FaN1D2N",
    "long record": "1DQ" + "xN" * 150 + "QN2DbN",
    "a hundred columns": "D".join(["Q1Q", "2"] * 50) + "N" + "D" * 99 + "N",
}
REFUSED = {
    "nul": ("1DaN2D\0N3DcN", "NUL byte"),
    "nul in quotes": ("1DQa\0NbQN", "NUL byte"),
    "nul at a border": ("F\0N1D2N", "NUL byte"),
    "unclosed": ("1DaN2DQbN3DcN4DdN", "unclosed quote"),
    "unclosed last": ("1DaN2DQ", "unclosed quote"),
    "unclosed, doubled behind": ("1DaNQbQQcNQQ", "unclosed quote"),
    "unclosed over borders": ("1DaNFDQb" + "N" * 200, "unclosed quote"),
    "escape behind a quote": ("1DQaQEDbN", "escape after quote"),
    "escape at the end": ("1DaE", "escape at end"),
    "escape at the end in quotes": ("1DQaE", "unclosed quote"),
    "field too long": ("1D" + "x" * 301 + "N2DbN", "long field"),
    "quoted field too long": ("1DQ" + "xN" * 200 + "QN2DbN", "long field"),
    "last field too long": ("1DaN2D" + "x" * 301, "long field"),
}


@dataclass(frozen=True)
class Hostile:
    name: str
    data: bytes
    dialect: Dialect
    refused: str = ""
    has_mark: bool = False


def hostile_files() -> list[Hostile]:
    """Every text with every line break and every delimiter; quotes and marks take turns."""
    files = []
    texts = [(name, text, "") for name, text in SPLIT.items()]
    texts += [(name, text, reason) for name, (text, reason) in REFUSED.items()]
    for number, (name, text, reason) in enumerate(texts):
        for break_number, (break_name, line_break) in enumerate(BREAKS.items()):
            for delimiter_number, (delimiter_name, delimiter) in enumerate(DELIMITERS.items()):
                turn = number + break_number + delimiter_number
                quote = '"' if turn % 3 else "'"
                dialect = Dialect(
                    delimiter=delimiter,
                    quote=quote,
                    escape="\\" if "escape" in name else None,
                    field_size_max=300 if "too long" in name else 1 << 20,
                )
                data = _spelled(text, dialect, line_break)
                has_mark = turn % 2 == 0
                title = f"{name}, {break_name}, {delimiter_name}{', mark' if has_mark else ''}"
                files.append(Hostile(title, (MARK if has_mark else b"") + data, dialect, reason, has_mark))
    return files


def _spelled(text: str, dialect: Dialect, line_break: str) -> bytes:
    parts = text.split("N")
    breaks = [line_break or ("\n", "\r\n", "\r")[index % 3] for index in range(len(parts) - 1)]
    text = "".join(part + one for part, one in zip(parts, [*breaks, ""], strict=True))
    for letter, mark in (("D", dialect.delimiter), ("Q", dialect.quote or '"'), ("E", dialect.escape or "\\")):
        text = text.replace(letter, mark)
    before, filled, behind = re.split("([FG]|$)", text, maxsplit=1)
    start = before.encode("utf-8", "surrogateescape")
    filler = b"f" * (BORDER - (1 if filled == "F" else 2) - len(start) % BORDER) if filled else b""
    return start + filler + behind.encode("utf-8", "surrogateescape")
