"""What batchflow remembers of a workflow between runs: one SQLite file, ``records.db``.

```
runs       one row for each run
attempts   how each step ended in each run that started it
successes  each step's last success: what it was made from (signature) and what it made (outputs)
claims     the output paths that this workflow writes
digests    code files already parsed, by size and mtime
```

Written only by the run that holds the workflow's lock.  A reader creates nothing and locks nothing.  Values reach SQL
as parameters only: paths as bytes, since a name need not be UTF-8; everything that has parts as JSON with a checksum
before it, so that a damaged value is noticed even where the page that holds it still looks sound.

Invariant: a success is recorded after its outputs are published and durable, so a crash can only make a step run again.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from batchflow.errors import JournalError, RefusedError, ResourceError
from batchflow.journal.state_folder import make_state_folder, open_private_file

RECORDS_NAME = "records.db"
FORMAT_VERSION = 1
_APPLICATION_ID = 0x62666C77  # "bflw"
_MAGIC = b"SQLite format 3\0"
_SCHEMA = (
    "CREATE TABLE runs (number INTEGER PRIMARY KEY, run_id TEXT NOT NULL UNIQUE, run TEXT NOT NULL)",
    "CREATE TABLE attempts (number INTEGER PRIMARY KEY, run_id TEXT NOT NULL, step TEXT NOT NULL,"
    " attempt TEXT NOT NULL, UNIQUE (run_id, step))",
    "CREATE TABLE successes (step TEXT PRIMARY KEY, success TEXT NOT NULL)",
    "CREATE TABLE claims (path BLOB PRIMARY KEY, step TEXT NOT NULL)",
    "CREATE TABLE digests (path BLOB NOT NULL, kind TEXT NOT NULL, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL,"
    " value TEXT NOT NULL, PRIMARY KEY (path, kind))",
)


@dataclass(frozen=True)
class Attempt:
    """How a step ended in one run; ``status`` is ``running``, ``done``, ``failed`` or ``interrupted``."""

    run_id: str
    step: str
    status: str
    elapsed_s: float
    error_type: str | None = None
    error: str | None = None
    hint: str | None = None
    receipt: Mapping[str, Any] | None = None
    signature: Mapping[str, Any] | None = None
    """What it was made from, if it did not succeed."""


@dataclass(frozen=True)
class Success:
    """The last success of a step; ``signature`` and ``outputs`` are plain JSON values."""

    step: str
    run_id: str
    elapsed_s: float
    signature: Mapping[str, Any]
    outputs: Mapping[str, Any]
    receipt: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class PastRun:
    """One run in the history; ``exit_code`` is None when it did not come to its end."""

    run_id: str
    started_at: str
    params: Mapping[str, Any]
    exit_code: int | None = None
    elapsed_s: float | None = None


@dataclass(frozen=True)
class Digest:
    """What was found in a code file of this size and mtime; ``value`` is JSON."""

    path: bytes
    kind: str
    size: int
    mtime_ns: int
    value: Mapping[str, Any] = field(compare=False)


class Records:
    """An open ``records.db``; made by ``open_for_run`` or ``open_for_reading``, a context manager that closes it."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._connection = connection
        self._path = path
        # FOLDER/.batchflow/STEM/records.db: claims are kept relative to FOLDER, so that it can be moved.
        self._folder = path.parents[2]

    @classmethod
    def open_for_run(cls, state_folder: Path) -> Records:
        """Open, and create if needed; the caller holds the workflow's lock.

        Raises ``JournalError`` if the file is damaged, foreign, or of a newer version.
        """
        make_state_folder(state_folder)
        path = state_folder / RECORDS_NAME
        os.close(open_private_file(path, os.O_RDWR))
        _check_header(path)
        with _translated(path):
            connection = _connect(path, path.as_uri())
            try:
                if _check(connection, path) == 0:
                    _create(connection)
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute("PRAGMA synchronous = NORMAL")
                _check_pages(connection, path)
            except BaseException:
                connection.close()
                raise
        return cls(connection, path)

    @classmethod
    def open_for_reading(cls, state_folder: Path) -> Records | None:
        """Open what is there without creating or locking anything; None if nothing is recorded.

        Raises ``JournalError`` as ``open_for_run`` does.
        """
        path = state_folder / RECORDS_NAME
        if not path.is_file() or path.stat().st_size == 0:
            return None
        _check_header(path)
        # With no write-ahead log nobody writes, and the file can be read as it lies; SQLite would otherwise create
        # a log and its index merely to look.
        log = path.with_name(RECORDS_NAME + "-wal")
        mode = "mode=ro" if log.exists() else "mode=ro&immutable=1"
        with _translated(path):
            connection = _connect(path, f"{path.as_uri()}?{mode}")
            try:
                version = _check(connection, path)
            except BaseException:
                connection.close()
                raise
        if version == 0:
            connection.close()
            return None
        return cls(connection, path)

    def close(self) -> None:
        """Fold the log into the file and close it."""
        with contextlib.suppress(sqlite3.Error):
            self._connection.close()

    def __enter__(self) -> Records:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def put_run(self, run: PastRun) -> None:
        """Record a run when it begins, and again when it ends."""
        with self._transaction():
            self._connection.execute(
                "INSERT INTO runs (run_id, run) VALUES (?, ?) ON CONFLICT (run_id) DO UPDATE SET run = excluded.run",
                (run.run_id, _pack(asdict(run))),
            )

    def put_attempt(self, attempt: Attempt) -> None:
        """Record how a step stands in a run, in place of what that run said about it before."""
        with self._transaction():
            self._put_attempt(attempt)

    def put_success(self, attempt: Attempt, success: Success) -> None:
        """Record a step's end and what it was made from, both or neither."""
        with self._transaction():
            self._put_attempt(attempt)
            self._connection.execute(
                "INSERT OR REPLACE INTO successes (step, success) VALUES (?, ?)",
                (success.step, _pack(asdict(success))),
            )

    def put_claims(self, step: str, paths: Iterable[Path]) -> None:
        """Say that ``step`` writes exactly ``paths``."""
        with self._transaction():
            self._connection.execute("DELETE FROM claims WHERE step = ?", (step,))
            for path in paths:
                below = path.relative_to(self._folder) if self._folder in path.parents else path
                self._connection.execute(
                    "INSERT OR REPLACE INTO claims (path, step) VALUES (?, ?)", (os.fsencode(below), step)
                )

    def drop_claims_except(self, steps: Iterable[str]) -> None:
        """Forget the claims of steps that the workflow no longer has."""
        kept = set(steps)
        with self._transaction():
            for (step,) in self._connection.execute("SELECT DISTINCT step FROM claims").fetchall():
                if step not in kept:
                    self._connection.execute("DELETE FROM claims WHERE step = ?", (step,))

    def put_digests(self, digests: Iterable[Digest]) -> None:
        with self._transaction():
            for one in digests:
                self._connection.execute(
                    "INSERT OR REPLACE INTO digests (path, kind, size, mtime_ns, value) VALUES (?, ?, ?, ?, ?)",
                    (one.path, one.kind, one.size, one.mtime_ns, _pack(one.value)),
                )

    def successes(self) -> dict[str, Success]:
        """The last success of each step that ever succeeded."""
        found = [Success(**self._unpack(text)) for (text,) in self._read("SELECT success FROM successes")]
        return {one.step: one for one in found}

    def last_attempts(self) -> dict[str, Attempt]:
        """How each step ended in the last run that started it."""
        rows = self._read(
            "SELECT attempt FROM attempts WHERE number IN (SELECT max(number) FROM attempts GROUP BY step)"
        )
        found = [Attempt(**self._unpack(text)) for (text,) in rows]
        return {one.step: one for one in found}

    def claims(self) -> dict[Path, str]:
        """The step that writes each output path of this workflow."""
        rows = self._read("SELECT path, step FROM claims")
        with _translated(self._path):
            return {Path(self._folder, os.fsdecode(path)): step for path, step in rows}

    def digests(self) -> dict[tuple[bytes, str], Digest]:
        rows = self._read("SELECT path, kind, size, mtime_ns, value FROM digests")
        return {(row[0], row[1]): Digest(row[0], row[1], row[2], row[3], self._unpack(row[4])) for row in rows}

    def runs(self, limit: int) -> tuple[PastRun, ...]:
        """The last ``limit`` runs, newest first."""
        rows = self._read("SELECT run FROM runs ORDER BY number DESC LIMIT ?", (limit,))
        return tuple(PastRun(**self._unpack(text)) for (text,) in rows)

    def _put_attempt(self, attempt: Attempt) -> None:
        self._connection.execute(
            "INSERT OR REPLACE INTO attempts (run_id, step, attempt) VALUES (?, ?, ?)",
            (attempt.run_id, attempt.step, _pack(asdict(attempt))),
        )

    def _read(self, statement: str, values: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        with _translated(self._path):
            return self._connection.execute(statement, values).fetchall()

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        with _translated(self._path):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")

    def _unpack(self, text: str) -> dict[str, Any]:
        checksum, _, body = str(text).partition(" ")
        if checksum != _checksum(body):
            raise _damaged(self._path, "the checksum of a value in it is wrong")
        value: dict[str, Any] = json.loads(body)
        return value


def _pack(value: object) -> str:
    # ASCII only: a name that is not UTF-8 holds surrogates, which SQLite's text would refuse.
    body = json.dumps(value, ensure_ascii=True, sort_keys=True, separators=(",", ":"))
    return f"{_checksum(body)} {body}"


def _checksum(body: str) -> str:
    return f"{zlib.crc32(body.encode(errors='surrogatepass')):08x}"


def _connect(path: Path, uri: str) -> sqlite3.Connection:
    connection = sqlite3.connect(uri, uri=True, timeout=5.0, isolation_level=None)
    connection.execute("PRAGMA trusted_schema = OFF")
    return connection


def _create(connection: sqlite3.Connection) -> None:
    connection.execute("BEGIN IMMEDIATE")
    for statement in _SCHEMA:
        connection.execute(statement)
    connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {FORMAT_VERSION}")
    connection.execute("COMMIT")


def _check_header(path: Path) -> None:
    """Refuse what SQLite would take for an empty database and overwrite."""
    try:
        with path.open("rb") as file:
            header = file.read(len(_MAGIC))
    except OSError as error:
        raise ResourceError(f"the records cannot be read, path={path}: {error.strerror}") from error
    if header not in (b"", _MAGIC) and not path.with_name(RECORDS_NAME + "-journal").exists():
        raise _damaged(path, "it does not begin as a database does")


def _check(connection: sqlite3.Connection, path: Path) -> int:
    """The version of the format in the file, 0 when it is still empty."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (table_count,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if version == application == table_count == 0:
        return 0
    if application != _APPLICATION_ID:
        raise JournalError(f"not a file of batchflow's, path={path}", hint="move it to another place")
    if version > FORMAT_VERSION:
        raise JournalError(
            f"the records were written by a newer batchflow, path={path}, version={version}, known={FORMAT_VERSION}",
            hint="use that version of batchflow, or move the file away and run with -F",
        )
    if version < 1:
        raise _damaged(path, "it has no version")
    return int(version)


def _check_pages(connection: sqlite3.Connection, path: Path) -> None:
    (answer,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if answer != "ok":
        raise _damaged(path, str(answer))


def _damaged(path: Path, what: str) -> JournalError:
    return JournalError(
        f"the records are damaged, path={path}: {what}",
        hint=f"move {path} away and run with -F: every step runs again, outputs are replaced",
    )


@contextlib.contextmanager
def _translated(path: Path) -> Iterator[None]:
    """Turn SQLite's errors into ours: whose fault is it, and what to do."""
    try:
        yield
    except sqlite3.OperationalError as error:
        text = str(error)
        if "locked" in text or "busy" in text:
            raise RefusedError(f"another process uses the records, path={path}", hint="try again") from error
        if any(word in text for word in ("full", "I/O", "unable to open", "readonly")):
            raise ResourceError(f"the records cannot be read or written, path={path}: {text}") from error
        raise _damaged(path, text) from error
    except (sqlite3.DatabaseError, UnicodeDecodeError, TypeError) as error:
        raise _damaged(path, str(error)) from error
