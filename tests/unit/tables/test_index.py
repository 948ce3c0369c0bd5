"""The index of a table: packed, shared, kept."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchflow.tables.index import Piece, TableIndex

PIECES = [(0, 10, 50, 4), (0, 50, 60, 0), (0, 60, 99, 3), (2, 0, 7, 1)]
"""The second one has no rows, and neither has file 1 any."""
HEADER = {"key": "k", "schema": {"columns": [], "ä": "ö"}}


def test_pieces_are_found_by_their_rows() -> None:
    index = TableIndex.build(PIECES, HEADER)
    assert (index.piece_count, index.row_count, index.header) == (3, 8, HEADER)
    assert list(index.first_rows) == [0, 4, 7, 8]
    assert [index.place(row) for row in range(8)] == [0, 0, 0, 0, 1, 1, 1, 2]
    assert [index.piece(number) for number in range(3)] == [
        Piece(0, 10, 50, 0, 4),
        Piece(0, 60, 99, 4, 3),
        Piece(2, 0, 7, 7, 1),
    ]
    assert [index.rows_of(file) for file in range(4)] == [(0, 7), (7, 7), (7, 8), (8, 8)]
    assert (index.has_keys, index.keys(2)) == (False, {})


def test_keys_go_with_their_pieces() -> None:
    keys = [{"store": "a", "n": number} for number in range(4)]
    index = TableIndex.build(PIECES, HEADER, keys)
    assert index.has_keys
    assert [index.keys(number) for number in range(3)] == [keys[0], keys[2], keys[3]]
    assert (index.header, index.row_count) == (HEADER, 8)


def test_an_index_is_read_where_its_descriptor_is() -> None:
    index = TableIndex.build(PIECES, HEADER)
    other = TableIndex.attach(index.descriptor)
    index.close()
    other.close()
    assert list(other.first_rows) == list(index.first_rows) == [0, 4, 7, 8]
    index.close()  # twice is once


def test_a_table_without_rows_has_an_index() -> None:
    index = TableIndex.build([(0, 0, 9, 0)], HEADER)
    assert (index.piece_count, index.row_count, index.rows_of(0)) == (0, 0, (0, 0))


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 9), st.integers(0, 9), st.integers(0, 5)), max_size=30))
def test_every_row_is_in_one_piece(pieces: list[tuple[int, int, int, int]]) -> None:
    pieces.sort()
    index = TableIndex.build(pieces, {})
    with_rows = [one for one in pieces if one[3]]
    found = [index.piece(number) for number in range(index.piece_count)]
    assert [(one.file, one.begin, one.end, one.row_count) for one in found] == with_rows
    expected = [number for number, one in enumerate(with_rows) for _ in range(one[3])]
    assert [index.place(row) for row in range(index.row_count)] == expected


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    path = tmp_path / "rows.index"
    TableIndex.build(PIECES, HEADER, [{"k": number} for number in range(4)]).save(path)
    index = TableIndex.load(path)
    assert index is not None
    assert (index.header, list(index.first_rows), index.keys(1)) == (HEADER, [0, 4, 7, 8], {"k": 2})
    assert (path.stat().st_mode & 0o777, sorted(os.listdir(tmp_path))) == (0o600, ["rows.index"])


def test_what_is_not_as_it_was_saved_is_nothing(tmp_path: Path) -> None:
    path = tmp_path / "rows.index"
    assert TableIndex.load(path) is None
    TableIndex.build(PIECES, HEADER).save(path)
    content = path.read_bytes()
    for place in range(0, len(content), 3):
        path.write_bytes(content[:place] + bytes([content[place] ^ 16]) + content[place + 1 :])
        assert TableIndex.load(path) is None
    for size in (0, 7, 8, 40, len(content) - 1):
        path.write_bytes(content[:size])
        assert TableIndex.load(path) is None
    path.unlink()
    os.mkfifo(path)
    assert TableIndex.load(path) is None


def test_other_memory_is_no_index() -> None:
    descriptor = os.memfd_create("x")
    os.write(descriptor, bytes(4096))
    with pytest.raises(ValueError, match="the index of the table is damaged"):
        TableIndex.attach(descriptor)
    os.close(descriptor)
