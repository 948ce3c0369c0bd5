"""Why a text file is not split, and what is said about one that is.  Pure."""

from __future__ import annotations

from collections.abc import Sequence

from batchflow.errors import DatasetError
from batchflow.tables.options import TableOptions

NO_QUOTES = 'quote = ""'
_UTF_16 = "UTF-16 has them: iconv -f UTF-16 -t UTF-8 makes a file that is read; from others take them out"


def refusal(path: str, options: TableOptions, kind: str, offset: int, line: int) -> DatasetError:
    """The error for a problem of ``_core``."""
    place = _place(line, offset)
    field = "record" if options.format == "jsonl" else "field"
    what, hint = {
        "NUL byte": (f"there is a NUL byte at {place}", _UTF_16),
        "unclosed quote": (
            f"the quote at {place} is never closed",
            f"close it, or, where quotes are characters as others, declare {NO_QUOTES}",
        ),
        "long field": (
            f"the {field} that begins at {place} is longer than field_size_max={options.field_size_max} bytes",
            "a quote is missing there, or field_size_max is too small",
        ),
        "escape after quote": (
            f"behind a closing quote there is an escape, at {place}, which one reader takes as an escape and another "
            "as a character",
            "a delimiter or a line break should stand there",
        ),
        "escape at end": (f"it ends with an escape, at {place}, that has nothing to escape", "take it out"),
        "changed": (
            f"it was written to meanwhile, seen at byte {offset:,}",
            "run again when nothing writes to it any more",
        ),
    }[kind]
    return DatasetError(f"cannot split {path}: {what}", hint=hint)


def bare_quotes_warning(path: str, places: Sequence[tuple[int, int]], count: int, *, is_escaped: bool) -> str:
    """``places``: ``(byte offset, line)`` of the first of ``count`` quotes in fields without; ``is_escaped``: a
    backslash stands before the first.
    """
    offset, line = places[0]
    others = "" if count == 1 else f", and {count - 1:,} more like it"
    cure = '; if the backslash before it is an escape, declare escape = "\\\\"' if is_escaped else ""
    return (
        f"{path}: a quote in a field that does not begin with one, at {_place(line, offset)}{others}: taken as a "
        f"character, as Python's csv does{cure}"
    )


def _place(line: int, offset: int) -> str:
    return f"line {line:,} (byte {offset:,})"
