"""What a disk may hold after a power loss, from the log of all operations: pure, no file is touched.

The model, harsher than any one file system but not than what they promise together:

- data: what was written to a file since its last sync may be there or not, in sectors of 512 bytes, in any selection;
- sizes: of the truncations and extensions since then the first few are there, the later ones are not, whatever became
  of the data; what is there in size but not in data reads as zeros;
- names: creations, renames and removals reach the disk in order; a sync of a folder makes its own durable, and with
  them all that came before; a sync of a file makes no name durable;
- a sync that failed has lost what it should have written: no later sync brings it back.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from tests.crash.control import Entry, Kind

SECTOR = 512


class UnmodelledError(Exception):
    """The log has an operation that this model does not understand: nothing it says would be true."""


@dataclass(frozen=True)
class File:
    """One file on a disk as it was found or made."""

    inode: int
    content: bytes
    mtime_ns: int = 0


@dataclass(frozen=True)
class Folder:
    """One folder: what is in it follows from the paths."""

    inode: int


Tree: TypeAlias = Mapping[str, "File | Folder"]
"""Path below the root → what is there; parents come before what is in them."""


@dataclass(frozen=True)
class Change:
    """Data at an offset, or (``size`` not None) a new size."""

    offset: int = 0
    data: bytes = b""
    size: int | None = None
    only_grows: bool = False


@dataclass
class _Inode:
    durable: bytes = b""
    pending: list[Change] = field(default_factory=list)
    mtime_ns: int = 0

    def sync(self) -> None:
        self.durable = _apply(self.durable, self.pending)
        self.pending = []


@dataclass(frozen=True)
class _Naming:
    kind: Kind
    path: str
    path2: str = ""
    inode: int = 0
    """Of what is created."""

    @property
    def folders(self) -> set[str]:
        return {_parent(path) for path in (self.path, self.path2) if path}


class Disk:
    """A disk, and what is on its way to it."""

    def __init__(self, tree: Tree) -> None:
        files = [one for one in tree.values() if isinstance(one, File)]
        self._inodes = {one.inode: _Inode(one.content, mtime_ns=one.mtime_ns) for one in files}
        """Of files; a number that is not in it belongs to a folder."""
        self._durable = {path: one.inode for path, one in tree.items()}
        self._pending: list[_Naming] = []

    def copy(self) -> Disk:
        return copy.deepcopy(self)

    def apply(self, entries: Iterable[Entry], shown: Mapping[int, int]) -> Disk:
        """Let the operations happen; ``shown`` translates their inode numbers into those of the tree."""
        for entry in entries:
            self._take(entry, shown.get(entry.inode, entry.inode))
        return self

    @property
    def pending_names(self) -> int:
        """How many operations on names are not yet durable."""
        return len(self._pending)

    @property
    def is_settled(self) -> bool:
        """Nothing is on its way."""
        return not self._pending and not any(one.pending for one in self._inodes.values())

    # What happens

    def _take(self, entry: Entry, inode: int) -> None:
        kind = entry.kind
        if kind is Kind.MAP and entry.path.endswith("-shm"):
            return  # SQLite's index of its log: rebuilt by whoever opens the log first
        if kind in (Kind.UNMODELLED, Kind.MAP):
            raise UnmodelledError(entry.describe())
        if entry.error:
            if kind is Kind.SYNC and inode in self._inodes:
                self._inodes[inode].pending = []
            return
        if kind is Kind.CREATE:
            self._inodes[inode] = _Inode(mtime_ns=entry.mtime_ns)
            self._pending.append(_Naming(kind, entry.path, inode=inode))
        elif kind in (Kind.WRITE, Kind.TRUNCATE, Kind.ALLOCATE):
            self._change(entry, inode)
        elif kind is Kind.SYNC:
            self._sync(entry, inode)
        elif kind is Kind.SYNC_ALL:
            self._sync_all()
        elif kind in (Kind.MKDIR, Kind.RMDIR, Kind.UNLINK, Kind.RENAME, Kind.EXCHANGE, Kind.LINK):
            self._pending.append(_Naming(kind, entry.path, entry.path2, inode if kind is Kind.MKDIR else 0))

    def _change(self, entry: Entry, inode: int) -> None:
        known = self._inodes[inode]
        known.mtime_ns = entry.mtime_ns
        if entry.kind is Kind.WRITE:
            known.pending.append(Change(entry.offset, entry.data))
        else:
            known.pending.append(Change(size=entry.length, only_grows=entry.kind is Kind.ALLOCATE))

    def _sync(self, entry: Entry, inode: int) -> None:
        if inode in self._inodes:
            self._inodes[inode].sync()
            return
        last = max((k for k, one in enumerate(self._pending) if entry.path in one.folders), default=-1)
        self._names_are_durable(last + 1)

    def _sync_all(self) -> None:
        for one in self._inodes.values():
            one.sync()
        self._names_are_durable(len(self._pending))

    def _names_are_durable(self, count: int) -> None:
        self._durable = _renamed(self._durable, self._pending[:count])
        del self._pending[:count]

    # What is left

    def after_power_loss(self, data: str, names: int) -> Tree:
        """One disk that the loss of power now can leave.

        ``data`` of files since their last sync: ``none``, ``all``, ``size`` (their sizes only) or ``rN``, a selection
        by the seed N that differs from file to file.  ``names``: how many of the pending operations on names.
        """
        rng = random.Random(data)
        contents = {}
        for number, one in self._inodes.items():
            way = data if data in ("none", "all", "size") else rng.choice(("none", "all", "size", "some", "some"))
            contents[number] = _survived(one, way, rng)
        paths = _renamed(self._durable, self._pending[:names])
        return {
            path: File(number, contents[number], self._inodes[number].mtime_ns)
            if number in self._inodes
            else Folder(number)
            for path, number in sorted(paths.items())
        }


def _parent(path: str) -> str:
    return path.rpartition("/")[0]


def _renamed(paths: Mapping[str, int], namings: Iterable[_Naming]) -> dict[str, int]:
    """The names after these operations.  A file may be created in a folder that is gone by then: it is gone, too."""
    found = dict(paths)
    for one in namings:
        if one.kind in (Kind.CREATE, Kind.MKDIR):
            found[one.path] = one.inode
        elif one.kind in (Kind.UNLINK, Kind.RMDIR):
            del found[one.path]
        elif one.kind is Kind.LINK:
            found[one.path2] = found[one.path]
        else:
            moved = _taken_out(found, one.path)
            other = _taken_out(found, one.path2)
            found |= {one.path2 + rest: inode for rest, inode in moved.items()}
            if one.kind is Kind.EXCHANGE:
                found |= {one.path + rest: inode for rest, inode in other.items()}
    return found


def _taken_out(paths: dict[str, int], path: str) -> dict[str, int]:
    """``path`` and everything below it, by what follows it; they are gone from ``paths``."""
    names = [one for one in paths if one == path or one.startswith(path + "/")]
    return {one[len(path) :]: paths.pop(one) for one in names}


def _resized(content: bytearray, size: int) -> None:
    if size < len(content):
        del content[size:]
    else:
        content.extend(bytes(size - len(content)))


def _apply(content: bytes, changes: Iterable[Change]) -> bytes:
    """Everything happens."""
    buffer = bytearray(content)
    for one in changes:
        if one.size is not None:
            _resized(buffer, max(one.size, len(buffer)) if one.only_grows else one.size)
        else:
            _resized(buffer, max(len(buffer), one.offset + len(one.data)))
            buffer[one.offset : one.offset + len(one.data)] = one.data
    return bytes(buffer)


def _survived(inode: _Inode, way: str, rng: random.Random) -> bytes:
    if way == "none" or not inode.pending:
        return inode.durable
    if way == "all":
        return _apply(inode.durable, inode.pending)
    share = 0.0 if way == "size" else rng.choice((0.1, 0.5, 0.9))
    sized = len(inode.pending) if way == "size" else rng.randint(0, len(inode.pending))
    buffer = bytearray(inode.durable)
    for index, one in enumerate(inode.pending):
        is_sized = index < sized
        if one.size is not None:
            if is_sized:
                _resized(buffer, max(one.size, len(buffer)) if one.only_grows else one.size)
            continue
        if is_sized:
            _resized(buffer, max(len(buffer), one.offset + len(one.data)))
        for start, piece in _sectors(one):
            if rng.random() < share:
                kept = piece[: max(0, len(buffer) - start)]
                buffer[start : start + len(kept)] = kept
    return bytes(buffer)


def _sectors(change: Change) -> Iterable[tuple[int, bytes]]:
    """The change in pieces that reach the disk whole or not at all."""
    at, end = change.offset, change.offset + len(change.data)
    while at < end:
        stop = min(end, (at // SECTOR + 1) * SECTOR)
        yield at, change.data[at - change.offset : stop - change.offset]
        at = stop
