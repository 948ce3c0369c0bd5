"""Files into pieces, what is said about them, and records inside a piece."""

from __future__ import annotations

import os
import re

import pytest
from fuzz.oracle import Dialect
from hypothesis import given
from hypothesis import strategies as st

from batchflow import _core
from batchflow.errors import DatasetError, ResourceError
from batchflow.tables import text_files
from batchflow.tables.options import TableOptions
from batchflow.tables.splitting import find_records, split_file

CSV = TableOptions("csv")


@pytest.fixture
def write(tmp_path):
    def write(data: bytes, name: str = "table.csv") -> str:
        path = tmp_path / name
        path.write_bytes(data)
        return str(path)

    return write


@pytest.mark.fault("J2", "J4")
def test_pieces_follow_each_other_and_have_every_record_once(write):
    path = write(b'a,b\n1,2\r\n3,"4\n"\n\n\r\n5,6')
    pieces = split_file(path, CSV, size=6)
    assert list(zip(pieces.begins, pieces.ends, pieces.counts, strict=True)) == [(4, 19, 2), (19, 22, 1)]
    assert (len(pieces), pieces.record_count, pieces.warnings, pieces.exact_by) == (2, 3, (), "parity")
    assert split_file(path, CSV, rows=1).counts.tolist() == [1, 1, 1]
    assert split_file(path, CSV).begins.tolist() == [4]


@pytest.mark.fault("J9")
@pytest.mark.parametrize("data", [b"", b"a,b", b"a,b\n", b"a,b\n\r\n\n", b"\n\n", b"\xef\xbb\xbf"])
def test_a_file_without_records_has_no_pieces(write, data):
    pieces = split_file(write(data), CSV, size=1)
    assert (len(pieces), pieces.record_count, len(pieces.ends)) == (0, 0, 0)


def test_lines_of_json_are_split_between_them(write):
    path = write(b'\xef\xbb\xbf{"a":"x"}\r\n\n \n{"a":"\\n"}', "table.jsonl")
    pieces = split_file(path, TableOptions("jsonl"), rows=1)
    assert list(zip(pieces.begins, pieces.ends, pieces.counts, strict=True)) == [(3, 17, 1), (17, 27, 1)]


def test_a_quote_that_quotes_nothing_is_warned_of_with_file_and_line(write):
    path = write(b'a,b\n1,5" pipe\n2,"x"\n')
    (warning,) = split_file(path, CSV).warnings
    assert warning == (
        f"{path}: a quote in a field that does not begin with one, at line 2 (byte 7): taken as a character, as "
        "Python's csv does"
    )
    path = write(b'a,b\n1,"a \\"b\\""\n3,"\n"\n')
    (warning,) = split_file(path, CSV).warnings
    assert "line 2 (byte 13)" in warning
    assert "and 1 more like it" in warning
    assert warning.endswith('if the backslash before it is an escape, declare escape = "\\\\"')
    assert split_file(path, TableOptions("csv", escape="\\")).warnings == ()


@pytest.mark.fault("J8")
def test_a_field_without_an_end_is_refused_with_the_line_where_it_begins(write):
    with pytest.raises(DatasetError, match=re.escape("the quote at line 4 (byte 12) is never closed")):
        split_file(write(b'a,b\r\n1,2\n\n3,"4\n' + b"5,6\n" * 10_000), CSV)
    with pytest.raises(
        DatasetError, match=r"the field that begins at line 2 \(byte 2\) is longer than field_size_max=9"
    ):
        split_file(write(b"a\n" + b"x" * 10), TableOptions("csv", field_size_max=9))
    with pytest.raises(DatasetError, match=r"the record that begins at line 1 \(byte 0\) is longer than"):
        split_file(write(b'{"a":1}'), TableOptions("jsonl", field_size_max=3))


def test_a_file_that_cannot_be_read_is_named(tmp_path, write, monkeypatch):
    with pytest.raises(DatasetError, match=r"cannot read .*missing.csv: No such file"):
        split_file(str(tmp_path / "missing.csv"), CSV)
    os.mkfifo(tmp_path / "fifo.csv")
    for name in ("fifo.csv", "."):
        with pytest.raises(DatasetError, match="it is no regular file"):
            split_file(str(tmp_path / name), CSV)

    def broken(*_, **__):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(_core, "split_records", broken)
    with pytest.raises(ResourceError, match=r"cannot read .*table.csv: Input/output error"):
        split_file(write(b"a\n1\n"), CSV)


@pytest.mark.fault("J19")
def test_a_file_that_is_written_to_meanwhile_is_refused(write, monkeypatch):
    path = write(b"a\n1\n")
    real = _core.split_records

    def grown(*arguments, **question):
        with open(path, "ab") as file:
            file.write(b"2\n")
        return real(*arguments, **question)

    monkeypatch.setattr(_core, "split_records", grown)
    with pytest.raises(DatasetError, match="it was written to meanwhile"):
        split_file(path, CSV)

    def cut(*arguments, **question):
        os.truncate(path, 3)
        return real(*arguments, **question)

    monkeypatch.setattr(_core, "split_records", cut)
    with pytest.raises(DatasetError, match="it was written to meanwhile, seen at byte 3"):
        split_file(path, CSV)


def test_a_file_is_closed_whatever_happens(write):
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(DatasetError):
        split_file(write(b"a\n\0"), CSV)
    with text_files.opened(write(b"a\n")) as file:
        assert os.fstat(file.fd).st_size == 2
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (TableOptions("csv", delimiter='"'), "expected different ASCII characters"),
        (TableOptions("csv", delimiter=",,"), "delimiter=',,'"),
        (TableOptions("csv", escape="\n"), "escape='\\\\n'"),
        (TableOptions("csv", encoding="utf-16"), "encoding='utf-16' is not known, or has more"),
        (TableOptions("csv", encoding="shift_jis", delimiter="|"), "encoding='shift_jis'"),
        (TableOptions("csv", encoding="utf-7"), "encoding='utf-7'"),
        (TableOptions("csv", encoding="klingon"), "encoding='klingon' is not known"),
    ],
)
def test_options_that_bytes_cannot_be_split_by_are_refused(write, options, said):
    with pytest.raises(DatasetError, match=said):
        split_file(write(b"a\n"), options)


@pytest.mark.parametrize("encoding", ["utf-8", "cp1252", "latin-1", "euc_jp", "koi8-r", "ascii"])
def test_encodings_that_leave_ascii_alone_are_taken(write, encoding):
    assert split_file(write(b"a\n\xe9\n"), TableOptions("csv", encoding=encoding)).record_count == 1


def test_other_formats_are_not_split_here(write):
    with pytest.raises(ValueError, match="format='parquet' has no records between line breaks"):
        split_file(write(b"a\n"), TableOptions("parquet"))


def test_records_inside_a_piece(write):
    data = b'1,2\n"3\n",4\n\n5,6\n'
    assert find_records(data, CSV, 0, 1) == (0, 4)
    assert find_records(data, CSV, 1, 1) == (4, 12)
    assert find_records(data, CSV, 1, 2) == (4, 16)
    assert find_records(data, CSV, 3, 0) == (16, 16)
    assert find_records(b'{"a":1}\n{"a":2}\n', TableOptions("jsonl"), 1, 1) == (8, 16)
    with pytest.raises(ValueError, match="expected 4 records in the piece, found 3"):
        find_records(data, CSV, 1, 3)
    with pytest.raises(ValueError, match="NUL byte at byte 1 of the piece"):
        find_records(b"a\0", CSV, 0, 1)


@given(
    st.lists(st.sampled_from(["a", '"b\n"', "", '"c""d"', "é"]), min_size=1, max_size=6),
    st.integers(1, 8),
    st.data(),
)
def test_any_records_of_a_piece_are_found(fields, row_count, choice):
    data = "\r\n".join(",".join([str(row), *fields]) for row in range(row_count)).encode()
    skip = choice.draw(st.integers(0, row_count))
    count = choice.draw(st.integers(0, row_count - skip))
    begin, end = find_records(data, CSV, skip, count)
    assert Dialect().rows(data[begin:end]) == Dialect().rows(data)[skip : skip + count]
