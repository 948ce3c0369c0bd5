"""The proof that pieces are right is right itself: pieces that are wrong are seen."""

from __future__ import annotations

import csv
from array import array
from dataclasses import replace

import pytest

from batchflow.tables.options import TableOptions
from batchflow.tables.splitting import split_file
from batchflow.tables.verifying import Difference, find_difference

CSV = TableOptions("csv")
DATA = b'\xef\xbb\xbfa,b\n1,"x\ny"\n2,\xff\n\n3,4\n'


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "table.csv"
    path.write_bytes(DATA)
    return str(path)


def test_pieces_that_are_right_have_no_difference(path):
    limit = csv.field_size_limit()
    for size in range(1, len(DATA) + 1):
        assert find_difference(path, CSV, split_file(path, CSV, size=size)) is None
    headless = replace(CSV, header=False, encoding="latin-1")
    assert find_difference(path, headless, split_file(path, headless, rows=1)) is None
    assert csv.field_size_limit() == limit


@pytest.mark.parametrize(
    ("changed", "difference"),
    [
        ({"ends": [12, 20, 24]}, Difference(0, 0, ["1", "x\ny"], ["1", "x\n"])),
        ({"begins": [7, 15, 22]}, Difference(2, 2, ["3", "4"], ["4"])),
        ({"counts": [2, 1, 1]}, Difference(1, 0, ["2", "\udcff"], None)),
        ({"counts": [0, 1, 1]}, Difference(0, 0, ["1", "x\ny"], None)),
        ({"begins": [7, 15], "ends": [15, 20], "counts": [1, 1]}, Difference(2, 2, ["3", "4"], None)),
        ({"begins": [7, 7], "ends": [24, 24], "counts": [3, 3]}, Difference(3, 1, None, ["1", "x\ny"])),
    ],
)
def test_the_first_row_that_is_not_the_same_is_found(path, changed, difference):
    right = split_file(path, CSV, rows=1)
    assert (list(right.begins), list(right.ends)) == ([7, 15, 20], [15, 20, 24])
    wrong = replace(right, **{name: array("q", values) for name, values in changed.items()})
    assert find_difference(path, CSV, wrong) == difference


def test_lines_of_json_are_compared_as_bytes(tmp_path):
    path = tmp_path / "table.jsonl"
    path.write_bytes(b'\xef\xbb\xbf {"a":1}\r\n\n{"a":\r2}\n \n{"a":3}')
    options = TableOptions("jsonl")
    pieces = split_file(str(path), options, rows=1)
    assert find_difference(str(path), options, pieces) is None
    wrong = replace(pieces, ends=array("q", [pieces.ends[0], pieces.ends[1] - 5, pieces.ends[2]]))
    assert find_difference(str(path), options, wrong) == Difference(1, 1, b'{"a":\r2}', b'{"a":')
