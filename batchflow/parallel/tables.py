"""A table as the work of a step: rows found in its files, on all cores, while the zygote imports the script.

The driver finds where records of text files begin, and parses no value; what is in other files, and of which types
all of it is, a child finds out (``scouting``).  What was found is kept beside the journal.

Invariant: an index is believed only if it was made of files with these sizes and times, with these options.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import os
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from batchflow._core import Listing
from batchflow.control import StopLevel, StopRequest
from batchflow.data import list_files
from batchflow.errors import DatasetError, InterruptedRunError, ResourceError
from batchflow.parallel.inputs import Split
from batchflow.parallel.scouting import Scout
from batchflow.parallel.values import OverInput
from batchflow.tables.compressed import compression_of
from batchflow.tables.index import TableIndex
from batchflow.tables.options import TableOptions
from batchflow.tables.shuffle import ROWS, discard, find
from batchflow.tables.splitting import Pieces, find_records, split_file
from batchflow.text import count, safe_text
from batchflow.worker.inputs import describe_input
from batchflow.workflow.values import escape_pattern

_VERSION = 1
"""Of what makes an index: another one makes it again."""
_FILES_MAX = 1000
"""Files that a receipt counts one by one."""
_KEYED_SIZE = 8 << 20
"""Bytes of what is read at a time to be sorted by keys."""
_WAIT_S = 0.1


class _Read(NamedTuple):
    """A piece that was read to find rows in it, and where the last one found ends: they are asked for in order."""

    piece: int
    data: bytes
    row: int
    byte: int


class TableItems:
    """The rows of one table."""

    def __init__(
        self, over: OverInput, options: TableOptions, listing: Listing, index: TableIndex, keyed: Path | None = None
    ) -> None:
        """``keyed``: the folder of the rows by their keys, if the table is split by these."""
        self.name = over.name
        self.source = listing
        self.listing = listing if keyed is None else list_files((escape_pattern(str(keyed / ROWS)),))
        self._keyed = keyed
        self._options = options
        self._index = index
        self._read = _Read(-1, b"", 0, 0)

    @property
    def item_count(self) -> int:
        return self._index.row_count

    def cuts(self, split: Split) -> Iterable[int]:
        return self._index.first_rows[:-1]

    def names(self, start: int, stop: int) -> Sequence[Mapping[str, Any]]:
        found = []
        for one in self.candidates(start, stop):
            first, last = one["rows"]
            of = {name: value for name, value in one.items() if name != "rows"}
            found += [{**of, "row": row} for row in range(first, last)]
        return found

    def candidates(self, start: int, stop: int) -> Sequence[Mapping[str, Any]]:
        """A file, its rows counted from 0, and the bytes that hold them, if anybody can read these."""
        found: list[dict[str, Any]] = []
        entry: dict[str, Any]
        while start < stop:
            number = self._index.place(start)
            piece = self._index.piece(number)
            end = min(stop, piece.first_row + piece.row_count)
            if self._index.has_keys:
                first, entry = piece.first_row, {"keys": self._index.keys(number)}
            else:
                first, _ = self._index.rows_of(piece.file)
                entry = {"file": self.listing.path(piece.file)}
            entry["rows"] = [start - first, end - first]
            found.append(entry | self._bytes(number, start - piece.first_row, end - start))
            start = end
        return found

    def _bytes(self, number: int, skip: int, row_count: int) -> dict[str, list[int]]:
        piece = self._index.piece(number)
        path = self.listing.path(piece.file)
        if self._options.format not in ("csv", "jsonl") or compression_of(path) or self._index.has_keys:
            return {}
        last = self._read
        if last.piece != number or last.row > skip:
            data = b""
            with contextlib.suppress(OSError), Path(path).open("rb", buffering=0) as file:
                data = os.pread(file.fileno(), piece.end - piece.begin, piece.begin)
            last = _Read(number, data, 0, 0)
        with contextlib.suppress(ValueError):  # the file is not as it was
            begin, end = find_records(last.data[last.byte :], self._options, skip - last.row, row_count)
            begin, end = last.byte + begin, last.byte + end
            self._read = last._replace(row=skip + row_count, byte=end)
            return {"bytes": [piece.begin + begin, piece.begin + end]}
        return {}

    def told(self, start: int, stop: int) -> str:
        one = next(iter(self.candidates(start, stop)))
        where = safe_text(one["file"]) if "file" in one else ", ".join(f"{k}={v}" for k, v in one["keys"].items())
        first, last = one["rows"]
        rows = f"row {first:,}" if last - first == 1 else f"rows {first:,} to {last - 1:,}"
        place = "" if "bytes" not in one else f", bytes {one['bytes'][0]:,} to {one['bytes'][1]:,}"
        return f"{where}, {rows}{place}"

    def describe(self) -> tuple[dict[str, Any], tuple[int, ...]]:
        return describe_input(self.name, self.listing, self._index, None)

    def counted(self, failed: Mapping[int, int]) -> dict[str, Any]:
        found: dict[str, Any] = {"items": self.item_count, "failed": sum(failed.values())}
        file_count = self.listing.item_count
        if file_count <= _FILES_MAX and not self._index.has_keys:
            rows = (self._index.rows_of(file) for file in range(file_count))
            found["files"] = [
                {"file": self.listing.path(file), "rows": stop - start, "failed": failed.get(file, 0)}
                for file, (start, stop) in enumerate(rows)
            ]
        return found

    def file_of(self, item: int) -> tuple[int, int]:
        file = self._index.piece(self._index.place(item)).file
        return file, self._index.rows_of(file)[1]

    def discard(self) -> None:
        if self._keyed is not None:
            with contextlib.suppress(OSError):
                discard(self._keyed)

    def close(self) -> None:
        self._index.close()


class TableOpener:
    """Makes the index of one table, or takes the one that an earlier run made; ``open`` once."""

    def __init__(
        self,
        over: OverInput,
        listing: Listing,
        split: Split,
        path: Path,
        log_path: Path,
        cores: int,
        *,
        stop: StopRequest,
        say: Callable[[str], None],
        notice: Callable[[str], None],
    ) -> None:
        """``path``: where the index is kept; ``log_path``: where what the scout prints goes."""
        self._over = over
        self._options: TableOptions = over.table  # type: ignore[assignment]
        self._listing = listing
        self._split = split
        self._path = path
        self._log_path = log_path
        self._cores = cores
        self._stop = stop
        self._say = say
        self._notice = notice

    def open(self) -> TableItems:
        """Raises ``DatasetError``, ``ResourceError``, ``InterruptedRunError``."""
        key = self._key()
        index = TableIndex.load(self._path)
        if index is None or index.header.get("key") != key or not self._has_rows_by_keys(key):
            index = self._make(key)
            with contextlib.suppress(OSError):  # the next run makes it again
                index.save(self._path)
        for warning in index.header["warnings"]:
            self._notice(warning)
        keyed = self._keyed_folder if self._split.keys else None
        return TableItems(self._over, self._options, self._listing, index, keyed)

    def _key(self) -> str:
        """Of all that an index is made from; the files' places count, so it is made again in a moved project."""
        made_from = [_VERSION, self._options.as_json(), self._split, self._listing.digest().hex()]
        return hashlib.sha256(json.dumps(made_from, sort_keys=True).encode()).hexdigest()

    @property
    def _keyed_folder(self) -> Path:
        return self._path.with_suffix(".keys")

    def _has_rows_by_keys(self, key: str) -> bool:
        """Whether the rows are still there that were put in the order of their keys; True where none have to be."""
        return not self._split.keys or find(self._keyed_folder, key) is not None

    def _make(self, key: str) -> TableIndex:
        self._say("finding rows")
        paths = self._listing.paths(0, self._listing.item_count)
        size, rows = (self._split.size if self._split.unit == unit else 0 for unit in ("bytes", "rows"))
        if self._split.keys:
            size = _KEYED_SIZE
        job = {"options": self._options.as_json(), "paths": paths, "size": size, "rows": rows}
        with contextlib.closing(Scout(job, self._log_path)) as scout:
            texts = [file for file, path in enumerate(paths) if self._is_splittable(path)]
            found = _split_files([paths[file] for file in texts], self._options, size, rows, self._cores, self._stop)
            self._check_unchanged(texts)
            result = scout.result(self._stop)
        pieces: Iterable[tuple[int, int, int, int]] = _in_order(
            dict(zip(texts, found, strict=True)), result["pieces"], len(paths)
        )
        warnings = [*(warning for one in found for warning in one.warnings), *result["warnings"]]
        header = {"key": key, "options": self._options.as_json(), "schema": result["schema"], "warnings": warnings}
        keys: Sequence[Mapping[str, Any]] | None = None
        if self._split.keys:
            pieces, keys = self._sorted_by_keys(job | {"schema": result["schema"], "pieces": list(pieces)}, key)
        try:
            index = TableIndex.build(pieces, header, keys)
        except OSError as error:
            raise ResourceError(f"cannot hold the index of {self._over.name} in memory: {error.strerror}") from error
        if not index.row_count:
            index.close()
            raise DatasetError(f"input {self._over.name} has no rows, in {count(len(paths), 'file')}")
        return index

    def _sorted_by_keys(
        self, job: Mapping[str, Any], key: str
    ) -> tuple[list[tuple[int, int, int, int]], list[Mapping[str, Any]]]:
        """The rows of each key as a piece of one file, and the keys."""
        self._say("sorting rows by their keys")
        folder = str(self._keyed_folder)
        more = {"keys": list(self._split.keys), "folder": folder, "identity": key}
        with contextlib.closing(Scout({**job, **more}, self._log_path)) as scout:
            result = scout.result(self._stop)
        return [(0, *piece) for piece in result["pieces"]], result["keys"]

    def _is_splittable(self, path: str) -> bool:
        return self._options.format in ("csv", "jsonl") and compression_of(path) is None

    def _check_unchanged(self, files: Iterable[int]) -> None:
        for file in files:
            path = self._listing.path(file)
            now = Path(path).stat()
            if (now.st_size, now.st_mtime_ns) != (self._listing.size(file), self._listing.mtime_ns(file)):
                raise DatasetError(
                    f"{safe_text(path)} changed while its rows were looked for",
                    hint="run again when nothing writes there",
                )


def _in_order(
    found: Mapping[int, Pieces], others: Iterable[tuple[int, int, int, int]], file_count: int
) -> Iterator[tuple[int, int, int, int]]:
    """File, begin, end and row count of the pieces of all files; ``others``: of files that have none in ``found``."""
    rest: defaultdict[int, list[tuple[int, int, int, int]]] = defaultdict(list)
    for file, begin, end, row_count in others:
        rest[file].append((file, begin, end, row_count))
    for file in range(file_count):
        if file in found:
            one = found[file]
            yield from zip(itertools.repeat(file), one.begins, one.ends, one.counts, strict=False)
        else:
            yield from rest[file]


def _split_files(
    paths: Sequence[str], options: TableOptions, size: int, rows: int, cores: int, stop: StopRequest
) -> list[Pieces]:
    """The pieces of each file; several files at a time, or several threads for one.

    In threads that nobody waits for when the run is stopped: a large file takes its time.
    """
    thread_count = min(cores, len(paths)) if len(paths) >= cores else 1
    threads_each = 1 if len(paths) >= cores else cores
    found: dict[int, Pieces | BaseException] = {}
    waiting = iter(range(len(paths)))

    def work() -> None:
        for number in waiting:
            if stop.level > StopLevel.NONE:
                return
            try:
                found[number] = split_file(paths[number], options, size=size, rows=rows, threads=threads_each)
            except BaseException as error:
                found[number] = error
                return

    threads = [threading.Thread(target=work, daemon=True) for _ in range(thread_count)]
    for thread in threads if stop.level == StopLevel.NONE else ():
        thread.start()
    for thread in threads:
        while thread.is_alive() and stop.level == StopLevel.NONE:
            thread.join(_WAIT_S)
    if stop.level > StopLevel.NONE:
        raise InterruptedRunError("stopped while looking for rows", signal_number=stop.signal_number)
    for number in sorted(found):
        if isinstance(one := found[number], BaseException):
            raise one
    return [one for number in range(len(paths)) if isinstance(one := found[number], Pieces)]
