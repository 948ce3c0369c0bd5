"""What handles faults, and what is left when it is taken away: one mutant for an entry of the catalogue."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Mutant:
    """``old`` stands exactly once in ``file`` and becomes ``new``; ``test`` is a node of pytest."""

    entry: str
    what: str
    file: str
    old: str
    new: str
    test: str

    def applied(self, text: str) -> str:
        """Raises ``ValueError`` where the source is no longer as the mutant knows it."""
        if text.count(self.old) != 1:
            raise ValueError(f"{self.entry}: the text stands {text.count(self.old)} times in {self.file}: {self.old!r}")
        return text.replace(self.old, self.new)


CLI = "tests/system/cli"
PARALLEL = "tests/system/parallel"

MUTANTS: tuple[Mutant, ...] = ()
