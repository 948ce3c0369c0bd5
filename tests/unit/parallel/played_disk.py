"""A disk that a test plays: deaths at named places, calls that fail, power that goes and takes what was not synced."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import sqlite3
import stat
from pathlib import Path
from typing import Any
from unittest import mock

from batchflow.journal.database import Database
from batchflow.output import segment
from batchflow.parallel import committer


class Died(BaseException):
    """The process ends here; nothing of it runs any more."""


class PlayedDisk:
    """In force while it is entered: ``deadly`` names the failpoint to die at, ``fault`` what fails, each once."""

    def __init__(self, path: Path) -> None:
        self.path = path
        """The file that loses bytes with the power."""
        self._synced: dict[int, bytes] = {}
        self.boot = "boot-0"
        self.deadly: str | None = None
        self.fault: str | None = None
        self.reached: set[str] = set()
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> PlayedDisk:
        stack = self._stack
        for room in (committer, segment):
            stack.enter_context(mock.patch.object(room, "reach", self._reach))
        stack.enter_context(mock.patch.object(committer, "boot_id", lambda: self.boot))
        self._real = {name: getattr(os, name) for name in ("pwrite", "fdatasync", "fsync")}
        stack.enter_context(mock.patch.object(os, "pwrite", self._pwrite))
        stack.enter_context(mock.patch.object(Database, "execute_many", self._execute_many(Database.execute_many)))
        for name in ("fdatasync", "fsync"):
            stack.enter_context(mock.patch.object(os, name, self._syncing(self._real[name])))
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def _reach(self, name: str) -> None:
        self.reached.add(name)
        if name == "output_opened" and self.path.exists():
            self._synced.pop(self.path.stat().st_ino, None)  # inodes are used again
        if name == self.deadly:
            self.deadly = None
            raise Died(name)

    def _take(self, *faults: str) -> str | None:
        """The fault that is in force, if it is one of these; it is not any more."""
        if self.fault not in faults:
            return None
        fault, self.fault = self.fault, None
        return fault

    def _pwrite(self, descriptor: int, view: Any, position: int) -> int:
        view = memoryview(view)
        if len(view) > 1 and (fault := self._take("short write", "no room", "quota", "bad write")):
            written: int = self._real["pwrite"](descriptor, view[: len(view) // 2], position)
            self.fault = {"no room": "no room now", "quota": "quota now", "bad write": "bad write now"}.get(fault)
            return written
        if fault := self._take("no room now", "quota now", "bad write now"):
            number = {"no room now": errno.ENOSPC, "quota now": errno.EDQUOT, "bad write now": errno.EIO}[fault]
            raise OSError(number, os.strerror(number))
        written = self._real["pwrite"](descriptor, view, position)
        return written

    def _execute_many(self, real: Any) -> Any:
        def execute_many(database: Database, statement: str, rows: Any) -> None:
            if self._take("no room in the journal"):
                raise sqlite3.OperationalError("database or disk is full")
            real(database, statement, rows)

        return execute_many

    def _syncing(self, real: Any) -> Any:
        def sync(descriptor: int) -> None:
            if fault := self._take("bad sync", "no room to sync"):
                number = errno.EIO if fault == "bad sync" else errno.ENOSPC
                raise OSError(number, os.strerror(number))
            real(descriptor)
            info = os.fstat(descriptor)
            if stat.S_ISREG(info.st_mode):
                self._synced[info.st_ino] = Path(f"/proc/self/fd/{descriptor}").read_bytes()

        return sync

    @property
    def durable(self) -> bytes:
        """What of the file is certain to be on the disk."""
        return self._synced.get(self.path.stat().st_ino, b"")

    def lose_power(self, tail: bytes, length: int) -> None:
        """Of what was not synced nothing is certain: ``tail`` stands in its place, ``length`` bytes of it."""
        self.boot = f"boot-{int(self.boot.partition('-')[2]) + 1}"
        pairs = zip(self.durable, self.path.read_bytes(), strict=False)
        certain = bytes(was for was, _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))
        content = certain + (tail * (length // max(1, len(tail)) + 1))[:length]
        self.path.write_bytes(content)
        self._synced[self.path.stat().st_ino] = content
