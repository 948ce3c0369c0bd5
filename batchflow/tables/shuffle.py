"""All rows with equal keys side by side, whatever the size of the table: an external sort.

    pieces of the input → sorted runs, each as large as memory allows → one file, key after key

Keys are in ascending order, missing ones (null and NaN are one key) at the end; the rows of a key are in the order of
the input.  Each key is one piece of the file: bytes that ``partition_reader`` makes rows of.

Runs in the scout; the driver only asks what is there.  Invariant: a result is found only if it is complete, was made of
the same input, and has as many rows.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batchflow.errors import ROOM_HINT, BatchflowError, DatasetError, NoRoomError, ResourceError
from batchflow.private import create_private, make_private_folder, open_regular, remove

if TYPE_CHECKING:
    import pyarrow as pa

MEMORY = 256 << 20
"""Bytes that the rows held at a time may take, by and large; the libraries come on top of it."""
ROWS, RUNS, RESULT = "rows", "runs", "result.json"
"""Files in the folder: the rows by key, what is sorted of them so far, and, when all is complete, what there is."""
_VERSION = 1
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


def shuffle(job: Mapping[str, Any], say: Callable[[str], None]) -> dict[str, Any]:
    """Do the job, or find it done.

    ``job``: options, schema, paths; pieces as ``[file, begin, end, row count]``, in the order of the input; keys, the
    columns; folder, which nobody else uses; identity, a text that tells this input from others; memory in bytes.
    ``say`` is told each file before it is read.  Returns path, pieces as ``[begin, end, row count]`` in bytes of it,
    keys as one object of JSON values for each piece, and row_count.

    Where that fails, error, hint and kind, for ``checked``.
    """
    try:
        return find(Path(job["folder"]), job["identity"]) or _shuffled(job, say)
    except BatchflowError as error:
        return {"error": error.message, "hint": error.hint, "kind": type(error).__name__}


def checked(result: dict[str, Any]) -> dict[str, Any]:
    """What ``shuffle`` returned, if that is no failure.

    Raises ``DatasetError`` if the rows cannot be read or have no such keys, ``ResourceError`` if the machine gave out.
    """
    if "error" not in result:
        return result
    kinds: Mapping[str, type[BatchflowError]] = {"NoRoomError": NoRoomError, "ResourceError": ResourceError}
    raise kinds.get(result["kind"], DatasetError)(result["error"], hint=result["hint"])


def _shuffled(job: Mapping[str, Any], say: Callable[[str], None]) -> dict[str, Any]:
    from batchflow.tables.options import TableOptions
    from batchflow.tables.reading import PieceReader
    from batchflow.tables.schema import Schema

    reader = PieceReader(TableOptions.from_json(job["options"]), Schema.from_json(job["schema"]), "arrow")

    def tables() -> Iterator[pa.Table]:
        last = -1
        for file, begin, end, row_count in job["pieces"]:
            if file != last:
                say(json.dumps({"path": job["paths"][file]}))
                last = file
            yield reader.read(job["paths"][file], begin, end, row_count, 0, row_count)

    row_count = sum(piece[3] for piece in job["pieces"])
    memory = job.get("memory", MEMORY)
    return partition(tables(), job["keys"], Path(job["folder"]), job["identity"], row_count, memory=memory)


def partition(
    tables: Iterable[pa.Table],
    keys: Sequence[str],
    folder: Path,
    identity: str,
    row_count: int,
    *,
    memory: int = MEMORY,
) -> dict[str, Any]:
    """The same of tables of one schema that have ``row_count`` rows together.

    Raises ``DatasetError`` and ``ResourceError``.
    """
    from batchflow.tables.runs import Runs

    with _explained(folder):
        discard(folder)
        make_private_folder(folder)
        with contextlib.closing(Runs(folder / RUNS, keys, memory)) as runs:
            for table in tables:
                runs.add(table)
            with os.fdopen(create_private(folder / ROWS), "wb") as file:
                pieces, values = runs.merge(file)
                file.flush()
                os.fsync(file.fileno())
        remove(folder / RUNS)
        written = sum(rows for _, _, rows in pieces)
        if written != row_count:
            raise DatasetError(f"{row_count:,} rows came to be split by their keys, and {written:,} were")
        result = {"path": str(folder / ROWS), "pieces": pieces, "keys": values, "row_count": written}
        _finish(folder, {"version": _VERSION, "identity": identity, "size": (folder / ROWS).stat().st_size, **result})
        return result


def find(folder: Path, identity: str) -> dict[str, Any] | None:
    """What ``shuffle`` has made there of this input, if that is complete."""
    try:
        with open_regular(folder / RESULT) as file:
            found = json.load(file)
        size = (folder / ROWS).stat().st_size
        if (found.pop("version"), found.pop("identity"), found.pop("size")) != (_VERSION, identity, size):
            return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    # The folder may have been moved.
    return {**found, "path": str(folder / ROWS)}


def discard(folder: Path) -> None:
    """Remove what is there, complete or not.  Raises ``OSError``."""
    with contextlib.suppress(FileNotFoundError):
        # First of all what says that the rest is complete.
        (folder / RESULT).unlink()
    remove(folder)


def _finish(folder: Path, found: Mapping[str, Any]) -> None:
    """Say that all is complete, once that is so on the disk as well."""
    partial = folder / f"{RESULT}.partial"
    with os.fdopen(create_private(partial), "w", encoding="ascii") as file:
        json.dump(found, file)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(folder / RESULT)
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _explained(folder: Path) -> Iterator[None]:
    """Errors of the operating system as ours; what is there of no use is removed."""
    try:
        yield
    except BaseException as error:
        with contextlib.suppress(OSError):
            discard(folder)
        if isinstance(error, OSError):
            message = f"cannot sort the rows by their keys in {folder}: {error.strerror or error}"
            if error.errno in _FULL:
                raise NoRoomError(message, hint=ROOM_HINT) from error
            raise ResourceError(message) from error
        raise
