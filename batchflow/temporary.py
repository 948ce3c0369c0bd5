"""The names beside an output that belong to batchflow while the output is made.

```
NAME.partial                     what a step writes, or a folder around it
NAME.partial.ordered             the rows of a parallel step while they are put in order
.NAME.batchflow-previous         the old output, for an instant, where the kernel cannot exchange two names
```

Whoever finds something else there must leave it alone.
"""

from __future__ import annotations

from pathlib import Path

PARTIAL_SUFFIX = ".partial"
ORDERED_SUFFIX = ".ordered"


def partial_path(final: Path) -> Path:
    return final.with_name(final.name + PARTIAL_SUFFIX)


def previous_path(final: Path) -> Path:
    return final.with_name(f".{final.name}.batchflow-previous")


def taken_paths(final: Path) -> tuple[Path, ...]:
    """Every name that making the output ``final`` may write to, replace or remove, apart from its own."""
    partial = partial_path(final)
    return partial, partial.with_name(partial.name + ORDERED_SUFFIX), previous_path(final)
