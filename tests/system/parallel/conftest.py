"""Every test of parallel steps ends with a look at what it left behind."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from system.parallel.steps import Steps


@pytest.fixture
def steps(tmp_path: Path) -> Iterator[Steps]:
    steps = Steps(tmp_path / "steps")
    yield steps
    steps.check()
