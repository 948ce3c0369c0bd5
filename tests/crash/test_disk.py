"""The model of a disk that loses power: what must be there, what may be there, what cannot be."""

from __future__ import annotations

import pytest

from tests.crash.control import Entry, Kind
from tests.crash.disk import Disk, File, Folder, UnmodelledError

SEEDS = [f"r{seed}" for seed in range(200)]


def entry(kind, path="", *, inode=0, offset=0, data=b"", length=0, path2="", error=0):
    return Entry(Kind(kind), error, 1, inode, offset, length or len(data), 7, path, path2, data)


def disk(*entries, tree=None):
    return Disk(tree or {}).apply(entries, {})


def contents(one, data="all", names=None):
    names = one.pending_names if names is None else names
    tree = one.after_power_loss(data, names)
    return {path: found.content if isinstance(found, File) else None for path, found in tree.items()}


CREATE = entry(Kind.CREATE, "a", inode=1)
WRITE = entry(Kind.WRITE, "a", inode=1, data=b"x" * 1000)
SYNC = entry(Kind.SYNC, "a", inode=1)
SYNC_ROOT = entry(Kind.SYNC, "", inode=9)


def test_a_name_is_durable_after_a_sync_of_its_folder_only():
    assert contents(disk(CREATE, WRITE, SYNC), names=0) == {}
    assert contents(disk(CREATE, WRITE, SYNC, SYNC_ROOT), names=0) == {"a": b"x" * 1000}


def test_data_is_durable_after_a_sync_of_the_file_only():
    one = disk(CREATE, SYNC_ROOT, WRITE)
    assert contents(one, "none") == {"a": b""}
    assert contents(one, "all") == {"a": b"x" * 1000}
    assert contents(one, "size") == {"a": bytes(1000)}
    assert contents(disk(CREATE, SYNC_ROOT, WRITE, SYNC), "none") == {"a": b"x" * 1000}


def test_sectors_survive_whole_and_in_any_selection():
    one = disk(CREATE, SYNC_ROOT, WRITE)
    found = {contents(one, seed)["a"] for seed in SEEDS}
    full, first, second = b"x" * 1000, b"x" * 512 + bytes(488), bytes(512) + b"x" * 488
    assert found == {b"", bytes(1000), full, first, second}


def test_an_overwrite_may_leave_old_and_new_sectors():
    old = {"a": File(1, b"o" * 1024)}
    one = disk(entry(Kind.WRITE, "a", inode=1, offset=256, data=b"n" * 512), tree=old)
    found = {contents(one, seed)["a"] for seed in SEEDS}
    assert found == {
        b"o" * 1024,
        b"o" * 256 + b"n" * 256 + b"o" * 512,
        b"o" * 512 + b"n" * 256 + b"o" * 256,
        b"o" * 256 + b"n" * 512 + b"o" * 256,
    }


def test_a_truncation_may_be_lost_and_later_data_kept():
    cut = entry(Kind.TRUNCATE, "a", inode=1, length=100)
    one = disk(cut, entry(Kind.WRITE, "a", inode=1, offset=100, data=b"n" * 50), tree={"a": File(1, b"o" * 300)})
    assert contents(one, "none") == {"a": b"o" * 300}
    assert contents(one, "all") == {"a": b"o" * 100 + b"n" * 50}
    found = {contents(one, seed)["a"] for seed in SEEDS}
    assert b"o" * 100 + b"n" * 50 + b"o" * 150 in found
    assert b"o" * 100 in found
    assert b"o" * 100 + bytes(50) in found


def test_names_reach_the_disk_in_order():
    rename = entry(Kind.RENAME, "a", path2="b")
    one = disk(CREATE, SYNC_ROOT, entry(Kind.MKDIR, "d"), rename)
    assert [sorted(contents(one, names=count)) for count in range(3)] == [["a"], ["a", "d"], ["b", "d"]]


def test_a_sync_of_one_folder_makes_what_came_before_durable_elsewhere_too():
    one = disk(
        entry(Kind.MKDIR, "d"),
        CREATE,
        entry(Kind.CREATE, "d/b", inode=2),
        entry(Kind.SYNC, "d"),
        entry(Kind.MKDIR, "e"),
    )
    assert sorted(contents(one, names=0)) == ["a", "d", "d/b"]


def test_a_rename_moves_what_is_below_a_folder_and_an_exchange_both():
    tree = {"d": Folder(8), "d/x": File(1, b"1"), "e": Folder(9), "e/y": File(2, b"2")}
    assert sorted(contents(disk(entry(Kind.RENAME, "d", path2="f"), tree=tree))) == ["e", "e/y", "f", "f/x"]
    assert contents(disk(entry(Kind.EXCHANGE, "d", path2="e"), tree=tree)) == {
        "d": None,
        "d/y": b"2",
        "e": None,
        "e/x": b"1",
    }


def test_what_is_renamed_keeps_its_inode_number():
    made = disk(entry(Kind.MKDIR, "d", inode=8), entry(Kind.RENAME, "d", path2="e"))
    assert made.after_power_loss("all", 2) == {"e": Folder(8)}
    assert disk(CREATE, entry(Kind.RENAME, "a", path2="b")).after_power_loss("all", 2) == {"b": File(1, b"", 7)}


def test_a_file_that_is_renamed_without_a_sync_may_be_empty_under_its_new_name():
    one = disk(CREATE, WRITE, entry(Kind.RENAME, "a", path2="final"), SYNC_ROOT)
    assert contents(one, "none", 0) == {"final": b""}


def test_what_a_failed_sync_lost_is_lost_for_good():
    one = disk(CREATE, SYNC_ROOT, WRITE, entry(Kind.SYNC, "a", inode=1, error=5), SYNC)
    assert contents(one, "all") == {"a": b""}


def test_operations_that_failed_change_nothing():
    assert contents(disk(entry(Kind.CREATE, "a", inode=1, error=28), entry(Kind.UNLINK, "b", error=2))) == {}


def test_everything_is_durable_after_a_sync_of_the_file_system():
    one = disk(CREATE, WRITE, entry(Kind.SYNC_ALL, "d"))
    assert one.is_settled
    assert contents(one, "none", 0) == {"a": b"x" * 1000}


def test_an_allocation_only_grows():
    grow = entry(Kind.ALLOCATE, "a", inode=1, length=10)
    assert contents(disk(grow, tree={"a": File(1, b"o" * 4)})) == {"a": b"o" * 4 + bytes(6)}
    assert contents(disk(grow, tree={"a": File(1, b"o" * 20)})) == {"a": b"o" * 20}


def test_what_is_not_understood_is_refused():
    with pytest.raises(UnmodelledError, match="unmodelled a"):
        disk(entry(Kind.UNMODELLED, "a"))
    with pytest.raises(UnmodelledError, match="map records"):
        disk(entry(Kind.MAP, "records"))
    assert contents(disk(entry(Kind.MAP, "records-shm"))) == {}
