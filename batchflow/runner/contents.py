"""Digests of what outputs hold, taken when a step has made them, as far as that is cheap.

A file's digest is that of its bytes; a folder's that of the names and digests of all files below it, links for where
they lead.  Changes nothing.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

from batchflow.private import open_regular

_SIZE_MAX = 1 << 30
"""Bytes of all outputs of a step that are read: less than a second."""
_COUNT_MAX = 10_000
"""Files of them."""


def contents(paths: Mapping[str, Path]) -> dict[str, str]:
    """Name → digest of the outputs that are small enough, one after another; the others are left out."""
    found: dict[str, str] = {}
    size_left, count_left = _SIZE_MAX, _COUNT_MAX
    for name, path in paths.items():
        size, count = _amount(path, count_left)
        content = content_of(path) if size <= size_left and count <= count_left else None
        if content is not None:
            found[name] = content
            size_left, count_left = size_left - size, count_left - count
    return found


def content_of(path: Path) -> str | None:
    """A digest of a file or folder; None if it cannot be read."""
    try:
        return (_folder(path) if path.is_dir() else _file(path)).hexdigest()
    except OSError:
        return None


def _file(path: Path) -> hashlib.blake2b:
    digest = hashlib.blake2b(digest_size=16)
    with open_regular(path) as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest


def _folder(folder: Path) -> hashlib.blake2b:
    digest = hashlib.blake2b(digest_size=16)
    for path in _files(folder):
        inner = os.fsencode(path.readlink()) if path.is_symlink() else _file(path).digest()
        for part in (os.fsencode(path.relative_to(folder)), inner):
            digest.update(len(part).to_bytes(8, "little") + part)
    return digest


def _files(folder: Path) -> Iterator[Path]:
    """Everything below ``folder`` but folders, always in the same order; a link to a folder is no folder."""
    for root, folders, names in os.walk(folder, onerror=_raise):
        links = [name for name in folders if Path(root, name).is_symlink()]
        folders.sort()
        yield from (Path(root, name) for name in sorted([*names, *links]))


def _raise(error: OSError) -> None:
    raise error


def _amount(path: Path, count_max: int) -> tuple[int, int]:
    """Bytes and number of files; of more than ``count_max`` files, those seen until then."""
    try:
        info = path.stat()
        if not stat.S_ISDIR(info.st_mode):
            return info.st_size, 1
        size = count = 0
        for one in _files(path):
            size, count = size + one.lstat().st_size, count + 1
            if count > count_max:
                break
    except OSError:
        return 0, 0
    return size, count
