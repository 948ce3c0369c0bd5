"""A small database for the tests of databases."""

from __future__ import annotations

from pathlib import Path

from batchflow.journal.database import Database, Kind, pack

KIND = Kind(
    "the file of tests", 0x62667474, 3, ("CREATE TABLE things (name TEXT PRIMARY KEY, value TEXT)",), "cure {path}"
)


def put(database: Database, name: str, value: object = 1) -> None:
    with database.transaction():
        database.execute("INSERT INTO things VALUES (?, ?)", (name, pack(value)))


def names(database: Database) -> list[str]:
    return [name for (name,) in database.read("SELECT name FROM things ORDER BY name")]


def made(path: Path) -> Path:
    database = Database.open_for_writing(path, KIND)
    put(database, "one")
    database.close()
    return path
