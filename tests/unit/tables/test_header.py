"""The names of a table's columns, and where its records begin behind them."""

from __future__ import annotations

import csv

import pytest

from batchflow.errors import DatasetError
from batchflow.tables.header import read_header
from batchflow.tables.options import TableOptions
from batchflow.tables.splitting import split_file

CSV = TableOptions("csv")


@pytest.fixture
def write(tmp_path):
    def write(data: bytes) -> str:
        path = tmp_path / "table.csv"
        path.write_bytes(data)
        return str(path)

    return write


@pytest.mark.parametrize(
    ("data", "names", "begins"),
    [
        (b"a,b\n1,2\n", ("a", "b"), [4]),
        (b"\xef\xbb\xbfa,b\r\n\r\n1,2\r\n", ("a", "b"), [10]),
        (b'\n\n"a\nx",b\r1,2', ("a\nx", "b"), [10]),
        (b'"a ""1""", b \n', ('a "1"', " b "), []),
        ("é,\u65e5\n1,2\n".encode(), ("é", "\u65e5"), [7]),
        (b"a,b", ("a", "b"), []),
        (b"a", ("a",), []),
        (b"", (), []),
        (b"\xef\xbb\xbf", (), []),
        (b"\n\n", (), []),
    ],
)
def test_the_first_record_names_the_columns_and_is_in_no_piece(write, data, names, begins):
    path = write(data)
    assert read_header(path, CSV) == names
    assert list(split_file(path, CSV, rows=1).begins) == begins


def test_the_mark_of_a_file_is_in_no_name_and_no_piece(write):
    path = write(b"\xef\xbb\xbfa;b\n1;2\n")
    assert read_header(path, TableOptions("csv", delimiter=";")) == ("a", "b")
    assert list(split_file(path, TableOptions("csv", delimiter=";", header=False)).begins) == [3]


def test_without_a_header_columns_are_numbered(write):
    options = TableOptions("csv", header=False)
    assert read_header(write(b'1,"x\n",,\n1\n'), options) == ("0", "1", "2", "3")
    assert read_header(write(b""), options) == ()


def test_names_are_read_as_the_dialect_says(write):
    options = TableOptions("csv", delimiter="|", quote="'", escape="\\", encoding="latin-1")
    assert read_header(write(b"'a|b'|c\\|d|\xe9\n"), options) == ("a|b", "c|d", "é")
    assert read_header(write(b'"a"\tb\n'), TableOptions("csv", delimiter="\t", quote=None)) == ('"a"', "b")


@pytest.mark.fault("J12")
def test_a_header_may_be_long(write):
    names = tuple(f"column {number}" for number in range(100_000))
    path = write(",".join(names).encode() + b"\n" + b"," * 99_999 + b"\n")
    assert read_header(path, CSV) == names
    assert split_file(path, CSV).record_count == 1


@pytest.mark.fault("J10")
@pytest.mark.parametrize(
    ("data", "said", "hint"),
    [
        (b",a,b\n", "column 1 of .* has no name", "index=False"),
        (b'a," "\n', "column 2 of .* has no name", "name it"),
        (b"a,b,a\n", "columns 1 and 3 of .* have the same name, 'a'", "rename"),
        (b"a,\xff\n", "the header of .* is not utf-8, at byte 2 of it", "latin-1"),
    ],
)
def test_a_header_that_does_not_name_each_column_once_is_refused(write, data, said, hint):
    path = write(data)
    with pytest.raises(DatasetError, match=said) as caught:
        read_header(path, CSV)
    assert hint in caught.value.hint
    assert read_header(path, TableOptions("csv", header=False, encoding="latin-1"))[0] == "0"


@pytest.mark.fault("J3", "J6", "J8")
@pytest.mark.parametrize(
    ("data", "said", "hint"),
    [
        ("a,b\n1,2\n".encode("utf-16"), "it is UTF-16 or UTF-32", "iconv"),
        ("a,b\n1,2\n".encode("utf-32"), "it is UTF-16 or UTF-32", "iconv"),
        ("a,b\n1,2\n".encode("utf-16-le"), r"there is a NUL byte at line 1 \(byte 1\)", "UTF-16"),
        (b'a,"b\n1,2\n', r"the quote at line 1 \(byte 2\) is never closed", "close it"),
        (b'a\n1\n"2\n', r"the quote at line 3 \(byte 4\) is never closed", "close it"),
        (b"\x1f\x8b\x08\x00", "it is compressed", "one piece"),
        (b"\x28\xb5\x2f\xfd\x00", "it is compressed", "one piece"),
    ],
)
def test_what_is_no_table_of_text_is_refused(write, data, said, hint):
    with pytest.raises(DatasetError, match=f"cannot split .*table.csv: {said}") as caught:
        split_file(write(data), CSV)
    assert hint in caught.value.hint


def test_a_header_without_an_end_is_refused_before_it_fills_the_memory(write, monkeypatch):
    monkeypatch.setattr("batchflow.tables.header._HEADER_SIZE_MAX", 100_000)
    path = write(b"x," * 1_000_000 + b"\n")
    with pytest.raises(DatasetError, match="its first record is longer than 100,000 bytes"):
        read_header(path, CSV)
    monkeypatch.undo()
    with pytest.raises(
        DatasetError, match=r"the field that begins at line 1 \(byte 0\) is longer than field_size_max=10 "
    ):
        read_header(write(b"x" * 11 + b"\n"), TableOptions("csv", field_size_max=10))
    before = csv.field_size_limit(131_072)  # as Python has it
    try:
        with pytest.raises(DatasetError, match=r"cannot read the header of .*: field larger than field limit"):
            read_header(write(b"x" * 140_000 + b",y\n"), CSV)
    finally:
        csv.field_size_limit(before)
