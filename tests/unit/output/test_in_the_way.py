"""What somebody else put where an output is going to be written stays, and the message says what to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from batchflow.errors import RefusedError
from batchflow.output import in_the_way
from batchflow.output.in_the_way import check_mounts, check_temporaries, mount_points, parse_mounts
from batchflow.output.publish import PendingOutput

MOUNTS = rb"""22 1 254:0 / / rw,relatime - ext4 /dev/vda rw
31 22 0:28 / /data/my\040disk rw shared:3 - tmpfs none rw
32 22 254:0 /x/y /etc/ho\134sts rw - ext4 /dev/vda rw
"""


def rows(folder: Path) -> PendingOutput:
    return PendingOutput("rows", folder / "x.csv", is_folder=False, keeps_name=False)


def page(folder: Path) -> PendingOutput:
    return PendingOutput("page", folder / "x.html", is_folder=False, keeps_name=True)


def images(folder: Path) -> PendingOutput:
    return PendingOutput("images", folder / "x", is_folder=True, keeps_name=False)


@pytest.mark.fault("F13")
@pytest.mark.parametrize(
    ("make", "name"),
    [
        (rows, "x.csv.partial"),
        (rows, "x.csv.partial.ordered"),
        (rows, "x.csv.partial/inside"),
        (page, "x.html.partial/mine.html"),
        (images, "x.partial/1.png"),
        (images, "x.partial"),
    ],
)
def test_what_stands_under_a_temporary_name_is_kept_unless_a_run_left_it(
    tmp_path: Path, make: object, name: str
) -> None:
    output: PendingOutput = make(tmp_path)  # type: ignore[operator]
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("precious")
    with pytest.raises(RefusedError, match=r"\.partial\S* is in the way: no interrupted run of this") as caught:
        check_temporaries(output, is_ours=False)
    assert caught.value.hint == "move it away, or remove it if nobody needs it"
    check_temporaries(output, is_ours=True)
    assert path.read_text() == "precious"


def test_nothing_a_link_and_an_empty_folder_are_in_nobodys_way(tmp_path: Path) -> None:
    check_temporaries(images(tmp_path), is_ours=False)
    (tmp_path / "x.partial").mkdir()
    check_temporaries(images(tmp_path), is_ours=False)
    (tmp_path / "x.html.partial").symlink_to(tmp_path)
    check_temporaries(page(tmp_path), is_ours=False)
    (tmp_path / "x.partial.ordered").write_text("not a name of ours: a folder has no order")
    check_temporaries(images(tmp_path), is_ours=False)


def test_mount_points_are_read_with_blanks_and_backslashes() -> None:
    assert parse_mounts(MOUNTS) == {Path("/"), Path("/data/my disk"), Path("/etc/ho\\sts")}
    found = mount_points()
    assert found is None or Path("/") in found


def test_where_nobody_says_what_is_mounted_the_device_is_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(in_the_way, "_MOUNTS", tmp_path / "missing")
    assert mount_points() is None
    check_mounts(images(tmp_path), None)
    with pytest.raises(RefusedError, match=r"is a mount point, and a mounted folder cannot be replaced, path=/proc$"):
        check_mounts(PendingOutput("all", Path("/proc"), is_folder=True, keeps_name=False), None)


def test_a_mount_point_cannot_be_an_output(tmp_path: Path) -> None:
    output = images(tmp_path)
    check_mounts(output, frozenset({Path("/"), tmp_path, tmp_path / "xx"}))
    with pytest.raises(RefusedError, match="output images is a mount point, and a mounted folder cannot") as caught:
        check_mounts(output, frozenset({output.final}))
    assert caught.value.hint == f"declare a folder inside it, as {tmp_path}/x/images/"
    with pytest.raises(RefusedError, match="output page is a mount point, and a mounted file cannot") as caught:
        check_mounts(page(tmp_path), frozenset({tmp_path / "x.html"}))
    assert caught.value.hint == "declare a path in a folder that is mounted as a whole"
    with pytest.raises(RefusedError, match=r"there is a mount point inside it, path=.*/x/deep$"):
        check_mounts(output, frozenset({tmp_path / "x/deep"}))


def test_a_mount_point_is_found_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    with pytest.raises(RefusedError, match="is a mount point"):
        check_mounts(images(tmp_path / "link"), frozenset({tmp_path / "real/x"}))
