"""One SQLite file: made once, read without a trace, and every error of SQLite's in words that say whose fault it is."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from unit.journal.things import KIND, made, names, put

from batchflow.errors import JournalError, NoRoomError, RefusedError, ResourceError
from batchflow.journal import database as room
from batchflow.journal.database import Database, pack


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / ".batchflow" / "flow" / "things.db"


class Scripted:
    """A connection that fails as it is told when a statement has this word in it."""

    def __init__(self, real: sqlite3.Connection, word: str, error: BaseException) -> None:
        self.real, self.word, self.error = real, word, error

    def execute(self, statement: str, *values: Any) -> Any:
        if self.word in statement:
            raise self.error
        return self.real.execute(statement, *values)

    def executemany(self, statement: str, *values: Any) -> Any:
        raise self.error

    def close(self) -> None:
        self.real.close()
        raise sqlite3.OperationalError("unable to close")


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (
            sqlite3.OperationalError("database is locked"),
            RefusedError,
            "another process uses the file of tests, path={}",
        ),
        (
            sqlite3.OperationalError("database table is busy"),
            RefusedError,
            "another process uses the file of tests, path={}",
        ),
        (
            sqlite3.OperationalError("database or disk is full"),
            NoRoomError,
            "the file of tests cannot be written, path={}: database or disk is full",
        ),
        (
            sqlite3.OperationalError("disk I/O error"),
            ResourceError,
            "the file of tests cannot be read or written, path={}: disk I/O error",
        ),
        (
            sqlite3.OperationalError("unable to open database file"),
            ResourceError,
            "the file of tests cannot be read or written, path={}: unable to open database file",
        ),
        (
            sqlite3.OperationalError("attempt to write a readonly database"),
            ResourceError,
            "the file of tests cannot be read or written, path={}: attempt to write a readonly database",
        ),
        (
            sqlite3.OperationalError("no such table: things"),
            JournalError,
            "the file of tests is damaged, path={}: no such table: things",
        ),
        (
            sqlite3.DatabaseError("database disk image is malformed"),
            JournalError,
            "the file of tests is damaged, path={}: database disk image is malformed",
        ),
        (
            sqlite3.IntegrityError("UNIQUE constraint failed"),
            JournalError,
            "the file of tests is damaged, path={}: UNIQUE constraint failed",
        ),
    ],
    ids=lambda value: str(value) if isinstance(value, BaseException) else "",
)
def test_each_error_says_whose_fault_it_is(
    path: Path, error: BaseException, kind: type[Exception], message: str
) -> None:
    real = Database.open_for_writing(path, KIND)
    put(real, "one")
    failing: Any = Scripted(real._connection, "things", error)
    database = Database(failing, path, KIND)
    acts = (
        lambda: database.execute("DELETE FROM things"),
        lambda: database.execute_many("INSERT INTO things VALUES (?, ?)", [("x", "y")]),
        lambda: database.read("SELECT * FROM things"),
        lambda: list(database.iterate("SELECT * FROM things")),
        lambda: put(database, "two"),
    )
    for act in acts:
        with pytest.raises(kind) as caught:
            act()
        assert type(caught.value) is kind
        assert str(caught.value) == message.format(path)
    assert names(real) == ["one"]
    put(real, "two")  # nothing was left open by what failed
    database.close()


@pytest.mark.parametrize("word", ["BEGIN", "COMMIT"])
def test_a_transaction_that_cannot_be_begun_or_ended_leaves_nothing(path: Path, word: str) -> None:
    real = Database.open_for_writing(path, KIND)
    failing: Any = Scripted(real._connection, word, sqlite3.OperationalError("disk I/O error"))
    with pytest.raises(ResourceError, match="disk I/O error"):
        put(Database(failing, path, KIND), "one")
    assert names(real) == []
    put(real, "two")
    assert names(real) == ["two"]
    real.close()


def test_an_error_of_the_block_takes_everything_back(path: Path) -> None:
    database = Database.open_for_writing(path, KIND)
    with pytest.raises(KeyError), database.transaction():
        database.execute("INSERT INTO things VALUES ('one', '1')")
        raise KeyError("the block")
    assert names(database) == []
    database.close()


@pytest.mark.parametrize("value", [["a list"], {"an": "object"}, object()])
def test_a_value_that_cannot_be_written_is_a_bug_and_no_damage(path: Path, value: object) -> None:
    database = Database.open_for_writing(path, KIND)
    for act in (database.execute, lambda statement, values: database.execute_many(statement, [values])):
        with pytest.raises((sqlite3.ProgrammingError, sqlite3.InterfaceError)):  # by the version of Python
            act("INSERT INTO things VALUES (?, ?)", ("one", value))
    with pytest.raises(TypeError, match="not JSON serializable"), database.transaction():
        database.execute("INSERT INTO things VALUES (?, ?)", ("one", pack(object())))
    assert names(database) == []
    database.close()


def test_a_transaction_that_sqlite_has_taken_back_itself_is_no_second_error(path: Path) -> None:
    database = Database.open_for_writing(path, KIND)
    with pytest.raises(KeyError), database.transaction():
        database.execute("ROLLBACK")
        raise KeyError("the block")
    database.close()


def test_where_there_is_no_room_nothing_is_written(path: Path) -> None:
    database = Database.open_for_writing(path, KIND)
    put(database, "one")
    ((pages,),) = database.read("PRAGMA page_count")
    database.read(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(
        NoRoomError, match=f"the file of tests cannot be written, path={path}: database or disk is full"
    ):
        put(database, "two", "x" * 100_000)
    assert names(database) == ["one"]
    database.read("PRAGMA max_page_count = 100000")
    put(database, "two", "x" * 100_000)
    assert names(database) == ["one", "two"]
    database.close()


def test_who_writes_at_the_same_time_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda *place, **keys: connect(*place, **keys | {"timeout": 0.0}))
    first, second = (Database.open_for_writing(path, KIND) for _ in range(2))
    with first.transaction(), pytest.raises(RefusedError, match="another process uses the file of tests") as caught:
        put(second, "two")
    assert (caught.value.hint, caught.value.exit_code) == ("try again", 6)
    put(second, "two")
    first.close()
    second.close()


# What lies there


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("PRAGMA user_version = 4", "the file of tests was written by a newer batchflow, path={}, version=4, known=3"),
        ("PRAGMA user_version = 0", "the file of tests is damaged, path={}: it has no version"),
        ("PRAGMA user_version = -1", "the file of tests is damaged, path={}: it has no version"),
        ("PRAGMA application_id = 7", "not a file of batchflow's, path={}"),
        ("DROP TABLE things", "the file of tests is damaged, path={}: its tables are not those that batchflow makes"),
        (
            "CREATE TABLE more (x)",
            "the file of tests is damaged, path={}: its tables are not those that batchflow makes",
        ),
        (
            "CREATE INDEX quick ON things (value)",
            "the file of tests is damaged, path={}: its tables are not those that batchflow makes",
        ),
    ],
)
def test_what_is_not_ours_is_refused_and_left_as_it_is(path: Path, statement: str, message: str) -> None:
    made(path)
    connection = sqlite3.connect(path)
    connection.execute(statement)
    connection.commit()
    connection.close()
    before = path.read_bytes()
    for opener in (Database.open_for_writing, Database.open_for_reading):
        with pytest.raises(JournalError) as caught:
            opener(path, KIND)
        assert caught.value.message == message.format(path)
        assert (
            caught.value.hint
            == {
                "n": "move it to another place",
                "t": f"use that version of batchflow, or cure {path}" if "newer" in message else f"cure {path}",
            }[message[0]]
        )
    assert path.read_bytes() == before


def test_a_header_that_sqlite_would_overwrite_is_refused(path: Path) -> None:
    made(path).write_bytes(b"nothing like a database")
    for opener in (Database.open_for_writing, Database.open_for_reading):
        with pytest.raises(JournalError, match=r"is damaged, .*: it does not begin as a database does"):
            opener(path, KIND)
    assert path.read_bytes() == b"nothing like a database"


def test_pages_that_are_not_sound_are_damage(path: Path) -> None:
    database = Database.open_for_writing(path, KIND)
    for number in range(300):
        put(database, f"name {number:03}", "x" * 50)
    database.close()
    content = path.read_bytes()
    path.write_bytes(content[:8192] + bytes(100) + content[8292:])
    with pytest.raises(JournalError, match=f"the file of tests is damaged, path={path}: "):
        Database.open_for_writing(path, KIND)


def test_a_file_whose_making_was_cut_short_holds_nothing_and_is_made_again(path: Path) -> None:
    """The maker was killed before its first commit: SQLite's journal of the older kind says so."""
    path.parent.mkdir(parents=True, mode=0o700)
    maker = sqlite3.connect(path, isolation_level=None)
    maker.execute("PRAGMA cache_size = 1")
    maker.execute("BEGIN IMMEDIATE")
    maker.execute(KIND.schema[0])
    maker.execute(
        "CREATE TABLE filling AS"
        " WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n LIMIT 5000) SELECT x FROM n"
    )
    killed = path.parent.with_name("killed") / path.name
    shutil.copytree(path.parent, killed.parent)
    maker.rollback()
    maker.close()
    assert killed.with_name("things.db-journal").exists()
    assert killed.stat().st_size > 0
    assert Database.open_for_reading(killed, KIND) is None
    database = Database.open_for_writing(killed, KIND)
    assert names(database) == []
    database.close()


def test_what_is_no_file_is_never_waited_for(path: Path) -> None:
    made(path)
    os.mkfifo(path.with_name("things.db-wal"))
    for opener in (Database.open_for_writing, Database.open_for_reading):
        with pytest.raises(JournalError, match=f"is damaged, path={path}: {path}-wal: it is not a regular file"):
            opener(path, KIND)


def test_a_disk_that_cannot_read_it_is_the_machines_fault(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made(path)

    def broken(path: Path) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(room, "open_regular", broken)
    for opener in (Database.open_for_writing, Database.open_for_reading):
        with pytest.raises(ResourceError, match=f"the file of tests cannot be read, path={path}: Input/output error"):
            opener(path, KIND)


def test_a_file_that_cannot_be_closed_was_not_written(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    close = os.close

    def fails(descriptor: int) -> None:
        close(descriptor)
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "close", fails)
    with pytest.raises(ResourceError, match="Input/output error"):
        Database.open_for_writing(path, KIND)


# Values


@pytest.mark.parametrize("value", [{}, {"a": [1, None, 2.5]}, {"\udcff": "\ud800 \U0001f600 \0"}])
def test_a_value_that_was_packed_comes_back(path: Path, value: dict[str, Any]) -> None:
    database = Database.open_for_writing(path, KIND)
    text = pack(value, ("key", 1))
    assert text.isascii()
    assert database.unpack(text, ("key", 1)) == value
    for key in ((), ("key", 2), ("key", "1")):
        with pytest.raises(JournalError, match="the checksum of a value in it is wrong"):
            database.unpack(text, key)
    for place in range(len(text)):
        with contextlib.suppress(JournalError):
            bad = text[:place] + chr(ord(text[place]) ^ 1) + text[place + 1 :]
            raise AssertionError(f"believed: {database.unpack(bad, ('key', 1))}")
    database.close()
