"""Text by means of the csv module, lines ended with a newline; a carriage return is quoted whatever the Python."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from batchflow.errors import ContractError


class TextFile(Protocol):
    """What the csv module writes to."""

    def write(self, text: str, /) -> int: ...


def csv_text(rows: Sequence[Sequence[Any]], delimiter: str) -> str:
    return written(lambda file, end: csv.writer(file, delimiter=delimiter, lineterminator=end).writerows(rows))


def written(write: Callable[[TextFile, str], None]) -> str:
    """What ``write(file, line_terminator)`` writes by means of the csv module.

    Before Python 3.13 the module quotes a carriage return in a field only if it is part of the terminator.
    """
    try:
        buffer = io.StringIO(newline="")
        write(buffer, "\n")
        text = buffer.getvalue()
        if "\r" not in text or sys.version_info >= (3, 13):
            return text
        lines = _Lines()
        write(lines, "\r\n")
        return lines.text()
    except csv.Error as error:
        # Python 3.10 cannot write a NUL.
        raise ContractError(f"what run() returned cannot be written as csv: {error}") from None


class _Lines:
    """A file for the csv module, which writes each row with one call, that turns the final CR LF of it into LF."""

    def __init__(self) -> None:
        self._lines: list[str] = []

    def write(self, text: str, /) -> int:
        self._lines.append(text[:-2] + "\n")
        return len(text)

    def text(self) -> str:
        return "".join(self._lines)
