"""``failed.jsonl``: one JSON object for each item that failed, and one for each mini-batch that returned too little.

In input order.  Written beside its final name and renamed, so what stands there is always complete, and always of the
last run: a run without failures leaves an empty file.  ASCII only; file names that are not UTF-8 are escaped
(``\\udcXX``), as ``json.loads`` and then ``os.fsencode`` give them back.

An object for a failed item has ``kind`` (``exception``, ``contract``, ``died``, ``timeout``, ``memory``), ``item``,
``mini_batch``, ``attempts``, ``error_type``, ``message``, ``traceback``, ``signal``, ``exit_code``, ``worker``,
``pid``, ``output_tail``.  ``mini_batch`` is the number of the mini-batch of the step's grid that the item is in,
whatever else was given to ``run()`` with it.  ``attempts`` is how often the item was given to ``run()``, with others or
alone; the rest is of the last time, which was alone if failures are isolated.

``item`` is the path of a file.  A row of a table has an object there: its ``file``, the ``row`` in it, counted from 0,
and in ``bytes`` where the rows begin and end that have failed together, if anybody can tell; or the ``keys`` that its
mini-batch has in common, and the ``row`` of that.  Rows together have ``rows``: the first, and the one after the last.

An object for a mini-batch that fell short, or a part of one, has ``kind`` (``shortfall``), ``mini_batch``,
``attempts``, ``returned_count``, ``missing_count``, ``candidates``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from batchflow._core import crc32c
from batchflow.model import Failure, FailureEntry, Shortfall
from batchflow.output.files import explained
from batchflow.output.replace import open_partial, replace_file
from batchflow.redaction import redact
from batchflow.temporary import partial_path

Name: TypeAlias = str | Mapping[str, Any]
"""A file is known by its path."""
Names: TypeAlias = Callable[[int, int], Sequence[Name]]


def entry_of_failure(failure: Failure, mini_batch: int) -> FailureEntry:
    """All items of the failed dispatch are lost; ``mini_batch`` is the number that users see."""
    dispatch = failure.dispatch
    entry = {
        "mini_batch": mini_batch,
        "attempts": dispatch.attempt,
        "error_type": failure.error_type,
        "message": redact(failure.message),
        "traceback": redact(failure.traceback),
        "signal": failure.signal,
        "exit_code": failure.exit_code,
        "worker": failure.worker,
        "pid": failure.pid,
        "output_tail": redact(failure.output_tail),
    }
    return FailureEntry(dispatch.start, dispatch.count, failure.kind, entry)


def entry_of_shortfall(shortfall: Shortfall, mini_batch: int) -> FailureEntry:
    """Some of its items, nobody knows which, have no element in what came back."""
    entry = {
        "mini_batch": mini_batch,
        "attempts": shortfall.attempt,
        "returned_count": shortfall.returned_count,
        "missing_count": shortfall.missing_count,
    }
    return FailureEntry(shortfall.start, shortfall.item_count, "shortfall", entry)


def write_failures(path: Path, failures: Iterable[FailureEntry], items: Names, together: Names | None = None) -> int:
    """Write the list anew; returns the CRC-32C of the file.

    ``items(start, stop)`` names each of these items, ``together(start, stop)`` all of them, by default one by one.

    Raises ``ResourceError`` if it cannot be written.
    """
    partial, checksum = partial_path(path), 0
    with explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with open_partial(partial) as file:
            for failure in failures:
                names_of = together if together and failure.kind == "shortfall" else items
                names = names_of(failure.first_item, failure.first_item + failure.item_count)
                for entry in _entries(failure, names):
                    line = json.dumps(entry) + "\n"
                    file.write(line)
                    checksum = crc32c(line.encode("ascii"), checksum)
            replace_file(file, partial, path)
    return checksum


def _entries(failure: FailureEntry, names: Sequence[Name]) -> Iterable[dict[str, object]]:
    if failure.kind == "shortfall":
        return [{"kind": failure.kind, **failure.entry, "candidates": list(names)}]
    return ({"kind": failure.kind, "item": name, **failure.entry} for name in names)
