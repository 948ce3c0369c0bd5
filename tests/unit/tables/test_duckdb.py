"""The hostile corpus as DuckDB reads it: as Python's csv does, but for what is listed here."""

from __future__ import annotations

import pytest
from fuzz.oracle import Dialect
from unit.tables.hostile import MARK, hostile_files

duckdb = pytest.importorskip("duckdb")

DIFFERENT = {
    "space before a quote": "DuckDB takes spaces around quotes away",
    "text behind a closing quote": "DuckDB goes on in the quotes",
    "escaped break": "DuckDB escapes both bytes of CRLF",
    "not utf-8": "DuckDB refuses the file",
}


def test_duckdb_reads_the_same_rows_but_for_what_is_listed(tmp_path):
    connection = duckdb.connect(config={"threads": 1})
    different = set()
    for number, one in enumerate(file for file in hostile_files() if not file.refused):
        data = one.data.removeprefix(MARK) if one.has_mark else one.data
        rows = one.dialect.rows(data)
        path = tmp_path / str(number)
        path.write_bytes(data)
        if rows and by_duckdb(connection, str(path), one.dialect, max(map(len, rows))) != padded(rows):
            different.add(one.name.partition(",")[0])
    assert different == DIFFERENT.keys()


def padded(rows: list[list[str]]) -> list[tuple[str | None, ...]]:
    width = max(map(len, rows))
    texts = [[field.encode("latin-1").decode("utf-8", "replace") for field in row] for row in rows]
    return [(*row, *[None] * (width - len(row))) for row in texts]


def by_duckdb(connection, path: str, dialect: Dialect, width: int) -> list[tuple[str | None, ...]] | None:
    options = {
        **{"delim": dialect.delimiter, "quote": dialect.quote, "escape": dialect.escape or dialect.quote},
        **{"header": False, "auto_detect": False, "null_padding": True, "strict_mode": False, "parallel": False},
        "nullstr": "nothing",
    }
    texts = ", ".join(f"{name}={sql(value)}" for name, value in options.items())
    columns = ", ".join(f"c{index}: 'VARCHAR'" for index in range(width))
    try:
        return connection.execute(f"SELECT * FROM read_csv({sql(path)}, {texts}, columns={{{columns}}})").fetchall()
    except duckdb.InvalidInputException:
        return None


def sql(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else "'" + str(value).replace("'", "''") + "'"
