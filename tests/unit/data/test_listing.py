"""The packed listing itself: access, limits, digest, and what a damaged one does."""

from __future__ import annotations

import json
import os
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit.data.reference import touch

from batchflow._core import Listing, ListingBuilder
from batchflow.data import list_files

Item = tuple[bytes, bytes, int, int]


def build(items: list[Item], *, with_stat: bool = True) -> Listing:
    builder = ListingBuilder(with_stat, 1)
    for item in items:
        builder.add(*item)
    return builder.finish()


def numbered(count: int) -> list[Item]:
    return [(b"/d%d/" % (number // 3), b"n%d" % number, number, -number) for number in range(count)]


def test_items_are_what_was_added() -> None:
    listing = build(numbered(10))
    assert (len(listing), listing.item_count, listing.has_stat) == (10, 10, True)
    assert listing.paths(0, 10) == [f"/d{number // 3}/n{number}" for number in range(10)]
    assert listing.paths(4, 7) == ["/d1/n4", "/d1/n5", "/d2/n6"]
    assert listing.paths(10, 10) == []
    assert (listing.path(9), listing.size(9), listing.mtime_ns(9)) == ("/d3/n9", 9, -9)


@pytest.mark.parametrize(("start", "stop"), [(-1, 2), (0, 4), (3, 2), (4, 4), (2**62, 2**62 + 1)])
def test_ranges_outside_are_index_errors(start: int, stop: int) -> None:
    with pytest.raises(IndexError, match=f"start={start} stop={stop} is outside of item_count=3"):
        build(numbered(3)).paths(start, stop)


@pytest.mark.parametrize("index", [-1, 3])
def test_items_outside_are_index_errors(index: int) -> None:
    listing = build(numbered(3))
    for access in (listing.path, listing.size, listing.mtime_ns):
        with pytest.raises(IndexError, match=f"item_index={index} is outside of item_count=3"):
            access(index)


def test_an_empty_listing_travels_too() -> None:
    listing = build([])
    copy = Listing.attach(listing.fds(), listing.describe())
    assert (len(copy), copy.paths(0, 0), copy.digest()) == (0, [], listing.digest())


names = st.binary(min_size=1, max_size=12).map(lambda name: name.replace(b"\0", b"0").replace(b"/", b"_"))


@given(
    items=st.lists(st.tuples(st.sampled_from([b"/", b"/a/", b"/\xc3\xa9/", b"/\xff/"]), names), max_size=40),
    data=st.data(),
)
def test_paths_decode_as_fsdecode_does(items: list[tuple[bytes, bytes]], data: st.DataObject) -> None:
    listing = build([(folder, name, 1, 2) for folder, name in items])
    start = data.draw(st.integers(0, len(items)))
    stop = data.draw(st.integers(start, len(items)))
    expected = [os.fsdecode(folder + name) for folder, name in items]
    assert listing.paths(start, stop) == expected[start:stop]
    assert [listing.path(item) for item in range(start, stop)] == expected[start:stop]


def test_ascii_paths_are_ascii_strings() -> None:
    path = build([(b"/folder/", b"n" * 200, 0, 0)]).path(0)
    assert path.isascii()
    assert hash(path) == hash("/folder/" + "n" * 200)


# --- digest


def test_the_digest_depends_on_the_items_alone(tmp_path: Path) -> None:
    touch(tmp_path, "a/1", "a/2", "b/3", "c")
    once = list_files([f"{tmp_path}/"])
    apart = list_files([f"{tmp_path}/a/1", f"{tmp_path}/a/*", f"{tmp_path}/b/", f"{tmp_path}/?"])
    assert once.paths(0, 4) == apart.paths(0, 4)
    assert len(once.digest()) == 16
    assert once.digest() == apart.digest() == Listing.attach(once.fds(), once.describe()).digest()


BASE: list[Item] = [(b"/a/", b"b", 1, 2), (b"/a/", b"c", 3, 4), (b"/d/", b"e", 5, 6)]


@pytest.mark.parametrize(
    "other",
    [
        BASE[:2],
        [*BASE, (b"/d/", b"f", 7, 8)],
        [BASE[1], BASE[0], BASE[2]],
        [(b"/a/", b"b", 9, 2), *BASE[1:]],
        [(b"/a/", b"b", 1, 9), *BASE[1:]],
        [(b"/a/", b"x", 1, 2), *BASE[1:]],
        [(b"/x/", b"b", 1, 2), *BASE[1:]],
        [(b"/a/", b"bc", 1, 2), (b"/a/", b"", 3, 4), BASE[2]],
        [(b"/a/", b"b", 1, 2), (b"/a/c/", b"d", 3, 4), BASE[2]],
        [],
    ],
)
def test_another_item_is_another_digest(other: list[Item]) -> None:
    other = [item for item in other if item[1]]
    assert build(other).digest() != build(BASE).digest()


def test_the_digest_of_files_below_a_folder_does_not_depend_on_where_it_lies() -> None:
    def at(folder: bytes) -> Listing:
        inside = [(folder, b"a", 1, 2), (folder + b"in/", b"b", 3, 4)]
        return build([*inside, (b"/elsewhere/", b"c", 5, 6)])

    old, new = at(b"/old/place/"), at(b"/new/")
    assert old.digest() != new.digest()
    assert old.digest(b"/old/place") == old.digest("/old/place/") == new.digest("/new")
    assert old.digest("/old") != new.digest("/new")
    assert old.digest("/old/pla") == old.digest()
    assert build([(b"/x/in/", b"b", 3, 4)]).digest("/x") != build([(b"/in/", b"b", 3, 4)]).digest("/x")


def test_the_digest_tells_a_listing_with_stat_from_one_without() -> None:
    assert build(BASE).digest() != build(BASE, with_stat=False).digest()


def test_large_segments_and_many_segments_are_hashed_alike_every_time() -> None:
    wide: list[Item] = [(b"/wide/", b"%040d" % number, 0, 0) for number in range(5000)]
    many: list[Item] = [(b"/d%d/" % number, b"n", 0, 0) for number in range(5000)]
    assert build(wide + many).digest() == build(wide + many).digest()
    assert build(wide + many).digest() != build([*wide, (b"/wide/", b"x", 0, 0), *many[1:]]).digest()


# --- memory


def test_an_item_costs_at_most_24_bytes_and_its_name() -> None:
    items: list[Item] = [(b"/data/%03d/" % (number // 1000), b"%08d" % number, 1, 1) for number in range(50_000)]
    listing = build(items)
    assert listing.memory_size <= sum(24 + len(name) for _, name, _, _ in items)
    assert sum(os.fstat(fd).st_size for fd in listing.fds()) == listing.memory_size


@pytest.mark.fault("G4")
def test_nobody_can_change_a_listing() -> None:
    listing = build(numbered(5))
    for fd in listing.fds():
        with pytest.raises(PermissionError):
            os.write(fd, b"x")
        with pytest.raises(PermissionError):
            os.truncate(fd, 0)


# --- damage


def test_the_description_is_json() -> None:
    listing = build(numbered(7))
    description = json.loads(json.dumps(listing.describe()))
    fds = listing.fds()
    copy = Listing.attach(fds, description)
    assert copy.paths(0, 7) == listing.paths(0, 7)
    assert copy.describe() == listing.describe()
    assert not set(copy.fds()) & set(fds)
    del listing
    assert copy.path(6) == "/d2/n6"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("item_count", 8),
        ("item_count", 2**40),
        ("item_count", 2**63),
        ("item_count", 0),
        ("segment_count", 0),
        ("segment_count", 4),
        ("segment_count", 2**61),
        ("names_size", 0),
        ("names_size", 1),
        ("names_size", 10_000),
        ("names_size", 9),
    ],
)
def test_a_description_that_does_not_fit_is_refused(key: str, value: int) -> None:
    listing = build(numbered(7))
    with pytest.raises(ValueError, match="the description does not fit the listing"):
        Listing.attach(listing.fds(), listing.describe() | {key: value})


@pytest.mark.fault("S38")
@pytest.mark.parametrize("change", [{"item_count": -1}, {"item_count": 2**64}])
def test_numbers_that_are_no_counts_are_refused(change: dict[str, int]) -> None:
    listing = build(numbered(7))
    with pytest.raises(OverflowError):
        Listing.attach(listing.fds(), listing.describe() | change)


def test_too_few_descriptors_or_another_version_are_refused() -> None:
    listing = build(numbered(7))
    with pytest.raises(ValueError, match="expected 4 descriptors and version=1, got 2 and version=1"):
        Listing.attach(listing.fds()[:2], listing.describe())
    with pytest.raises(ValueError, match="got 4 and version=2"):
        Listing.attach(listing.fds(), listing.describe() | {"version": 2})


def test_descriptors_that_are_no_listing_are_refused() -> None:
    listing = build(numbered(7))
    ends = os.pipe()
    try:
        with pytest.raises(ValueError, match="the description does not fit the listing"):
            Listing.attach([ends[0]] * 4, listing.describe())
        with pytest.raises(ValueError, match="the description does not fit the listing"):
            Listing.attach(tuple(reversed(listing.fds())), listing.describe())
    finally:
        os.close(ends[0])
        os.close(ends[1])


def use_everything(listing: Listing) -> None:
    for action in (lambda: listing.paths(0, len(listing)), listing.digest, lambda: [listing.path(len(listing) // 2)]):
        try:
            action()
        except ValueError as error:
            assert "the listing is damaged" in str(error)
        except IndexError:
            assert len(listing) == 0


def test_damaged_columns_never_read_outside(tmp_path: Path) -> None:
    seed = random.randrange(2**32)
    source = random.Random(seed)
    sound = build(numbered(40))
    columns = [os.pread(fd, 1 << 20, 0) for fd in sound.fds()]
    try:
        for _ in range(400):
            damaged = [bytearray(column) for column in columns]
            for _ in range(source.randrange(1, 8)):
                column = source.choice(damaged)
                column[source.randrange(len(column))] = source.choice([0, 1, 127, 128, 255, source.randrange(256)])
            damaged[-1][-1] = 0
            fds = [os.memfd_create(f"damaged{index}") for index in range(4)]
            for fd, column in zip(fds, damaged, strict=True):
                os.write(fd, column)
            listing = Listing.attach(fds, sound.describe())
            for fd in fds:
                os.close(fd)
            use_everything(listing)
    except BaseException:
        print(f"seed={seed}")
        raise


def test_random_descriptions_are_refused_or_harmless() -> None:
    seed = random.randrange(2**32)
    source = random.Random(seed)
    sound = build(numbered(40))
    for _ in range(2000):
        description = sound.describe()
        for key in source.sample(["item_count", "segment_count", "names_size", "has_stat"], 2):
            description[key] = source.choice([0, 1, source.randrange(1 << 10), 1 << source.randrange(64)])
        try:
            listing = Listing.attach(sound.fds(), description)
        except ValueError:
            continue
        use_everything(listing)


# --- the builder


def test_a_listing_is_not_made_by_hand() -> None:
    with pytest.raises(TypeError, match=r"made by list_files\(\) or Listing.attach\(\)"):
        Listing()


def test_a_finished_builder_is_of_no_more_use() -> None:
    builder = ListingBuilder(True, 1)
    builder.finish()
    for action in (builder.finish, lambda: builder.add(b"/a/", b"b", 0, 0), lambda: builder.item_count):
        with pytest.raises(ValueError, match="the listing is finished"):
            action()


@pytest.mark.parametrize(
    ("folder", "name"), [(b"a/", b"b"), (b"/a", b"b"), (b"/a/", b""), (b"/a/", b"\0"), (b"/\0/", b"b")]
)
def test_paths_that_are_none_are_refused(folder: bytes, name: bytes) -> None:
    with pytest.raises(ValueError, match="expected an absolute folder that ends in '/' and a name"):
        ListingBuilder(True, 1).add(folder, name, 0, 0)
