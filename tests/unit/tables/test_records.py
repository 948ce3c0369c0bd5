"""Where records begin: the core's scan and its automaton, by values written by hand and against each other."""

from __future__ import annotations

import os
import random
from array import array

import pytest
from fuzz.oracle import Bytes, Dialect, complaint
from hypothesis import given
from hypothesis import strategies as st

from batchflow import _core
from benchmarks import process

CSV = {"delimiter": ord(","), "quote": ord('"'), "escape": -1, "field_size_max": 1 << 20}
LINES = CSV | {"lines": True}


@pytest.fixture(scope="module")
def file():
    file = Bytes()
    yield file
    file.close()


def split(file, data: bytes, **question) -> _core.RecordSplit:
    return _core.split_records(file.put(data), 0, len(data), **{**CSV, **question})


def begins(file, data: bytes, **question) -> list[int]:
    """Where the records of ``data`` begin."""
    return list(split(file, data, rows=1, **question).begins)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", []),
        (b"\n\r\n\r\n", []),
        (b"a", [0]),
        (b"a\nb", [0, 2]),
        (b"a\r\nb\r\n", [0, 3]),
        (b"a\rb\r", [0, 2]),
        (b"\n\na\n\r\n\rb\n", [2, 7]),
        (b'"a\nb"\nc', [0, 6]),
        (b'"a""\n""b"\nc', [0, 10]),
        (b'""\n""', [0, 3]),
        (b',\n,"\n",\n', [0, 2]),
        (b'a"b\nc"d\n', [0, 4]),
        (b'"a"b"\nc"d\n', [0, 6]),
        (b'"a" "\n"\n', [0, 6]),
    ],
)
@pytest.mark.parametrize("scan", _core.RECORD_SCANS)
def test_records_begin_where_python_begins_them(file, data, expected, scan):
    assert begins(file, data, scan=scan) == expected


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", []),
        (b'{"a":1}\n{"a":2}', [0, 8]),
        (b' {"a":1}\r\n\r\n\t \n\t{"a":2}\r\n \t', [1, 16]),
        (b'{"a":\r1}\n[1]\n', [0, 9]),
        (b'{"a":"\\"\n{"b":"', [0, 9]),
    ],
)
@pytest.mark.parametrize("scan", _core.RECORD_SCANS)
def test_lines_of_json_are_records(file, data, expected, scan):
    assert begins(file, data, scan=scan, lines=True) == expected


def test_a_piece_begins_at_the_first_record_behind_its_size(file):
    data = b"aaa\nbbb\nccc\nddd\n"
    for size, expected in {
        1: [0, 4, 8, 12],
        4: [0, 4, 8, 12],
        5: [0, 8],
        8: [0, 8],
        9: [0, 12],
        13: [0],
        0: [0],
    }.items():
        found = split(file, data, size=size)
        assert list(found.begins) == expected
        assert sum(found.counts) == found.record_count == 4
    assert list(split(file, data, rows=3).begins) == [0, 12]
    assert split(file, data, rows=3).counts == array("q", [3, 1])


def test_the_bytes_before_and_behind_are_not_looked_at(file):
    data = b'"x\naaa\nbbb\n"'
    found = _core.split_records(file.put(data), 3, 11, rows=1, **CSV)
    assert (list(found.begins), found.problem) == ([3, 7], None)


@pytest.mark.parametrize(
    ("data", "question", "problem"),
    [
        (b"a\nb\0c\n", {}, ("NUL byte", 3, 2)),
        (b'a\n"b\nc\n', {}, ("unclosed quote", 2, 2)),
        (b'a,"', {}, ("unclosed quote", 2, 1)),
        (b'a\r\n\r\nb,"c""\r\n', {}, ("unclosed quote", 7, 3)),
        (b"a\\", {"escape": ord("\\")}, ("escape at end", 1, 1)),
        (b'"a"\\,\n', {"escape": ord("\\")}, ("escape after quote", 3, 1)),
        (b"a\nbb,cccc\n", {"field_size_max": 3}, ("long field", 5, 2)),
        (b"a\nbb,cccc", {"field_size_max": 3}, ("long field", 5, 2)),
        (b"a\nbbbb\n", {"field_size_max": 3, "lines": True}, ("long field", 2, 2)),
    ],
)
def test_what_cannot_be_split_is_found_where_it_is(file, data, question, problem):
    assert split(file, data, **question).problem == problem
    assert split(file, data, grain=64, **question).problem == problem


@pytest.mark.parametrize("shift", range(4))
def test_lines_are_counted_as_an_editor_counts_them(file, shift):
    # With one of the shifts every word of 64 bytes, and every block that is read, ends between CR and LF.
    data = b"x" * shift + b"ab\r\n" * 70_000 + b"c\rd\ne\n\rf\0"
    assert split(file, data).problem == ("NUL byte", len(data) - 1, 70_005)


@pytest.mark.fault("J7", "J12")
def test_a_field_may_be_as_long_as_is_said_and_no_longer(file):
    for length, is_long in ((100_000, False), (100_001, True)):
        for grain in (64, 16384):
            data = b"a,b\n1," + b"x" * length + b"\n2,3\n" * 100
            found = split(file, data, grain=grain, field_size_max=100_000)
            assert found.problem == (("long field", 6, 2) if is_long else None)
    columns = b",".join([b'"x"'] * 100_000) + b"\n"
    found = split(file, columns * 3, rows=1, field_size_max=100_000)
    assert (found.problem, list(found.begins)) == (None, [0, 400_000, 800_000])


@pytest.mark.fault("J12")
@pytest.mark.parametrize("escape", [-1, ord("\\")])
def test_a_line_of_any_length_takes_no_memory(file, escape):
    fd = file.put(b"")
    for _ in range(64):
        os.write(fd, b"x," * (1 << 19))
    size = os.lseek(fd, 0, os.SEEK_END)
    os.lseek(fd, 0, os.SEEK_SET)
    before = process.reset_peak()
    found = _core.split_records(fd, 0, size, size=1 << 20, **CSV | {"escape": escape})
    assert (found.problem, found.record_count, list(found.begins)) == (None, 1, [0])
    assert process.peak() - before < 8 << 20
    os.ftruncate(fd, 0)


def test_a_long_field_is_found_before_what_is_behind_it(file):
    data = b"a\nb," + b"x" * 100_001 + b"\nc\n\0\n"
    for grain in (64, 1024, 16384):
        assert split(file, data, grain=grain, field_size_max=100_000).problem == ("long field", 4, 2)


def test_quotes_that_quote_nothing_are_noted_and_counted(file):
    found = split(file, b'a\n5"\n"b"c"d"\n' + b'e"\n' * 100)
    assert found.notes[:4] == [("bare quote", 3, 2), ("bare quote", 9, 3), ("bare quote", 11, 3), ("bare quote", 14, 4)]
    assert (len(found.notes), found.note_count, found.exact_by) == (64, 103, "automaton")
    assert split(file, b'"a ""b""",""\n').exact_by == "parity"


def test_parity_is_trusted_again_behind_a_quote_that_quotes_nothing(file):
    data = b'a,b"\n' + b'1,"x\ny"\n' * 20_000
    found = split(file, data, size=1000)
    assert (found.note_count, found.record_count) == (1, 20_001)
    assert complaint(data, Dialect(), found, size=1000) == ""


@pytest.mark.parametrize("kind", [CSV, LINES, CSV | {"quote": -1}])
def test_all_scans_grains_and_threads_give_one_answer(file, kind):
    chance = random.Random(5)
    tokens = [b"abc", b",", b'"x\ny"', b'""', b"\n", b"\n", b"\r\n", b"\r", b'{"a":1}\n', b"z" * 40]
    data = b"".join(chance.choices(tokens, k=150_000)) + b"\n"
    for question in ({"size": 1000}, {"rows": 7}, {"size": 50_000}):
        answers = [
            split(file, data, scan=scan, grain=grain, threads=threads, **{**kind, **question})[:3]
            for scan in _core.RECORD_SCANS
            for grain, threads in ((64, 1), (64, 3), (192, 2), (16384, 1), (16384, 2))
        ]
        assert answers[1:] == answers[:-1]


@given(st.binary(max_size=300), st.integers(1, 310), st.sampled_from(_core.RECORD_SCANS))
def test_any_bytes_are_split_as_python_reads_them(data, size, scan):
    file = Bytes()
    try:
        found = split(file, data, size=size, grain=64, scan=scan)
        assert complaint(data, Dialect(), found, size=size) == ""
    finally:
        file.close()


@pytest.mark.fault("J19")
def test_a_file_that_is_shorter_than_it_was_is_seen(file):
    fd = file.put(b"a\nb\n")
    for threads in (1, 2):
        found = _core.split_records(fd, 0, 10_000_000, grain=64, threads=threads, **CSV)
        assert found.problem == ("changed", 4, 3)
    found = _core.split_records(fd, 0, 100, **CSV | {"escape": ord("\\")})
    assert found.problem == ("changed", 4, 3)
    assert _core.split_records(file.put(b"\n\n"), 0, 100, **CSV).problem == ("changed", 2, 3)


def test_a_descriptor_that_cannot_be_read_is_an_error():
    read, write = os.pipe()
    try:
        with pytest.raises(OSError, match="Illegal seek"):
            _core.split_records(read, 0, 10, **CSV)
    finally:
        os.close(read)
        os.close(write)


@pytest.mark.parametrize(
    ("question", "said"),
    [
        ({"delimiter": ord('"')}, "must be different ASCII"),
        ({"delimiter": -1}, "must be different ASCII"),
        ({"quote": 10}, "must be different ASCII"),
        ({"quote": 200}, "must be different ASCII"),
        ({"size": 1, "rows": 1}, "not to be split"),
        ({"size": -1}, "not to be split"),
        ({"field_size_max": 0}, "not to be split"),
        ({"grain": 100}, "no multiple of 64"),
        ({"grain": 1 << 20}, "no multiple of 64"),
        ({"scan": "mmx"}, "not in tuple"),
    ],
)
def test_a_question_without_meaning_is_refused(file, question, said):
    with pytest.raises(ValueError, match=said):
        split(file, b"a", **question)


@pytest.mark.parametrize(
    ("skip", "count", "expected"),
    [
        (0, 1, (1, 4, 2, None)),
        (0, 2, (1, 10, 3, None)),
        (1, 1, (4, 10, 3, None)),
        (1, 2, (4, 14, 3, None)),
        (2, 1, (10, 14, 3, None)),
        (2, 0, (10, 10, 3, None)),
        (3, 0, (14, 14, 3, None)),
        (0, 9, (1, 14, 3, None)),
    ],
)
def test_records_are_found_inside_a_piece(skip, count, expected):
    assert _core.record_range(b'\na\n\n"\n",b\nc\n\n\n'[:14], skip, count, **CSV) == expected


def test_a_problem_in_front_of_the_end_is_told_and_none_behind_it():
    data = b"a\nb\n\0\n"
    assert _core.record_range(data, 0, 1, **CSV) == (0, 2, 2, None)
    assert _core.record_range(data, 0, 2, **CSV) == (0, 6, 2, ("NUL byte", 4))
    assert _core.record_range(b'a\n"', 0, 2, **CSV) == (0, 3, 2, ("unclosed quote", 2))
    assert _core.record_range(b"", 0, 1, **CSV) == (0, 0, 0, None)
    with pytest.raises(ValueError, match="skip=-1"):
        _core.record_range(b"", -1, 1, **CSV)


@given(st.lists(st.sampled_from([b"a", b",", b'"', b"\n", b"\r\n", b"x" * 9]), max_size=80).map(b"".join))
def test_records_inside_are_those_of_the_split(data):
    file = Bytes()
    found = split(file, data, rows=1)
    file.close()
    if found.problem is None:
        ends = [*found.begins[1:], len(data)]
        for index, begin in enumerate(found.begins):
            assert _core.record_range(data, index, 1, **CSV)[:2] == (begin, ends[index])
