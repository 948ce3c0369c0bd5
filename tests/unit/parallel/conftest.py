"""What the tests of the committer have in common."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from unit.parallel.committer_bench import Bench
from unit.parallel.played_disk import PlayedDisk


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[PlayedDisk]:
    with PlayedDisk(tmp_path / "rows.csv.partial") as disk:
        yield disk


@pytest.fixture
def bench(tmp_path: Path, disk: PlayedDisk) -> Iterator[Bench]:
    bench = Bench(tmp_path, disk)
    yield bench
    bench.close()
