"""``failed.jsonl``: one JSON object for each item that failed, and one for each mini-batch that returned too little.

In input order.  Written beside its final name and renamed, so what stands there is always complete, and always of the
last run: a run without failures leaves an empty file.  ASCII only; file names that are not UTF-8 are escaped
(``\\udcXX``), as ``json.loads`` and then ``os.fsencode`` give them back.

An object for a failed item has ``kind`` (``exception``, ``contract``, ``died``, ``timeout``, ``memory``), ``item``,
``mini_batch``, ``attempts``, ``error_type``, ``message``, ``traceback``, ``signal``, ``exit_code``, ``worker``,
``pid``, ``output_tail``.  ``mini_batch`` is the number of the mini-batch of the step's grid that the item is in,
whatever else was given to ``run()`` with it.  ``attempts`` is how often the item was given to ``run()``, with others or
alone; the rest is of the last time, which was alone if failures are isolated.

An object for a mini-batch that fell short, or a part of one, has ``kind`` (``shortfall``), ``mini_batch``,
``attempts``, ``returned_count``, ``missing_count``, ``candidates``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from batchflow._core import crc32c
from batchflow.model import Failure, FailureEntry, Shortfall
from batchflow.output.files import explained
from batchflow.output.replace import open_partial, replace_file
from batchflow.redaction import redact
from batchflow.temporary import partial_path


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


def write_failures(path: Path, failures: Iterable[FailureEntry], items: Callable[[int, int], Sequence[str]]) -> int:
    """Write the list anew; ``items(start, stop)`` names items.  Returns the CRC-32C of the file.

    Raises ``ResourceError`` if it cannot be written.
    """
    partial, checksum = partial_path(path), 0
    with explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with open_partial(partial) as file:
            for failure in failures:
                names = items(failure.first_item, failure.first_item + failure.item_count)
                for entry in _entries(failure, names):
                    line = json.dumps(entry) + "\n"
                    file.write(line)
                    checksum = crc32c(line.encode("ascii"), checksum)
            replace_file(file, partial, path)
    return checksum


def _entries(failure: FailureEntry, names: Sequence[str]) -> Iterable[dict[str, object]]:
    if failure.kind == "shortfall":
        return [{"kind": failure.kind, **failure.entry, "candidates": list(names)}]
    return ({"kind": failure.kind, "item": name, **failure.entry} for name in names)
