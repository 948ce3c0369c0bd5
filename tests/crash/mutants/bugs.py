"""The bugs, from ``bugs.toml``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tomli

_PATH = Path(__file__).with_name("bugs.toml")


@dataclass(frozen=True)
class Edit:
    """``old`` stands exactly once in ``file``."""

    file: str
    old: str
    new: str

    def applied(self, text: str) -> str:
        """Raises ``ValueError`` where the source is no longer as the bug knows it."""
        if text.count(self.old) != 1:
            raise ValueError(f"{self.file}: the text stands {text.count(self.old)} times: {self.old!r}")
        return text.replace(self.old, self.new)


@dataclass(frozen=True)
class Bug:
    """``workloads``: those that come by the place; ``states``: how many of each layer it needs at least, if not any
    sample will do."""

    name: str
    edits: tuple[Edit, ...]
    workloads: tuple[str, ...]
    states: int = 0

    def sources(self, root: Path) -> dict[str, str]:
        """File → its text with the bug in it."""
        texts: dict[str, str] = {}
        for edit in self.edits:
            text = texts.get(edit.file) or (root / edit.file).read_text(encoding="utf-8")
            texts[edit.file] = edit.applied(text)
        return texts


def load_bugs() -> tuple[Bug, ...]:
    """In the order of the file."""
    return tuple(
        Bug(one["name"], tuple(Edit(**edit) for edit in one["edit"]), tuple(one["workloads"]), one.get("states", 0))
        for one in tomli.loads(_PATH.read_text(encoding="utf-8"))["bug"]
    )
