"""One SQLite file of ours: opened with care, checked before it is believed, its errors told in our words.

Values that have parts are kept as JSON with a checksum before them (``pack``), so that a damaged value is noticed even
where the page that holds it still looks sound.

Invariant: a file that is damaged, foreign or of a newer version is refused and left as it is.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import sqlite3
import sys
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from batchflow.errors import ROOM_HINT, JournalError, NoRoomError, RefusedError, ResourceError
from batchflow.journal.shapes import revived
from batchflow.journal.state_folder import make_state_folder, open_private_file
from batchflow.private import open_regular

Value = TypeVar("Value")
_MAGIC = b"SQLite format 3\0"
_WRITE_VERSION = 18
"""Where the header says 1 for a rollback journal, 2 for a write-ahead log."""


@dataclass(frozen=True)
class Kind:
    """What a file is: its name in messages, its mark in the header, its version, its tables, and the cure of damage."""

    title: str
    application_id: int
    version: int
    schema: tuple[str, ...]
    cure: str
    """What to do when it is damaged; ``{path}`` is the file."""


class Database:
    """An open file of a ``Kind``; made by ``open_for_writing`` or ``open_for_reading``."""

    def __init__(self, connection: sqlite3.Connection, path: Path, kind: Kind) -> None:
        self._connection = connection
        self.path = path
        self._kind = kind

    @classmethod
    def open_for_writing(cls, path: Path, kind: Kind, *, synchronous: Literal["FULL", "NORMAL"] = "FULL") -> Database:
        """Open, and create if needed, in write-ahead mode; the caller sees to it that nobody else writes.

        Raises ``JournalError`` if the file is damaged, foreign, or of a newer version.
        """
        make_state_folder(path.parent)
        _make_file(path, kind)
        _check_header(path, kind)
        with _translated_reading(path, kind):
            connection = _connect(path, path.as_uri())
            try:
                if _check(connection, path, kind) == 0:
                    _create(connection, kind)
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute(f"PRAGMA synchronous = {synchronous}")
                database = cls(connection, path, kind)
                database.check_pages()
            except BaseException:
                connection.close()
                raise
        return database

    @classmethod
    def open_for_reading(cls, path: Path, kind: Kind) -> Database | None:
        """Open what is there without creating or locking anything; None if nothing is recorded.

        Raises ``JournalError`` as ``open_for_writing`` does.
        """
        if not path.is_file() or path.stat().st_size == 0 or _is_being_made(path, kind):
            return None
        _check_header(path, kind)
        with _translated_reading(path, kind):
            connection, version = _open_to_read(path, kind, _reading_modes(path))
        if version == 0:
            connection.close()
            return None
        return cls(connection, path, kind)

    def check_pages(self) -> None:
        """Raise ``JournalError`` unless every page and every index of the file is sound."""
        with _translated_reading(self.path, self._kind):
            (answer,) = self._connection.execute("PRAGMA integrity_check(1)").fetchone()
        if answer != "ok":
            raise self.damaged(str(answer))

    def close(self) -> None:
        """Fold the log into the file and close it."""
        with contextlib.suppress(sqlite3.Error):
            self._connection.close()

    def execute(self, statement: str, values: tuple[Any, ...] = ()) -> None:
        with _translated(self.path, self._kind):
            self._connection.execute(statement, values)

    def execute_many(self, statement: str, rows: Iterable[tuple[Any, ...]]) -> None:
        with _translated(self.path, self._kind):
            self._connection.executemany(statement, rows)

    def read(self, statement: str, values: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        with _translated_reading(self.path, self._kind):
            return self._connection.execute(statement, values).fetchall()

    def iterate(self, statement: str, values: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
        """The rows one after another, for results that may be long."""
        with _translated_reading(self.path, self._kind):
            # Through map, which has no close(): a cursor's would fail if the database was closed before.
            yield from map(tuple, self._connection.execute(statement, values))

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """All of the block or nothing of it."""
        with _translated(self.path, self._kind):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                with contextlib.suppress(sqlite3.Error):  # a failed COMMIT may have rolled back by itself
                    self._connection.execute("ROLLBACK")
                raise

    def unpack(self, text: object, key: tuple[object, ...] = ()) -> dict[str, Any]:
        """What ``pack`` made of an object; raises ``JournalError`` if that is damaged or stands elsewhere."""
        checksum, _, body = str(text).partition(" ")
        if checksum != _checksum(body, key):
            raise self.damaged("the checksum of a value in it is wrong")
        with self.believing():
            value = json.loads(body)
        if not isinstance(value, dict):
            raise self.damaged("a value in it is no object")
        return value

    def revive(self, kind: type[Value], text: object) -> Value:
        """The frozen value that was packed; raises ``JournalError`` if it cannot be one."""
        values = self.unpack(text)
        with self.believing():
            return revived(kind, values)

    @contextlib.contextmanager
    def believing(self) -> Iterator[None]:
        """Turn what is wrong with the values that were read into ``JournalError``."""
        try:
            yield
        except (ValueError, RecursionError) as error:
            raise self.damaged(str(error)) from error

    def damaged(self, what: str) -> JournalError:
        return _damaged(self.path, self._kind, what)


_LOG_HEADER_SIZE = 32
_UNUSABLE_INDEX = ("readonly", "locking protocol")
"""What SQLite says of an index that it would have to write: one that lags behind, or was only begun."""


def _reading_modes(path: Path) -> tuple[str, ...]:
    """How to look at a file without changing anything, best first.

    With nothing in a write-ahead log nobody writes, and the file can be read as it lies; SQLite would otherwise create
    a log and its index merely to look, or wait ten seconds for somebody to go on with a log that was begun.  The index,
    which is no data, is written only where it is missing, or where a run that goes on leaves no other way.
    """
    try:
        log_size = path.with_name(path.name + "-wal").stat().st_size
    except OSError:
        log_size = 0
    if log_size <= _LOG_HEADER_SIZE:
        return ("mode=ro&immutable=1",)
    return ("mode=ro&readonly_shm=1", "mode=ro") if _has_index(path) else ("mode=ro",)


def _open_to_read(path: Path, kind: Kind, modes: tuple[str, ...]) -> tuple[sqlite3.Connection, int]:
    """A connection in the first of the modes that works, and the version of what is there."""
    connection = _connect(path, f"{path.as_uri()}?{modes[0]}")
    try:
        return connection, _check(connection, path, kind)
    except sqlite3.OperationalError as error:
        connection.close()
        if len(modes) == 1 or not any(word in str(error) for word in _UNUSABLE_INDEX):
            raise
    except BaseException:
        connection.close()
        raise
    return _open_to_read(path, kind, modes[1:])


def _has_index(path: Path) -> bool:
    """Whether the index of the log was ever written: SQLite waits ten seconds for one that was only created."""
    try:
        with path.with_name(path.name + "-shm").open("rb") as index:
            version = index.read(4)
    except OSError:
        return False
    return len(version) == 4 and version != bytes(4)


def pack(value: object, key: tuple[object, ...] = ()) -> str:
    """JSON with its checksum before it, which is right for that ``key``, the other values of the row, only."""
    # ASCII only: a name that is not UTF-8 holds surrogates, which SQLite's text would refuse.
    body = json.dumps(value, ensure_ascii=True, sort_keys=True, separators=(",", ":"))
    return f"{_checksum(body, key)} {body}"


def _checksum(body: str, key: tuple[object, ...]) -> str:
    return f"{zlib.crc32(f'{key!r} {body}'.encode(errors='surrogatepass')):08x}"


def _make_file(path: Path, kind: Kind) -> None:
    """See to it that there is a file, and that it is private."""
    try:
        os.close(open_private_file(path, os.O_RDWR))
    except OSError as error:
        raise ResourceError(f"{kind.title} cannot be opened, path={path}: {error.strerror}") from error


def _connect(path: Path, uri: str) -> sqlite3.Connection:
    """A connection that runs no code of a schema and believes no cell that it has not looked at."""
    connection = sqlite3.connect(uri, uri=True, timeout=5.0, isolation_level=None)
    connection.execute("PRAGMA trusted_schema = OFF")
    connection.execute("PRAGMA cell_size_check = ON")
    if sys.version_info >= (3, 12):
        connection.setconfig(sqlite3.SQLITE_DBCONFIG_DEFENSIVE, True)
        connection.setconfig(sqlite3.SQLITE_DBCONFIG_ENABLE_TRIGGER, False)
        connection.setconfig(sqlite3.SQLITE_DBCONFIG_ENABLE_VIEW, False)
    return connection


def _create(connection: sqlite3.Connection, kind: Kind) -> None:
    connection.execute("BEGIN IMMEDIATE")
    for statement in kind.schema:
        connection.execute(statement)
    connection.execute(f"PRAGMA application_id = {kind.application_id}")
    connection.execute(f"PRAGMA user_version = {kind.version}")
    connection.execute("COMMIT")


def _is_being_made(path: Path, kind: Kind) -> bool:
    """Whoever makes the file has not come to the end, and nothing is recorded yet.

    Only then is there a journal of SQLite's older kind beside a file that is not in write-ahead mode.  If its maker was
    killed, the next one who opens the file for writing rolls it back.
    """
    if not _journal_of(path).exists():
        return False
    header = _read_header(path, kind)
    return not header.startswith(_MAGIC) or header[_WRITE_VERSION:] != b"\2"


def _check_header(path: Path, kind: Kind) -> None:
    """Refuse what SQLite would take for an empty database and overwrite."""
    header = _read_header(path, kind)
    if header and not header.startswith(_MAGIC) and not _journal_of(path).exists():
        raise _damaged(path, kind, "it does not begin as a database does")


def _read_header(path: Path, kind: Kind) -> bytes:
    try:
        for suffix in ("-wal", "-shm", "-journal"):  # SQLite would open them whatever they are
            with contextlib.suppress(FileNotFoundError):
                open_regular(path.with_name(path.name + suffix)).close()
        with open_regular(path) as file:
            return file.read(_WRITE_VERSION + 1)
    except OSError as error:
        if error.errno == errno.EINVAL:  # a pipe or a device has its name
            raise _damaged(path, kind, f"{error.filename}: {error.strerror}") from error
        raise ResourceError(f"{kind.title} cannot be read, path={path}: {error.strerror}") from error


def _journal_of(path: Path) -> Path:
    """SQLite's rollback journal of the file."""
    return path.with_name(path.name + "-journal")


def _check(connection: sqlite3.Connection, path: Path, kind: Kind) -> int:
    """The version of the format in the file, 0 when it is still empty."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (table_count,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if version == application == table_count == 0:
        return 0
    if application != kind.application_id:
        raise JournalError(f"not a file of batchflow's, path={path}", hint="move it to another place")
    if version > kind.version:
        raise JournalError(
            f"{kind.title} was written by a newer batchflow, path={path}, version={version}, known={kind.version}",
            hint=f"use that version of batchflow, or {kind.cure.format(path=path)}",
        )
    if version < 1:
        raise _damaged(path, kind, "it has no version")
    # Somebody may have put a view that never ends, or a trigger, where a table of ours was.
    found = connection.execute("SELECT type, name, sql FROM sqlite_master").fetchall()
    if {sql for _, _, sql in found if sql is not None} != set(kind.schema) or any(
        type_ != "index" or not str(name).startswith("sqlite_autoindex_") for type_, name, sql in found if sql is None
    ):
        raise _damaged(path, kind, "its tables are not those that batchflow makes")
    return int(version)


def _damaged(path: Path, kind: Kind, what: str) -> JournalError:
    return JournalError(f"{kind.title} is damaged, path={path}: {what}", hint=kind.cure.format(path=path))


@contextlib.contextmanager
def _translated(path: Path, kind: Kind) -> Iterator[None]:
    """Turn SQLite's errors into ours: whose fault is it, and what to do."""
    try:
        yield
    except sqlite3.OperationalError as error:
        text = str(error)
        if "locked" in text or "busy" in text:
            raise RefusedError(f"another process uses {kind.title}, path={path}", hint="try again") from error
        if "disk is full" in text:
            raise NoRoomError(f"{kind.title} cannot be written, path={path}: {text}", hint=ROOM_HINT) from error
        if any(word in text for word in ("I/O", "unable to open", "readonly")):
            raise ResourceError(f"{kind.title} cannot be read or written, path={path}: {text}") from error
        raise _damaged(path, kind, text) from error
    except sqlite3.ProgrammingError:
        raise  # a statement or a value of ours is wrong: no file is to blame
    except sqlite3.DatabaseError as error:
        raise _damaged(path, kind, str(error)) from error


@contextlib.contextmanager
def _translated_reading(path: Path, kind: Kind) -> Iterator[None]:
    """The same where what is read may have any shape."""
    try:
        with _translated(path, kind):
            yield
    except (UnicodeDecodeError, TypeError) as error:
        raise _damaged(path, kind, str(error)) from error
