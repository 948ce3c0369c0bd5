"""Folders of ours on file systems with bad luck; who may write to them: ``test_security_of_state``."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from batchflow.errors import RefusedError, ResourceError
from batchflow.journal import state_folder as room
from batchflow.journal.state_folder import boot_id, make_state_folder, open_private_file


def test_only_what_lies_below_ours_is_made(tmp_path: Path) -> None:
    folder = tmp_path / ".batchflow" / "flow" / "steps" / "one"
    assert make_state_folder(folder) == folder
    assert folder.is_dir()
    with pytest.raises(ResourceError, match=r"batchflow cannot keep its state, folder=.*: No such file or directory"):
        make_state_folder(tmp_path / "missing" / "state")
    assert make_state_folder(tmp_path / "state").is_dir()


def test_a_folder_that_another_run_has_just_made_is_as_good(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = room.make_private_folder

    def just_made(folder: Path) -> None:
        real(folder)
        real(folder)

    monkeypatch.setattr(room, "make_private_folder", just_made)
    assert make_state_folder(tmp_path / ".batchflow" / "flow").is_dir()


def test_permission_that_is_missing_is_for_the_user_to_give(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*arguments: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(room, "make_private_folder", refused)
    with pytest.raises(RefusedError, match=r"batchflow cannot keep its state, folder=.*: Permission denied") as caught:
        make_state_folder(tmp_path / ".batchflow" / "flow")
    assert caught.value.hint == f"make {tmp_path} writable for this user"
    (tmp_path / ".batchflow").mkdir(mode=0o700)
    with pytest.raises(RefusedError) as caught:
        make_state_folder(tmp_path / ".batchflow" / "flow")
    assert caught.value.hint == f"make {tmp_path / '.batchflow'} writable for this user"
    monkeypatch.setattr(room, "open_private", refused)
    with pytest.raises(RefusedError, match=r"cannot open path=.*lock: Permission denied") as caught:
        open_private_file(tmp_path / "lock", 0)
    assert caught.value.hint == f"make {tmp_path} writable for this user", "where the file is missing"
    (tmp_path / "lock").touch()
    with pytest.raises(RefusedError) as caught:
        open_private_file(tmp_path / "lock", 0)
    assert caught.value.hint == f"make {tmp_path / 'lock'} writable for this user"


def test_a_file_of_another_kind_or_user_is_to_be_chowned_or_moved(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(RefusedError, match="it is not a file of this user") as caught:
        open_private_file(tmp_path / "pipe", os.O_RDWR)
    assert caught.value.hint == "only a file of the user who runs batchflow is taken: chown it, or move it away"


def test_a_boot_without_a_name_has_an_empty_one(monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(boot_id()) == 36

    def hidden(path: Path) -> str:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_text", hidden)
    assert boot_id() == ""
