"""Which deaths the kernel caused for want of memory, from counters that the test writes."""

from __future__ import annotations

from pathlib import Path

import pytest

from batchflow.clock import FakeClock
from batchflow.pool.oom import OomWatch, find_counter

pytestmark = pytest.mark.fault("A9")

V1_EVENTS = "oom_kill_disable 0\nunder_oom 0\noom_kill {}\n"
V2_EVENTS = "low 0\nhigh 0\nmax 7\noom 9\noom_kill {}\noom_group_kill 0\n"
VMSTAT = "nr_free_pages 5\noom_kill {}\nswpin 3\n"


class Counter:
    count = 0

    def __call__(self) -> int:
        return self.count


def make(clock: FakeClock) -> tuple[OomWatch, Counter]:
    counter = Counter()
    counter.count = 5
    return OomWatch(clock, counter), counter


def test_each_kill_explains_one_death() -> None:
    watch, counter = make(FakeClock())
    assert not watch.claim()
    counter.count += 2
    assert [watch.claim() for _ in range(3)] == [True, True, False]


def test_a_kill_explains_no_death_of_much_later() -> None:
    """It was another process's: one that the script had started, or another user's."""
    clock = FakeClock()
    watch, counter = make(clock)
    counter.count += 1
    for _ in range(40):
        clock.advance(0.9)
        watch.look()
    assert not watch.claim()


def test_a_kill_counts_from_when_it_was_first_seen() -> None:
    clock = FakeClock()
    watch, counter = make(clock)
    clock.advance(3600)
    counter.count += 1
    clock.advance(29)
    watch.look()
    clock.advance(29)
    assert watch.claim()
    counter.count -= 3  # another counter: the process was moved
    assert not watch.claim()


def test_the_counter_is_not_read_all_the_time() -> None:
    clock = FakeClock()
    reads: list[float] = []

    def read() -> int:
        reads.append(clock.now_s)
        return 0

    watch = OomWatch(clock, read)
    for _ in range(100):
        clock.advance(0.125)
        watch.look()
    assert len(reads) == 1 + 12


def proc(folder: Path, groups: str, mounts: str, vmstat: str = VMSTAT.format(1000)) -> Path:
    (folder / "proc/self").mkdir(parents=True)
    (folder / "proc/self/cgroup").write_text(groups)
    (folder / "proc/self/mountinfo").write_text(mounts.replace("ROOT", str(folder)))
    (folder / "proc/vmstat").write_text(vmstat)
    return folder / "proc"


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_the_counter_of_a_cgroup_of_version_2(tmp_path: Path) -> None:
    mounts = "29 23 0:26 / ROOT/fs rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
    folder = proc(tmp_path, "0::/user.slice/mine.scope\n", mounts)
    events = tmp_path / "fs/user.slice/mine.scope/memory.events"
    write(events, V2_EVENTS.format(3))
    read = find_counter(folder)
    assert read() == 3
    write(events, V2_EVENTS.format(4))
    assert read() == 4
    events.unlink()
    assert read() == 0


def test_the_counter_in_a_container_that_sees_a_part_of_the_tree(tmp_path: Path) -> None:
    mounts = "29 23 0:26 /docker/abc ROOT/fs rw - cgroup2 cgroup2 rw\n"
    folder = proc(tmp_path, "0::/docker/abc/inner\n", mounts)
    write(tmp_path / "fs/inner/memory.events", V2_EVENTS.format(6))
    assert find_counter(folder)() == 6


def test_the_counter_of_a_cgroup_of_version_1(tmp_path: Path) -> None:
    """With a tree of version 2 beside it that has no controllers."""
    mounts = (
        "31 23 0:28 / ROOT rw - tmpfs tmpfs rw\n"
        "32 31 0:29 / ROOT/cpu rw - cgroup cgroup rw,cpu\n"
        "35 31 0:32 / ROOT/mem rw - cgroup cgroup rw,memory\n"
        "41 31 0:38 / ROOT/unified rw - cgroup2 cgroup2 rw\n"
    )
    folder = proc(tmp_path, "9:name=systemd:/\n4:memory:/a:b/c\n1:cpu:/other\n0::/\n", mounts)
    write(tmp_path / "mem/a:b/c/memory.oom_control", V1_EVENTS.format(2))
    assert find_counter(folder)() == 2


@pytest.mark.parametrize(
    ("groups", "mounts"),
    [("", ""), ("0::/../elsewhere\n", "29 23 0:26 / ROOT/fs rw - cgroup2 cgroup2 rw\n"), ("x\n", "y\n")],
)
def test_without_a_cgroup_it_is_the_machines_counter(tmp_path: Path, groups: str, mounts: str) -> None:
    assert find_counter(proc(tmp_path, groups, mounts))() == 1000


def test_where_nothing_is_shown_nothing_is_claimed(tmp_path: Path) -> None:
    assert find_counter(tmp_path / "nothing")() == 0
    assert find_counter(proc(tmp_path, "", "", vmstat="nr_free_pages 5\n"))() == 0
