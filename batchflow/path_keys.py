"""``{user}/{season}/{genre}.wav``: the keys that the end of a path holds.  Pure; reads no disk.

A key takes at least one character and no ``/``; where several could, each takes as little as lets the rest match.  All
else stands for itself.  Matching takes time linear in the length of the path, whatever it holds.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from batchflow.errors import DatasetError

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_BRACED = re.compile(r"\{([^{}]*)\}")
_EXAMPLE = 'for example "{user}/{season}/{genre}.wav"'


@dataclass(frozen=True)
class PathKeys:
    """A partition format that was understood."""

    names: tuple[str, ...]
    """Of the keys, as they stand in the format."""
    _components: tuple[tuple[str, ...], ...]
    """For each of the last components of a path the texts before, between and behind its keys."""

    def values(self, path: str) -> tuple[str, ...] | None:
        """What the keys are in this path, in the order of ``names``; None if it does not fit the format."""
        parts = path.rsplit("/", len(self._components))[-len(self._components) :]
        if len(parts) < len(self._components):
            return None
        found: list[str] = []
        for part, texts in zip(parts, self._components, strict=True):
            values = _values(part, texts)
            if values is None:
                return None
            found += values
        return tuple(found)


def parse_path_keys(text: str) -> PathKeys:
    """Understand a partition format; raises ``DatasetError`` with what is wrong with it."""
    names: list[str] = []
    components = []
    for component in text.removeprefix("/").split("/"):
        if not component or component in (".", ".."):
            raise DatasetError(f"not a component of a path: '{component}'", hint=_EXAMPLE)
        texts = _BRACED.split(component)
        names += texts[1::2]
        components.append(tuple(texts[::2]))
    for name in names:
        if ":" in name:
            raise DatasetError(f"`{{{name}}}`: a key takes its part of the path as it is", hint="{year}/{month}/{day}")
        if _NAME.fullmatch(name) is None:
            raise DatasetError(f"`{{{name}}}` is not the name of a key: letters, digits and _", hint=_EXAMPLE)
        if names.count(name) > 1:
            raise DatasetError(f"the key `{name}` stands there twice")
    for one in (one for texts in components for one in texts):
        if "{" in one or "}" in one:
            raise DatasetError("a brace without its other half", hint=_EXAMPLE)
        if "*" in one:
            raise DatasetError("a wildcard: give what differs a name, it need not be used", hint=_EXAMPLE)
    if not names:
        raise DatasetError("there is no key in it", hint=_EXAMPLE)
    if any(not one for texts in components for one in texts[1:-1]):
        raise DatasetError("two keys with nothing between them: nobody can tell where the first one ends")
    return PathKeys(tuple(names), tuple(components))


def _values(part: str, texts: tuple[str, ...]) -> list[str] | None:
    """What is between the texts in one component of a path; the leftmost place of each leaves most to the others."""
    if len(texts) == 1:
        return [] if part == texts[0] else None
    first, *between, last = texts
    if not part.startswith(first):
        return None
    found, start = [], len(first)
    for text in between:
        end = part.find(text, start + 1)
        if end < 0:
            return None
        found.append(part[start:end])
        start = end + len(text)
    end = len(part) - len(last)
    if end <= start or not part.endswith(last):
        return None
    return [*found, part[start:end]]
