"""Listing where the kernel's limits bite, and listings that cross into other processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from batchflow.data import list_files


def child(code: str, *arguments: str, pass_fds: tuple[int, ...] = ()) -> str:
    """What a fresh interpreter prints that runs the code."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *arguments],
        capture_output=True,
        text=True,
        timeout=100,
        pass_fds=pass_fds,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def deep(tmp_path: Path) -> Iterator[Path]:
    """A folder that may be filled deeper than Python's own clean-up can go."""
    folder = tmp_path / "deep"
    folder.mkdir()
    yield folder
    subprocess.run(["rm", "-rf", "--", folder], check=True)


def make_levels(root: Path, name: str, count: int) -> None:
    """``count`` folders, one in the other, a file ``f`` in each and a file ``z`` in the first."""
    fd = os.open(root, os.O_RDONLY)
    for _ in range(count):
        os.mkdir(name, dir_fd=fd)
        below = os.open(name, os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
        os.close(os.open("f", os.O_CREAT | os.O_WRONLY, 0o600, dir_fd=fd))
    os.close(fd)
    (root / name / "z").touch()


LIST_UNDER_A_LIMIT = """
    import resource, sys
    from batchflow.data import list_files
    folder, limit = sys.argv[1], int(sys.argv[2])
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    listing = list_files([folder])
    for path in listing.paths(0, len(listing)):
        print(path[len(folder):])
"""


@pytest.mark.fault("H6")
@pytest.mark.parametrize("limit", [14, 64])
def test_a_tree_of_3000_levels_with_few_descriptors(deep: Path, limit: int) -> None:
    make_levels(deep, "d", 3000)
    lines = child(LIST_UNDER_A_LIMIT, f"{deep}/", str(limit)).splitlines()
    assert len(lines) == 3001
    assert lines == sorted([*("d/" * level + "f" for level in range(1, 3001)), "d/z"])


def test_a_tree_like_a_comb_with_few_descriptors(deep: Path) -> None:
    expected = []
    folder = deep
    for level in range(40):
        for depth in range(1, 16):
            expected.append("s/" * level + "a/" * depth + "f")
        make_levels(folder, "a", 15)
        (folder / "a" / "z").unlink()
        folder = folder / "s"
        folder.mkdir()
    assert child(LIST_UNDER_A_LIMIT, f"{deep}/", "16").splitlines() == sorted(expected)


@pytest.mark.fault("H6")
def test_paths_longer_than_the_kernel_takes(deep: Path) -> None:
    name = "é" * 100
    make_levels(deep, name, 60)
    listing = list_files([f"{deep}/"])
    assert len(listing) == 61
    assert max(len(os.fsencode(path)) for path in listing.paths(0, 61)) > 12_000
    assert all(listing.size(item) == 0 for item in range(61))
    root = listing.path(59).removesuffix("f")
    assert len(os.fsencode(root)) > 8192
    assert list_files([f"{root}**/f"]).paths(0, 1) == [f"{root}f"]


def test_a_deep_folder_that_was_entered_by_a_link_is_left_to_where_the_link_is(deep: Path) -> None:
    (deep / "a").mkdir()
    make_levels(deep, "real", 50)
    os.symlink("../real", deep / "a" / "link")
    (deep / "a" / "z").touch()
    listing = list_files([f"{deep}/"])
    relative = [path.removeprefix(f"{deep}/") for path in listing.paths(0, len(listing))]
    below = sorted([*("real/" * level + "f" for level in range(1, 51)), "real/z"])
    through = [path.replace("real", "link", 1) for path in below]
    assert relative == [*(f"a/{path}" for path in through), "a/z", *below]


@pytest.mark.fault("H10")
def test_an_unreadable_folder_is_an_error_that_names_it(tmp_path: Path) -> None:
    if os.getuid() != 0:
        pytest.skip("only root can become somebody who may not read")
    root = tmp_path / "data"
    (root / "closed").mkdir(parents=True)
    (root / "a").touch()
    (root / "closed" / "b").touch()
    (root / "closed").chmod(0o000)
    code = """
        import os, sys
        from batchflow.data import list_files
        from batchflow.errors import DatasetError
        os.chdir(sys.argv[1])
        root = os.open(".", os.O_RDONLY)
        os.setuid(65534)
        try:
            list_files([f"/proc/self/fd/{root}/"])
        except DatasetError as error:
            print(error, error.hint, sep="|")
    """
    message, hint = child(code, str(root)).rstrip("\n").split("|")
    assert "cannot open the folder: Permission denied: " in message
    assert message.endswith("/closed")
    assert hint == "every folder of the dataset must be readable, or nobody knows what is missing"


def test_a_listing_is_read_in_another_process_by_its_descriptors(tmp_path: Path) -> None:
    for name in ("a", "b/c", "é"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"12345")
    listing = list_files([f"{tmp_path}/"])
    code = """
        import json, sys
        from batchflow._core import Listing
        fds, description = json.loads(sys.argv[1])
        listing = Listing.attach(fds, description)
        print(json.dumps([listing.paths(0, len(listing)), listing.size(1), listing.digest().hex()]))
    """
    answer = child(code, json.dumps([listing.fds(), listing.describe()]), pass_fds=listing.fds())
    assert json.loads(answer) == [[f"{tmp_path}/{name}" for name in ("a", "b/c", "é")], 5, listing.digest().hex()]


@pytest.mark.fault("H14")
def test_200_000_files_cost_24_bytes_and_the_name_for_each(tmp_path: Path) -> None:
    # In memory where there is room: only the making of so many files takes long.
    in_memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=in_memory if os.access(in_memory, os.W_OK) else tmp_path) as folder:
        for index in range(100):
            path = Path(folder, f"{index:03d}")
            path.mkdir()
            fd = os.open(path, os.O_RDONLY)
            for number in range(2000):
                os.close(os.open(f"{number:08d}.png", os.O_CREAT | os.O_WRONLY, 0o600, dir_fd=fd))
            os.close(fd)
        listing = list_files([f"{folder}/"])
    assert len(listing) == 200_000
    assert listing.memory_size <= 200_000 * (24 + len("00000000.png"))
    assert listing.path(199_999) == f"{folder}/099/00001999.png"
    assert listing.paths(1999, 2001) == [f"{folder}/000/00001999.png", f"{folder}/001/00000000.png"]


def test_a_signal_handler_that_raises_ends_a_walk(tmp_path: Path) -> None:
    for number in range(600):
        (tmp_path / f"{number:03d}").mkdir()
    code = """
        import os, signal, sys, threading
        from batchflow._core import GlobPattern, ListingBuilder

        class Stop(Exception):
            pass

        def stop(*_):
            raise Stop

        signal.signal(signal.SIGUSR1, stop)
        pattern = GlobPattern([b"**", b"*"])
        builder = ListingBuilder(True, 2)
        sender = threading.Thread(target=os.kill, args=(os.getpid(), signal.SIGUSR1))
        try:
            sender.start()
            while True:
                builder.walk(os.fsencode(sys.argv[1]), [pattern], [pattern.start], [])
        except Stop:
            print("stopped")
        sender.join()
        print(len(os.listdir("/proc/self/fd")))
    """
    stopped, open_count = child(code, f"{tmp_path}/").splitlines()
    assert stopped == "stopped"
    assert int(open_count) == 3 + 4 + 1  # standard streams, columns, the folder that is being counted
