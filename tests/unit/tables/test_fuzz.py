"""The first of the random files; ``make fuzz-csv`` plays a million."""

from __future__ import annotations

import pytest
from fuzz.cases import make_case, read_corpus
from fuzz.oracle import Bytes, Dialect, complaint

from batchflow import _core

CASES = 4_000


@pytest.mark.fault("J4", "J6", "J8")
def test_the_first_random_files_are_split_as_python_reads_them():
    corpus, file = read_corpus(), Bytes()
    refused = 0
    for seed in range(CASES):
        case = make_case(seed, corpus)
        assert case.complaint(file) == "", case
        refused += b"\0" in case.data
    file.close()
    assert 0 < refused < CASES / 10


def test_the_judge_sees_what_is_wrong():
    data, dialect = b'a,"\n"\nb\n', Dialect()
    file = Bytes()
    right = _core.split_records(file.put(data), 0, len(data), rows=1, **dialect.for_core())
    file.close()
    assert complaint(data, dialect, right, rows=1) == ""
    wrong = {
        "piece 1 has other rows": right._replace(begins=right.begins[:1] + type(right.begins)("q", [4])),
        "expected 2 records, counted 3": right._replace(record_count=3),
        "piece 0 has 1 records, not 2": right,
        "refused without a reason": right._replace(problem=("NUL byte", 2, 1)),
        "is in line 1, not 2": right._replace(problem=("NUL byte", 2, 2)),
    }
    for said, found in wrong.items():
        assert said in complaint(data, dialect, found, rows=2 if "not 2" in said and "records" in said else 1)
    assert "was not refused" in complaint(b'"a', dialect, right)
    assert "was not refused" in complaint(b"\0", dialect, right)
    assert "was not refused" in complaint(b'"a"\\,', Dialect(escape="\\"), right)
    assert "too long" in complaint(b"abc", Dialect(field_size_max=2), right)
