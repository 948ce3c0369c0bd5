"""Looking at a database: as it lies, without a trace, whatever a killed run has left beside it."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from unit.journal.things import KIND, made, names, put

from batchflow.errors import JournalError, ResourceError
from batchflow.journal import database as room
from batchflow.journal.database import Database


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / ".batchflow" / "flow" / "things.db"


def looked_at(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def killed_copy(path: Path, folder: Path) -> Path:
    """What a killed run leaves: the file, its log and the log's index."""
    database = Database.open_for_writing(path, KIND)
    put(database, "one")
    shutil.copytree(path.parent, folder)
    database.close()
    return folder / path.name


def test_what_a_killed_run_left_is_read_as_it_lies(path: Path, tmp_path: Path) -> None:
    killed = killed_copy(path, tmp_path / "killed")
    before = looked_at(killed.parent)
    assert sorted(before) == ["things.db", "things.db-shm", "things.db-wal"]
    reader = Database.open_for_reading(killed, KIND)
    assert reader is not None
    assert names(reader) == ["one"]
    reader.close()
    assert looked_at(killed.parent) == before


def test_what_was_closed_is_read_as_it_lies(path: Path) -> None:
    before = looked_at(made(path).parent)
    reader = Database.open_for_reading(path, KIND)
    assert reader is not None
    assert names(reader) == ["one"]
    assert looked_at(path.parent) == before
    reader.close()


@pytest.mark.parametrize("index", [None, b"", bytes(32768)], ids=["none", "empty", "only begun"])
def test_a_log_without_an_index_is_read_too(path: Path, tmp_path: Path, index: bytes | None) -> None:
    killed = killed_copy(path, tmp_path / "killed")
    beside = killed.with_name("things.db-shm")
    beside.unlink()
    if index is not None:
        beside.write_bytes(index)
    data = {name: content for name, content in looked_at(killed.parent).items() if not name.endswith("-shm")}
    reader = Database.open_for_reading(killed, KIND)
    assert reader is not None
    assert names(reader) == ["one"]
    reader.close()
    assert {name: content for name, content in looked_at(killed.parent).items() if not name.endswith("-shm")} == data


def test_an_index_that_lags_behind_is_read_in_the_last_way_there_is(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run goes on, and SQLite says that the index would have to be written."""
    writer = Database.open_for_writing(path, KIND)
    put(writer, "one")
    asked = []
    real = room._check

    def check(connection: sqlite3.Connection, *rest: Any) -> int:
        asked.append(None)
        if len(asked) == 1:
            raise sqlite3.OperationalError("attempt to write a readonly database")
        return real(connection, *rest)

    monkeypatch.setattr(room, "_check", check)
    reader = Database.open_for_reading(path, KIND)
    assert reader is not None
    assert (names(reader), len(asked)) == (["one"], 2)
    reader.close()

    def never(connection: sqlite3.Connection, *rest: Any) -> int:
        raise sqlite3.OperationalError("locking protocol")

    monkeypatch.setattr(room, "_check", never)
    with pytest.raises(JournalError, match="locking protocol"):
        Database.open_for_reading(path, KIND)

    def broken(connection: sqlite3.Connection, *rest: Any) -> int:
        asked.append(None)
        raise sqlite3.OperationalError("disk I/O error")

    asked.clear()
    monkeypatch.setattr(room, "_check", broken)
    with pytest.raises(ResourceError, match="disk I/O error"):
        Database.open_for_reading(path, KIND)
    assert len(asked) == 1  # no other way would help
    writer.close()


def test_an_empty_database_holds_nothing(path: Path) -> None:
    assert Database.open_for_reading(path, KIND) is None
    path.parent.mkdir(parents=True, mode=0o700)
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA page_size = 1024")
    connection.execute("VACUUM")
    connection.close()
    assert path.stat().st_size > 0
    assert Database.open_for_reading(path, KIND) is None
    path.write_bytes(b"")
    assert Database.open_for_reading(path, KIND) is None
    path.unlink()
    path.mkdir()
    assert Database.open_for_reading(path, KIND) is None
