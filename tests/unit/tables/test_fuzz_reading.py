"""The first of the random files that are read; ``make fuzz-csv`` plays many more."""

from __future__ import annotations

import pytest
from fuzz.reading import complaint

CASES = 1_500


@pytest.mark.fault("J1", "J2", "J5", "J13")
def test_the_first_random_files_are_read_as_python_reads_them():
    assert [said for seed in range(CASES) if (said := complaint(seed))] == []
