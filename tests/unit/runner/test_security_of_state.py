"""The folders and files of ours: for this user alone, whatever the umask, and through no link that somebody planted."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from batchflow.errors import RefusedError, ResourceError
from batchflow.journal.lock import WorkflowLock
from batchflow.journal.records import PastRun, Records
from batchflow.journal.state_folder import make_state_folder
from batchflow.private import create_private, make_private_folder, open_private, renew_private_folder


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


@pytest.fixture(params=[0o000, 0o022, 0o077, 0o277, 0o777], ids="{:04o}".format)
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    old = os.umask(request.param)
    yield request.param
    os.umask(old)


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / ".batchflow" / "flow"


@pytest.mark.fault("S7")
def test_state_is_for_its_owner_whatever_the_umask(state: Path, umask: int) -> None:
    with WorkflowLock(state), Records.open_for_run(state) as records:
        records.put_run(PastRun("r1", "then", {}))
        modes = {path.name: mode_of(path) for path in [state.parent, *state.parent.rglob("*")]}
    assert modes == {
        ".batchflow": 0o700,
        "flow": 0o700,
        "lock": 0o600,
        "records.db": 0o600,
        "records.db-wal": 0o600,
        "records.db-shm": 0o600,
    }


@pytest.mark.fault("S7")
def test_files_and_folders_have_their_modes_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    make_private_folder(tmp_path / "folder")
    for path, open_it in (
        (tmp_path / "one", create_private),
        (tmp_path / "two", lambda path: open_private(path, os.O_RDWR)),
    ):
        os.close(open_it(path))
        assert mode_of(path) == 0o600
    assert mode_of(tmp_path / "folder") == 0o700


@pytest.mark.fault("S7")
def test_a_file_that_was_opened_up_is_closed_again(tmp_path: Path) -> None:
    path = tmp_path / "records.db"
    path.touch(0o644)
    path.chmod(0o664)
    os.close(open_private(path, os.O_RDWR))
    assert mode_of(path) == 0o600


@pytest.mark.fault("S8", "M11")
@pytest.mark.parametrize("level", [".batchflow", ".batchflow/flow"])
@pytest.mark.parametrize("mode", [0o775, 0o757, 0o722, 0o1777])
def test_a_state_folder_that_others_can_write_is_refused(tmp_path: Path, state: Path, level: str, mode: int) -> None:
    make_state_folder(state)
    (tmp_path / level).chmod(mode)
    with pytest.raises(
        RefusedError, match=rf"does not trust .*: other users can write to it, mode={mode:04o}"
    ) as caught:
        make_state_folder(state / "steps" / "one")
    assert "chmod -R go-w" in (caught.value.hint or "")
    assert list(state.iterdir()) == []


@pytest.mark.parametrize("mode", [0o755, 0o750, 0o500])
def test_who_lets_others_read_may_do_so(state: Path, mode: int) -> None:
    make_state_folder(state)
    state.chmod(mode)
    make_state_folder(state)
    assert mode_of(state) == mode
    state.chmod(0o700)


@pytest.mark.fault("S8", "M11")
def test_a_state_folder_of_another_user_is_refused(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_state_folder(state)
    other = os.geteuid() + 1
    monkeypatch.setattr(os, "geteuid", lambda: other)
    with pytest.raises(RefusedError, match=r"does not trust .*: it belongs to another user, uid=\d+"):
        WorkflowLock(state).acquire()
    assert list(state.iterdir()) == []


@pytest.mark.fault("S8")
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a link to somebody else")
def test_a_link_that_somebody_else_planted_is_not_followed(tmp_path: Path, state: Path) -> None:
    (tmp_path / "mine").mkdir(mode=0o700)
    state.parent.symlink_to(tmp_path / "mine")
    make_state_folder(state)  # one's own link may lead to another disk
    state.rmdir()
    os.lchown(state.parent, 12345, 12345)
    with pytest.raises(RefusedError, match="it belongs to another user, uid=12345"):
        make_state_folder(state)
    assert list((tmp_path / "mine").iterdir()) == []


def test_a_link_to_nothing_is_an_obstacle(tmp_path: Path, state: Path) -> None:
    state.parent.symlink_to(tmp_path / "nowhere")
    with pytest.raises(ResourceError, match="cannot keep its state"):
        make_state_folder(state)
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.fault("S7")
@pytest.mark.parametrize("name", ["lock", "records.db"])
@pytest.mark.parametrize("kind", ["link", "fifo", "folder"])
def test_what_was_planted_in_place_of_a_file_is_not_used(tmp_path: Path, state: Path, name: str, kind: str) -> None:
    make_state_folder(state)
    precious = tmp_path / "precious"
    precious.write_text("precious")
    if kind == "link":
        (state / name).symlink_to(precious)
    elif kind == "fifo":
        os.mkfifo(state / name)
    else:
        (state / name).mkdir()
    with pytest.raises((RefusedError, ResourceError), match=rf"cannot open path=.*{name}"):
        WorkflowLock(state).acquire() if name == "lock" else Records.open_for_run(state)
    assert precious.read_text() == "precious"


@pytest.mark.fault("S7", "S46")
def test_a_new_file_takes_the_place_of_a_link_and_leaves_its_target(tmp_path: Path) -> None:
    precious, path = tmp_path / "precious", tmp_path / "failed.jsonl.partial"
    precious.write_text("precious")
    path.symlink_to(precious)
    descriptor = create_private(path)
    os.write(descriptor, b"new")
    os.close(descriptor)
    assert (path.read_text(), path.is_symlink(), precious.read_text()) == ("new", False, "precious")


@pytest.mark.fault("S46")
def test_a_folder_is_emptied_without_following_links(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    (precious / "below").mkdir(parents=True)
    logs = tmp_path / "logs"
    logs.mkdir()
    (logs / "link").symlink_to(precious)
    (logs / "old").write_text("old")
    renew_private_folder(logs)
    assert (list(logs.iterdir()), mode_of(logs)) == ([], 0o700)
    logs.rmdir()
    logs.symlink_to(precious)
    renew_private_folder(logs)
    assert (logs.is_symlink(), list(logs.iterdir()), (precious / "below").is_dir()) == (False, [], True)
