"""Workers that leave because of their age or their memory, and those that eat all memory."""

from __future__ import annotations

import pytest
from system.parallel.steps import ALL, Steps, numbered, script

FOLDER = "FOLDER = Path(__file__).parent\nHELD = []\n"
COUNTS = """
with open(FOLDER / "pids", "a") as log:
    log.write(f"{os.getpid()} {len(names)}\\n")
"""


def items_by_worker(steps: Steps) -> dict[str, int]:
    """Items given to each process, in the order of their first mini-batches."""
    found: dict[str, int] = {}
    for line in (steps.folder / "pids").read_text().splitlines():
        pid, count = line.split()
        found[pid] = found.get(pid, 0) + int(count)
    return found


@pytest.mark.fault("C24")
@pytest.mark.parametrize("workers", [1, 2])
def test_a_worker_leaves_after_so_many_items(steps: Steps, workers: int) -> None:
    outcome = steps.run(
        script(COUNTS, before=FOLDER + "def shutdown():\n    (FOLDER / f'left-{os.getpid()}').touch()\n"),
        files=100,
        mini_batch_size=3,
        workers=workers,
        max_items_per_worker=12,
    )
    assert outcome.rows == numbered((0, 100))
    assert outcome.done().worker_deaths == 0
    assert outcome.notices == []
    lives = items_by_worker(steps)
    assert sum(lives.values()) == 100
    assert max(lives.values()) <= 12
    assert len(lives) >= 9
    assert {one.name for one in steps.folder.glob("left-*")} >= {f"left-{pid}" for pid in lives}


def test_a_limit_below_the_mini_batch_is_one_mini_batch(steps: Steps) -> None:
    outcome = steps.run(script(COUNTS, before=FOLDER), files=15, workers=1, max_items_per_worker=1)
    assert outcome.rows == numbered((0, 15))
    assert list(items_by_worker(steps).values()) == [5, 5, 5]


@pytest.mark.fault("C24")
def test_a_worker_that_holds_too_much_leaves_between_mini_batches(steps: Steps) -> None:
    body = COUNTS + "HELD.append(bytearray(os.urandom(1) * (25 << 20)))\ntime.sleep(0.11)\n"
    outcome = steps.run(script(body, before=FOLDER), files=24, mini_batch_size=1, workers=1, worker_memory=200 << 20)
    assert outcome.rows == numbered((0, 24))
    assert outcome.done().worker_deaths == 0
    assert 2 <= len(items_by_worker(steps)) <= 5


def test_an_item_that_eats_all_memory_is_the_only_one_that_fails(steps: Steps) -> None:
    body = """
if "00007" in names:
    while True:
        HELD.append(bytearray(b"x" * (8 << 20)))
        time.sleep(0.005)
"""
    outcome = steps.run(
        script(body, before=FOLDER), files=15, mini_batch_size=5, worker_memory=150 << 20, error_threshold=ALL
    )
    assert outcome.rows == [one for one in numbered((0, 15)) if one != "00007"]
    (entry,) = outcome.failed
    assert (entry["kind"], entry["error_type"]) == ("memory", "OutOfMemoryError")
    assert "more than worker_memory=150 MiB, and was killed, mini_batch_index=1, attempt=" in entry["message"]
