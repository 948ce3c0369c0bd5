"""``failed.jsonl``: one JSON object for each item that failed, and one for each mini-batch that returned too little.

Written beside its final name and renamed on ``close``, so what stands there is always complete, and always of the last
run: a run without failures leaves an empty file.  ASCII only; file names that are not UTF-8 are escaped (``\\udcXX``),
as ``json.loads`` and then ``os.fsencode`` give them back.

An object for a failed item has ``kind`` (``exception``, ``contract``, ``died``, ``timeout``), ``item``, ``mini_batch``,
``attempts``, ``error_type``, ``message``, ``traceback``, ``signal``, ``exit_code``, ``worker``, ``pid``,
``output_tail``; for a mini-batch that fell short ``kind`` (``shortfall``), ``mini_batch``, ``attempts``,
``returned_count``, ``missing_count``, ``candidates``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TextIO

from batchflow.model import Failure, Shortfall
from batchflow.output.replace import explained, partial_path, replace_file


class FailureLog:
    """Open from construction until ``close``; a context manager.

    Raises ``ResourceError`` if the file cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._partial = partial_path(path)
        self.item_count = 0
        """Failed items written; those missing in shortfalls are included."""
        with explained(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file: TextIO = self._partial.open("w", encoding="ascii", newline="\n")

    def add_failure(self, failure: Failure, items: Iterable[str]) -> None:
        """All ``items`` of the mini-batch failed, with the last attempt's ``failure``."""
        common = {
            "mini_batch": failure.dispatch.mini_batch_index,
            "attempts": failure.dispatch.attempt,
            "error_type": failure.error_type,
            "message": failure.message,
            "traceback": failure.traceback,
            "signal": failure.signal,
            "exit_code": failure.exit_code,
            "worker": failure.worker,
            "pid": failure.pid,
            "output_tail": failure.output_tail,
        }
        for item in items:
            self._write({"kind": failure.kind, "item": item} | common)
            self.item_count += 1

    def add_shortfall(self, shortfall: Shortfall, items: Sequence[str]) -> None:
        """Some of ``items``, nobody knows which, have no element in what the mini-batch returned."""
        self._write(
            {
                "kind": "shortfall",
                "mini_batch": shortfall.mini_batch_index,
                "attempts": shortfall.attempt,
                "returned_count": shortfall.returned_count,
                "missing_count": shortfall.missing_count,
                "candidates": list(items),
            }
        )
        self.item_count += shortfall.missing_count

    def _write(self, entry: dict[str, object]) -> None:
        with explained(self._path):
            self._file.write(json.dumps(entry) + "\n")

    def close(self) -> None:
        """Give the file its name; a second call does nothing."""
        if not self._file.closed:
            with explained(self._path):
                replace_file(self._file, self._partial, self._path)

    def __enter__(self) -> FailureLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
        else:
            with suppress(Exception):  # the first error is the one to tell
                self.close()
