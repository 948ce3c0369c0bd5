"""Why a pattern matched nothing, as far as a short look can tell, in one line.

Looks at no more than a few thousand names of one folder, and never fails: what cannot be looked at gives no hint.
"""

from __future__ import annotations

import contextlib
import difflib
import os
from collections import Counter
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from batchflow.patterns import FilePattern

_LOOKED_AT_MAX = 5000


def printable(path: bytes) -> str:
    r"""The path for a message: bytes that are not UTF-8 as ``\xNN``, control characters escaped."""
    text = path.decode("utf-8", "backslashreplace")
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in text)


def hint_for_no_match(patterns: Sequence[FilePattern], skipped_hidden: int, skipped_special: int) -> str | None:
    """The likeliest cause, or None."""
    if skipped_hidden:
        return f"{skipped_hidden} hidden names were passed over; only a component that starts with a dot matches them"
    if skipped_special:
        return f"{skipped_special} FIFOs, sockets or devices were passed over; only regular files are items"
    for pattern in patterns:
        missing = _first_missing(pattern)
        if missing is not None:
            return f"{printable(os.fsencode(missing.parent))} is the nearest folder that exists"
    return next((hint for pattern in patterns if (hint := _what_is_there(pattern.root_path)) is not None), None)


def missing_folder(patterns: Sequence[FilePattern]) -> str | None:
    """Which folder above a pattern's first wildcard does not exist, and which one beside it may have been meant."""
    missing = next((one for pattern in patterns if (one := _first_missing(pattern)) is not None), None)
    if missing is None:
        return None
    names: list[str] = []
    with contextlib.suppress(OSError), os.scandir(missing.parent) as entries:
        names = [entry.name for entry in islice(entries, _LOOKED_AT_MAX) if entry.is_dir()]
    near = difflib.get_close_matches(missing.name, names, n=1)
    suggestion = f", did you mean {printable(os.fsencode(near[0]))}?" if near else ""
    return f"there is no folder {printable(os.fsencode(missing))}{suggestion}"


def _first_missing(pattern: FilePattern) -> Path | None:
    """The outermost folder of the pattern's root that does not exist."""
    folder = Path(os.fsdecode(pattern.root_path))
    return next((one for one in reversed((folder, *folder.parents)) if not one.is_dir()), None)


def _what_is_there(folder: bytes) -> str | None:
    suffixes: Counter[str] = Counter()
    folder_count = 0
    try:
        with os.scandir(folder) as entries:
            for entry in islice(entries, _LOOKED_AT_MAX):
                if entry.is_dir():
                    folder_count += 1
                else:
                    suffixes[printable(os.fsencode(Path(os.fsdecode(entry.name)).suffix))] += 1
    except OSError:
        return None
    kinds = ", ".join(f"{count} {suffix or 'without extension'}" for suffix, count in suffixes.most_common(4))
    if kinds:
        return f"{printable(folder)} holds {kinds}"
    if folder_count:
        return f"{printable(folder)} holds {folder_count} folders and no files; ** looks into all of them"
    return f"{printable(folder)} is empty"
