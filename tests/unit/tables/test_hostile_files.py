"""The hostile corpus: every file is split exactly at every size, or refused for the reason that it has."""

from __future__ import annotations

import io

import pyarrow as pa
import pyarrow.csv
import pytest
from fuzz.oracle import Bytes, Dialect, complaint, pieces_of
from unit.tables.hostile import BORDER, MARK, Hostile, hostile_files

from batchflow import _core
from batchflow.errors import DatasetError
from batchflow.tables.options import TableOptions
from batchflow.tables.splitting import split_file

FILES = hostile_files()


def split(file: Bytes, one: Hostile, **question) -> tuple[bytes, _core.RecordSplit]:
    """The bytes behind the mark, and how they are split."""
    data = one.data.removeprefix(MARK) if one.has_mark else one.data
    fd = file.put(data)
    return data, _core.split_records(fd, 0, len(data), **{"grain": BORDER, **question}, **one.dialect.for_core())


@pytest.fixture
def file():
    file = Bytes()
    yield file
    file.close()


def test_there_are_more_than_two_hundred():
    assert len(FILES) == len({one.name for one in FILES}) == 832
    assert sum(bool(one.refused) for one in FILES) == 208


@pytest.mark.fault("J1", "J2", "J4", "J6", "J7", "J8", "J9")
@pytest.mark.parametrize("share", range(8))
def test_every_file_is_split_at_every_size_or_refused_for_its_reason(file, share):
    for one in FILES[share::8]:
        for size in range(1, len(one.data) + 2):
            data, found = split(file, one, size=size, grain=(BORDER, 2 * BORDER, 16384)[size % 3])
            assert (found.problem[0] if found.problem else "") == one.refused, one.name
            assert complaint(data, one.dialect, found, size=size) == "", (one.name, size)
            if one.refused:
                break


def test_every_file_is_split_into_any_number_of_records(file):
    for one in FILES:
        for rows in (1, 2, 3):
            data, found = split(file, one, rows=rows)
            assert complaint(data, one.dialect, found, rows=rows) == "", (one.name, rows)


def test_arrow_reads_the_same_records_from_each_piece(file):
    for one in FILES:
        if one.refused:
            continue
        for question in ({"rows": 1}, {"size": 50}, {}):
            data, found = split(file, one, **question)
            for piece, count in zip(pieces_of(data, found), found.counts, strict=True):
                assert by_arrow(piece, one.dialect) == (one.dialect.rows(piece), count), one.name


def by_arrow(piece: bytes, dialect: Dialect) -> tuple[list[list[str]], int]:
    """The rows that have as many fields as the first, the others as Python's csv has them; and how many all are."""
    rows = dialect.rows(piece)
    width = len(rows[0])
    ragged = [row for row in rows if len(row) != width]
    seen = []

    def skip(row):
        seen.append(row.actual_columns)
        return "skip"

    table = pyarrow.csv.read_csv(
        # Arrow would take a mark at the begin for its own, and what follows a blank line without a break for nothing.
        io.BytesIO(b"\n" + piece + b"\n"),
        read_options=pyarrow.csv.ReadOptions(
            autogenerate_column_names=True, use_threads=False, block_size=len(piece) + 2, encoding="utf8"
        ),
        parse_options=pyarrow.csv.ParseOptions(
            delimiter=dialect.delimiter,
            quote_char=dialect.quote or False,
            escape_char=dialect.escape or False,
            newlines_in_values=True,
            invalid_row_handler=skip,
        ),
        convert_options=pyarrow.csv.ConvertOptions(
            column_types={f"f{index}": pa.binary() for index in range(width)}, null_values=[], strings_can_be_null=False
        ),
    )
    assert seen == [len(row) for row in ragged]
    fields = [[value.decode("latin-1") for value in column.to_pylist()] for column in table.columns]
    whole = iter(zip(*fields, strict=True))
    return [list(next(whole)) if len(row) == width else row for row in rows], table.num_rows + len(seen)


@pytest.mark.fault("J3")
def test_files_are_split_from_behind_their_mark(tmp_path):
    for number, one in enumerate(FILES):
        path = tmp_path / str(number)
        path.write_bytes(one.data)
        options = TableOptions(
            "csv",
            delimiter=one.dialect.delimiter,
            quote=one.dialect.quote,
            escape=one.dialect.escape,
            header=False,
            field_size_max=one.dialect.field_size_max,
        )
        if one.refused:
            with pytest.raises(DatasetError, match=r"^cannot split .*(line|byte)"):
                split_file(str(path), options)
            continue
        pieces = split_file(str(path), options, size=20)
        rows = [
            row
            for begin, end in zip(pieces.begins, pieces.ends, strict=True)
            for row in one.dialect.rows(one.data[begin:end])
        ]
        assert rows == one.dialect.rows(one.data.removeprefix(MARK) if one.has_mark else one.data)
        assert pieces.record_count == len(rows)
