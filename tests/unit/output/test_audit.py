from __future__ import annotations

import errno
import json
import os
import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchflow._core import Extent, crc32c
from batchflow.model import FailureEntry
from batchflow.output.audit import PROBLEMS_MAX, Problem, Rows, check_failed_list, check_rows, check_whole
from batchflow.output.checksums import checksum_text

HEADER = b"name,size\n"


def extents_of(pieces: list[bytes], start: int) -> list[Extent]:
    """One extent for each piece, ten items each, one behind the other."""
    found = []
    for index, piece in enumerate(pieces):
        found.append(Extent(10 * index, 10, start, len(piece), crc32c(piece), 10, 0, 1, 1))
        start += len(piece)
    return found


def rows_of(path: Path, pieces: list[bytes], header: bytes = HEADER, **more: bool) -> tuple[Rows, list[Extent]]:
    whole = header + b"".join(pieces)
    path.write_bytes(whole)
    return Rows(path, len(whole), crc32c(whole), header, **more), extents_of(pieces, len(header))


def told(problems: list[Problem]) -> list[str]:
    return [one.describe(one.path.name) for one in problems]


PIECES = [b"a,1\nb,2\n", b"c,3\n", b"d,4\ne,5\n"]


@given(
    pieces=st.lists(st.binary(min_size=1, max_size=50), min_size=1, max_size=8),
    header=st.sampled_from([b"", HEADER]),
    place=st.integers(min_value=0),
    bit=st.integers(0, 7),
)
@settings(max_examples=200, deadline=None)
def test_one_flipped_bit_is_found_in_the_extent_it_lies_in(
    tmp_path_factory: pytest.TempPathFactory, pieces: list[bytes], header: bytes, place: int, bit: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "rows.csv"
    rows, extents = rows_of(path, pieces, header)
    assert check_rows(rows, extents) == []
    content = bytearray(path.read_bytes())
    place %= len(content)
    content[place] ^= 1 << bit
    path.write_bytes(content)
    first, *more = check_rows(rows, extents)
    if place < len(header):
        assert (first.message, first.offset) == ("the header is another one", 0)
    else:
        damaged = next(one for one in extents if one.offset <= place < one.offset + one.size)
        items = f"items {damaged.first_item} to {damaged.first_item + 9}"
        assert (first.message, first.offset) == (f"the rows of {items} are damaged", damaged.offset)
    assert more == []
    assert [one.message for one in check_whole(rows)] == ["the checksum is wrong"]


def test_rows_that_are_all_right_may_still_not_be_what_was_recorded_of_the_whole(tmp_path: Path) -> None:
    rows, extents = rows_of(tmp_path / "rows.csv", PIECES)
    (problem,) = told(check_rows(replace(rows, checksum=rows.checksum ^ 1), extents))
    good, bad = checksum_text(rows.checksum), checksum_text(rows.checksum ^ 1)
    assert problem == f"rows.csv, offset=0: the checksum is wrong, expected={bad}, found={good}"


def test_damage_is_told_with_place_and_values(tmp_path: Path) -> None:
    rows, extents = rows_of(tmp_path / "rows.csv", PIECES)
    rows.path.write_bytes(rows.path.read_bytes().replace(b"c,3", b"c,4"))
    found = crc32c(b"c,4\n")
    assert told(check_rows(rows, extents))[0] == (
        "rows.csv, offset=18: the rows of items 10 to 19 are damaged,"
        f" expected=crc32c:{crc32c(PIECES[1]):08x}, found=crc32c:{found:08x}"
    )


def test_a_file_that_is_too_short_or_too_long(tmp_path: Path) -> None:
    rows, extents = rows_of(tmp_path / "rows.csv", PIECES)
    content = rows.path.read_bytes()
    rows.path.write_bytes(content + b"x")
    longer = "rows.csv, offset=30: it is longer than what was written, expected=30 bytes, found=31 bytes"
    assert told(check_rows(rows, extents)) == told(check_whole(rows)) == [longer]
    grows, extents = rows_of(tmp_path / "rows.csv", PIECES, may_be_longer=True)
    grows.path.write_bytes(content + b"garbage")
    assert check_rows(grows, extents) == []
    rows.path.write_bytes(content[:20])
    shorter = "rows.csv, offset=20: it is shorter than what was written, expected=30 bytes, found=20 bytes"
    assert told(check_whole(rows)) == [shorter]
    assert told(check_rows(grows, extents))[0] == shorter
    assert told(check_rows(grows, extents))[1].startswith(
        "rows.csv, offset=18: it differs from there on, items 10 to 19 are the first, expected="
    )
    assert len(check_rows(grows, extents)) == 2


def test_extents_that_do_not_tile_the_file(tmp_path: Path) -> None:
    rows, extents = rows_of(tmp_path / "rows.csv", PIECES)
    assert told(check_rows(rows, [extents[0], extents[2]])) == [
        "rows.csv, offset=18: bytes belong to no item, expected=18, found=22"
    ]
    assert told(check_rows(rows, [*extents, extents[2]])) == [
        "rows.csv, offset=22: bytes belong to two items, expected=30, found=22"
    ]
    assert told(check_rows(rows, extents[:2])) == [
        "rows.csv, offset=22: the items end elsewhere, expected=30, found=22"
    ]
    assert told(check_rows(rows, []))[0].startswith("rows.csv, offset=10: the items end elsewhere")


def test_what_is_no_file_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    rows = Rows(path, 0, 0)
    every: tuple[Any, ...] = (
        lambda: check_rows(rows, []),
        lambda: check_whole(rows),
        lambda: check_failed_list(path, [], ""),
    )
    assert [told(check()) for check in every] == [["rows.csv: it is missing"]] * 3
    os.mkfifo(path)
    assert [told(check()) for check in every] == [["rows.csv: it is no file"]] * 3
    path.unlink()
    path.symlink_to(path)
    assert [told(check()) for check in every] == [["rows.csv: cannot be read: Too many levels of symbolic links"]] * 3


def test_a_file_that_cannot_be_read_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows, extents = rows_of(tmp_path / "rows.csv", PIECES)

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    expected = ["rows.csv: cannot be read: Permission denied"]
    assert told(check_rows(rows, extents)) == told(check_whole(rows)) == expected
    assert told(check_failed_list(rows.path, [], "")) == expected


def test_damage_everywhere_is_told_in_part(tmp_path: Path) -> None:
    rows, extents = rows_of(tmp_path / "rows.csv", [b"x\n"] * 2 * PROBLEMS_MAX)
    rows.path.write_bytes(HEADER + b"y\nx\n" * PROBLEMS_MAX)
    assert [one.message for one in check_rows(rows, extents)] == [
        f"the rows of items {20 * place} to {20 * place + 9} are damaged" for place in range(PROBLEMS_MAX)
    ]
    rows, extents = rows_of(tmp_path / "rows.csv", [b"x\n"] * 1_000)
    rows.path.write_bytes(HEADER + b"y\nx\n" * 500)
    found = check_rows(rows, extents)
    assert len(found) == PROBLEMS_MAX + 1
    assert found[-1].message == "more is wrong with it, which is not listed"


def test_one_row_that_became_longer_is_told_once(tmp_path: Path) -> None:
    rows, extents = rows_of(tmp_path / "rows.csv", [b"%03d\n" % number for number in range(100)])
    content = rows.path.read_bytes()
    rows.path.write_bytes(content.replace(b"050\n", b"0500\n"))
    length, differs = told(check_rows(rows, extents))
    assert length == "rows.csv, offset=410: it is longer than what was written, expected=410 bytes, found=411 bytes"
    assert differs.startswith(
        "rows.csv, offset=210: it differs from there on, items 500 to 509 are the first, expected="
    )
    rows.path.write_bytes(content.replace(b"050\n051\n", b"051\n050\n"))
    (swapped,) = check_rows(rows, extents)
    assert swapped.message == "it differs from there to byte 218, items 500 to 509 are the first"


def test_a_large_file_is_read_in_small_pieces(tmp_path: Path) -> None:
    path, size = tmp_path / "rows.csv", 64 << 20
    path.touch()
    os.truncate(path, size)
    checksum = 0
    for _ in range(64):
        checksum = crc32c(bytes(1 << 20), checksum)
    tracemalloc.start()
    assert check_rows(Rows(path, size, checksum), [Extent(0, 9, 0, size, checksum, 9, 0, 1, 1)]) == []
    assert check_whole(Rows(path, size, checksum)) == []
    assert tracemalloc.get_traced_memory()[1] < 4 << 20
    tracemalloc.stop()


FAILURES = [
    FailureEntry(3, 2, "exception", {"mini_batch": 0, "message": "bad é"}),
    FailureEntry(10, 3, "shortfall", {"mini_batch": 1, "missing_count": 1}),
]
LINES = [
    {"kind": "exception", "item": "a\udcff", "mini_batch": 0, "message": "bad é"},
    {"kind": "exception", "item": "b", "mini_batch": 0, "message": "bad é"},
    {"kind": "shortfall", "mini_batch": 1, "missing_count": 1, "candidates": ["x", "y", "z"]},
]


GOOD = checksum_text(crc32c("".join(json.dumps(one) + "\n" for one in LINES).encode()))


def listed(path: Path, lines: list[Any]) -> list[str]:
    path.write_text("".join(json.dumps(one) + "\n" for one in lines))
    return told(check_failed_list(path, FAILURES, GOOD))


def test_the_failed_list_is_what_the_journal_lists(tmp_path: Path) -> None:
    path = tmp_path / "failed.jsonl"
    assert listed(path, LINES) == []
    first, wrong = json.dumps(LINES[0]) + "\n", "it is not what the journal lists as failed"
    for lines in (
        [LINES[0], LINES[2]],
        [LINES[0], LINES[1] | {"message": "good"}, LINES[2]],
        [LINES[0], LINES[1] | {"item": 5}, LINES[2]],
        [LINES[0], [], LINES[2]],
    ):
        (problem,) = listed(path, lines)
        assert problem.startswith(f"failed.jsonl, offset={len(first)}: {wrong}, expected=")
    assert "found=nothing" in listed(path, LINES[:2])[0]
    assert "expected=nothing" in listed(path, [*LINES, LINES[0]])[0]
    for candidates in (["x", "y"], ["x", "y", 3], "xyz", None):
        assert len(listed(path, [*LINES[:2], LINES[2] | {"candidates": candidates}])) == 1
    path.write_text(path.read_text()[:-1])
    assert len(check_failed_list(path, FAILURES, GOOD)) == 1
    (problem,) = listed(path, [LINES[0], LINES[1] | {"item": "c"}, LINES[2]])
    assert problem.startswith(f"failed.jsonl, offset=0: the checksum is wrong, expected={GOOD}, found=crc32c:")
    (problem,) = listed(path, [*LINES[:2], LINES[2] | {"candidates": ["x", "y", "Z"]}])
    assert "the checksum is wrong" in problem
    path.write_bytes(b"\xff\n")
    assert told(check_failed_list(path, FAILURES, GOOD))[0].endswith("found=\ufffd")
