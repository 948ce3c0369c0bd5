"""How much memory sorting rows by their keys takes: little, however large the table is."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from system.tables import sorting_child

MB = 1 << 20


def sort(folder: Path, count: int, key_count: int, memory: int) -> dict[str, Any]:
    words = map(str, (folder / "rows", count, key_count, memory))
    ended = subprocess.run(
        [sys.executable, sorting_child.__file__, *words], capture_output=True, text=True, timeout=600, check=False
    )
    assert ended.returncode == 0, ended.stderr
    found = json.loads(ended.stdout)
    assert (found["keys"], found["distinct"], found["rows"]) == (key_count, key_count, count * sorting_child.ROWS)
    return found


def test_a_table_is_sorted_in_a_fraction_of_its_size(tmp_path: Path) -> None:
    found = sort(tmp_path, 100, 500, 8 * MB)
    assert found["size"] > 120 * MB
    assert found["peak"] - found["before"] < 90 * MB


@pytest.mark.slow
def test_ten_thousand_keys_of_a_gigabyte_take_half_of_one_at_most(tmp_path: Path) -> None:
    found = sort(tmp_path, 850, 10_000, 256 * MB)
    assert found["size"] > 1024 * MB
    assert found["peak"] < 512 * MB
