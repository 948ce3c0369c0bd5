"""A slow, plain listing to compare with, and what several tests build trees from."""

from __future__ import annotations

import fnmatch
import os
from pathlib import Path

HOSTILE_NAMES: tuple[bytes, ...] = (
    *(b"a" + bytes([code]) + b"b" for code in [*range(1, 33), 34, 37, 39, 42, 44, 59, 60, 63, 91, 92, 93, 127]),
    *(b" lead", b"trail ", b"-rf", b"--", b"~", b"#", b"{}", b"%s%n", b"$(id)", b"`id`", b"a..b", b"...x"[3:]),
    *(b"\xff\xfe.png", b"\xc3", b"\xe2\x82", b"\xed\xa0\x80", "é".encode(), "e\u0301".encode(), "\u202ex".encode()),
    *(b"x" * 255, b"A", b"a", b"CON", b"\xf0\x9f\x98\x80"),
)


def touch(root: Path, *names: str | bytes) -> None:
    """Make files, with the folders above them, holding their own name's length in bytes."""
    for name in names:
        path = os.path.join(os.fsencode(root), os.fsencode(name))
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(b"x" * len(os.path.basename(path)))


def name_matches(name: str, component: str) -> bool:
    return (not name.startswith(".") or component.startswith(".")) and fnmatch.fnmatchcase(name, component)


def path_matches(path: list[str], components: list[str]) -> bool:
    if not components:
        return not path
    head, *tail = components
    if head == "**":
        hidden = bool(path) and path[0].startswith(".")
        return path_matches(path, tail) or (bool(path) and not hidden and path_matches(path[1:], components))
    return bool(path) and name_matches(path[0], head) and path_matches(path[1:], tail)


def files_below(root: Path) -> list[str]:
    """Every file below, relative, by folder descriptors, in byte order."""
    found: list[bytes] = []
    top = os.fsencode(root)
    for folder, _, names, _ in os.fwalk(top):
        found += [os.path.relpath(os.path.join(folder, name), top) for name in names]
    return [os.fsdecode(path) for path in sorted(found)]


def reference_listing(root: Path, patterns: list[str]) -> list[str]:
    """What patterns below ``root``, without links, match: in order, each path once."""
    everything = files_below(root)
    listed = dict.fromkeys(
        path for pattern in patterns for path in everything if path_matches(path.split("/"), pattern.split("/"))
    )
    return [f"{root}/{path}" for path in listed]
