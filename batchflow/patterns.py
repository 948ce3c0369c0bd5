"""What a file pattern means: its root folder, and the components that are matched below it.

Reads no file and no folder.  Paths are bytes here, as the kernel has them: a name need not be UTF-8.

Invariant: a path is normalised (no ``.``, ``..`` or empty component) and absolute, so two patterns that name the
same file name it by the same bytes, links apart.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from batchflow import _core
from batchflow.errors import DatasetError

_COMPONENTS_MAX = 63


@dataclass(frozen=True)
class FilePattern:
    """``root``: the folder above the first wildcard; ``components``: what is matched below it, one for each level."""

    text: str
    root: tuple[bytes, ...]
    components: tuple[bytes, ...]
    is_file: bool
    """It has no wildcard: ``components`` is the name of the one file."""

    @property
    def root_path(self) -> bytes:
        """Absolute, with ``/`` at its end."""
        return b"/" + b"".join(name + b"/" for name in self.root)


def parse_pattern(text: str) -> FilePattern:
    """Understand one pattern; a relative one starts in the current folder.

    ``folder/`` is every file below the folder, as ``folder/**/*``.  Raises ``DatasetError``.
    """
    if not text or "\0" in text:
        raise DatasetError(f"not a file pattern: {text!r}", hint="name a file, a folder with / at its end, or a glob")
    whole = os.fsencode(text)
    names = _normalised(text, (b"" if whole.startswith(b"/") else os.fsencode(Path.cwd()) + b"/") + whole)
    if whole.endswith(b"/"):
        names += [b"**", b"*"]
    elif names and names[-1] == b"**":
        names.append(b"*")
    if not names:
        raise DatasetError(f"not a file pattern: {text!r}", hint="the root folder itself needs a / at its end: /*/")
    names = [name for name, before in zip(names, [b"", *names], strict=False) if name != b"**" or before != b"**"]
    first = next((index for index, name in enumerate(names) if has_wildcard(name)), len(names) - 1)
    components = tuple(names[first:])
    if len(components) > _COMPONENTS_MAX:
        raise DatasetError(
            f"the pattern has {len(components)} levels behind its first wildcard, at most"
            f" {_COMPONENTS_MAX} are possible: {text!r}",
            hint="use ** for any number of folders",
        )
    return FilePattern(text, tuple(names[:first]), components, is_file=not has_wildcard(components[0]))


def has_wildcard(name: bytes) -> bool:
    return any(character in name for character in (b"*", b"?", b"["))


def matcher_below(earlier: FilePattern, root: tuple[bytes, ...]) -> tuple[_core.GlobPattern, int] | None:
    """The pattern and the place in it that a walk of ``root`` starts at; None when it matches nothing below."""
    shared = min(len(earlier.root), len(root))
    if earlier.root[:shared] != root[:shared]:
        return None
    if len(earlier.root) >= len(root):
        components = earlier.root[len(root) :] + earlier.components
        if len(components) > _COMPONENTS_MAX:
            raise DatasetError(
                f"{earlier.text!r} overlaps with a pattern that starts more than {_COMPONENTS_MAX} levels above it",
                hint="make two datasets of them",
            )
        glob = _core.GlobPattern(components)
        return glob, glob.start
    glob = _core.GlobPattern(earlier.components)
    mask = glob.start
    for name in root[len(earlier.root) :]:
        _, mask = glob.step(mask, name)
    return (glob, mask) if mask else None


def matches(pattern: FilePattern, folder: tuple[bytes, ...], name: bytes) -> bool:
    """Whether the pattern matches the file ``name`` in ``folder``, given by their path alone."""
    found = matcher_below(pattern, folder)
    return found is not None and found[0].step(found[1], name)[0]


def reaches(pattern: FilePattern, folder: tuple[bytes, ...]) -> bool:
    """Whether the pattern can match anything below the folder."""
    return matcher_below(pattern, folder) is not None


def _normalised(text: str, path: bytes) -> list[bytes]:
    names: list[bytes] = []
    for name in path.split(b"/"):
        if name == b"..":
            if names and has_wildcard(names[-1]):
                raise DatasetError(f"'..' behind a wildcard: {text!r}", hint="name the folder itself")
            del names[-1:]
        elif name not in (b"", b"."):
            names.append(name)
    return names
