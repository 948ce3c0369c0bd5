"""Datasets that match no file, as far as a short look can tell: a warning of ``check``.

Looks at no more than a few thousand names and never fails: what it cannot tell, the run will.  A dataset that outputs
of steps may belong to is passed over.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator

from batchflow.data.hints import hint_for_no_match, missing_folder
from batchflow.errors import DatasetError
from batchflow.patterns import FilePattern, matches, parse_pattern
from batchflow.workflow.codes import UNMATCHED_DATASET
from batchflow.workflow.diagnostics import Diagnostic
from batchflow.workflow.values import Output, Workflow

LOOKED_AT_MAX = 5000


def unmatched_datasets(workflow: Workflow) -> tuple[Diagnostic, ...]:
    """A warning for each dataset of which nothing is there."""
    outputs = [output for step in workflow.steps.values() for output in step.outputs.values()]
    found = []
    for dataset in workflow.datasets.values():
        try:
            patterns = [parse_pattern(text) for text in dataset.patterns]
            if any(_may_be_made(pattern, outputs) or _may_match(pattern) for pattern in patterns):
                continue
        except (DatasetError, OSError):
            continue
        missing = missing_folder(patterns)
        message = f"dataset `{dataset.name}` matches no file{f': {missing}' if missing else ''}"
        found.append(Diagnostic(UNMATCHED_DATASET, message, dataset.position, hint_for_no_match(patterns, 0, 0)))
    return tuple(found)


def _may_be_made(pattern: FilePattern, outputs: Iterable[Output]) -> bool:
    """Whether a step makes such a file, or a folder that may hold one."""
    for output in outputs:
        names = tuple(os.fsencode(name) for name in output.path.parts[1:])
        shared = min(len(names), len(pattern.root))
        if output.is_folder and names[:shared] == pattern.root[:shared]:
            return True
        if not output.is_folder and names and matches(pattern, names[:-1], names[-1]):
            return True
    return False


def _may_match(pattern: FilePattern) -> bool:
    """Whether a file is there; True also where the look was too short."""
    if pattern.is_file:
        return os.path.lexists(pattern.root_path + pattern.components[0])
    depth_max = None if b"**" in pattern.components else len(pattern.root) + len(pattern.components) - 1
    for count, (folder, name) in enumerate(_files(pattern.root, depth_max)):
        if name is None or count >= LOOKED_AT_MAX or matches(pattern, folder, name):
            return True
    return False


def _files(root: tuple[bytes, ...], depth_max: int | None) -> Iterator[tuple[tuple[bytes, ...], bytes | None]]:
    """The files below ``root`` with their folders, folders too as they count; None for what a look cannot follow."""
    waiting: list[tuple[bytes, ...]] = [root]
    while waiting:
        folder = waiting.pop()
        try:
            with os.scandir(b"/" + b"/".join(folder)) as entries:
                for entry in entries:
                    if entry.is_symlink():
                        yield folder, None
                    if entry.is_dir() and (depth_max is None or len(folder) < depth_max):
                        waiting.append((*folder, entry.name))
                    yield folder, entry.name
        except FileNotFoundError:
            continue
