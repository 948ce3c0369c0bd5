"""The hostile corpus, read: the rows that Python's csv reads, whatever the pieces, or an error that names the row."""

from __future__ import annotations

import pytest
from unit.tables.hostile import MARK, Hostile, hostile_files

from batchflow.errors import TableError
from batchflow.tables.header import read_header
from batchflow.tables.options import TableOptions
from batchflow.tables.reading import PieceReader
from batchflow.tables.schema import Column, Schema
from batchflow.tables.splitting import split_file

FILES = [one for one in hostile_files() if not one.refused]


def options_of(one: Hostile, encoding: str) -> TableOptions:
    dialect = one.dialect
    return TableOptions(
        "csv", dialect.delimiter, dialect.quote, dialect.escape, header=False, encoding=encoding, null_values=()
    )


@pytest.mark.fault("J1", "J2", "J3", "J4", "J5", "J6", "J11")
@pytest.mark.parametrize("encoding", ["latin-1", "utf-8"])
def test_every_row_is_read_as_python_reads_it_or_named(tmp_path, encoding):
    path = tmp_path / "t.csv"
    read, named = 0, 0
    for one in FILES:
        path.write_bytes(one.data)
        options = options_of(one, encoding)
        names = (
            read_header(str(path), options)
            if encoding == "latin-1"
            else read_header(str(path), options_of(one, "latin-1"))
        )
        schema = Schema(tuple(Column(name, "string") for name in names), names)
        expected = [
            [field.encode("latin-1") for field in row]
            for row in one.dialect.rows(one.data.removeprefix(MARK) if one.has_mark else one.data)
        ]
        for question in ({"rows": 1}, {"rows": 2}, {"size": 7}, {}):
            pieces = split_file(str(path), options, **question)
            first = 0
            for begin, end, count in zip(pieces.begins, pieces.ends, pieces.counts, strict=True):
                rows = expected[first : first + count]
                first += count
                fits = all(len(row) == len(names) and (encoding == "latin-1" or is_utf8(row)) for row in rows)
                reader = PieceReader(options, schema, "arrow")
                if fits:
                    table = reader.read(str(path), begin, end, count, 0, count)
                    found = zip(*(column.to_pylist() for column in table.columns), strict=True)
                    assert [[field.encode(encoding) for field in row] for row in found] == rows, (one.name, question)
                    read += 1
                    continue
                with pytest.raises(TableError) as caught:
                    reader.read(str(path), begin, end, count, 0, count)
                bad = next(row for row in rows if len(row) != len(names) or (encoding == "utf-8" and not is_utf8(row)))
                fields = "field" if len(names) == 1 else "fields"
                told = f"expected {len(names)} {fields}, got {len(bad)}"
                assert told in caught.value.message or "not valid utf-8" in caught.value.message, (one.name, question)
                assert caught.value.message.startswith(f"{path}:")
                named += 1
        assert first == len(expected)
    assert read > 2000 and named > 200


def is_utf8(row: list[bytes]) -> bool:
    try:
        b"".join(row).decode()
    except UnicodeDecodeError:
        return False
    return True
