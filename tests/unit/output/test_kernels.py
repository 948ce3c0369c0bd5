"""Publishing on kernels and file systems that lack a call, or fail in it."""

from __future__ import annotations

import ctypes
import errno
import os
from pathlib import Path
from typing import Any

import pytest

from batchflow.output.publish import PendingOutput, exchange, prepare, sync_file_system
from batchflow.private import open_regular


class Kernel:
    """The C library, with calls that end as they are told; ``None``: there is no such call."""

    def __init__(self, **calls: int | None) -> None:
        self._calls = calls

    def __getattr__(self, name: str) -> Any:
        number = self._calls[name]
        if number is None:
            raise AttributeError(name)

        def call(*arguments: object) -> int:
            ctypes.set_errno(number)
            return -1 if number else 0

        return call


def playing(monkeypatch: pytest.MonkeyPatch, kernel: Kernel) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda *arguments, **keys: kernel)


@pytest.mark.parametrize("number", [None, errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EPERM])
def test_a_kernel_that_cannot_exchange_two_names_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int | None
) -> None:
    playing(monkeypatch, Kernel(renameat2=number))
    assert exchange(tmp_path / "one", tmp_path / "two") is False


def test_one_that_can_has_done_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    playing(monkeypatch, Kernel(renameat2=0))
    assert exchange(tmp_path / "one", tmp_path / "two") is True


def test_an_exchange_that_fails_names_both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    playing(monkeypatch, Kernel(renameat2=errno.EIO))
    with pytest.raises(OSError, match="Input/output error") as caught:
        exchange(tmp_path / "one", tmp_path / "two")
    assert (caught.value.filename, caught.value.filename2) == (str(tmp_path / "one"), str(tmp_path / "two"))


def test_a_file_system_that_cannot_be_synced_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = os.listdir("/proc/self/fd")
    playing(monkeypatch, Kernel(syncfs=errno.EIO))
    with pytest.raises(OSError, match="Input/output error") as caught:
        sync_file_system(tmp_path)
    assert caught.value.filename == str(tmp_path)
    playing(monkeypatch, Kernel(syncfs=0))
    sync_file_system(tmp_path)
    assert os.listdir("/proc/self/fd") == before


@pytest.mark.parametrize("keep", [False, True])
def test_what_grows_stays_if_it_is_to_be_kept(tmp_path: Path, keep: bool) -> None:
    output = PendingOutput("rows", tmp_path / "new" / "rows.csv", is_folder=False, keeps_name=False)
    prepare(output, keep=keep)
    assert (output.final.parent.is_dir(), output.partial.exists()) == (True, False)
    output.temporary.write_text("rows")
    prepare(output, keep=keep)
    assert output.temporary.exists() == keep


def test_what_is_no_file_is_not_opened_as_one(tmp_path: Path) -> None:
    before = os.listdir("/proc/self/fd")
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path, tmp_path / "fifo"):
        with pytest.raises(OSError, match="it is not a regular file") as caught:
            open_regular(path)
        assert caught.value.filename == str(path)
    assert os.listdir("/proc/self/fd") == before
