"""How a parallel step begins, in a run of the workflow: anew, with what an interrupted run left, or with what failed.

Between the journal of the step and the publication of its outputs; ``resume`` decides, this room looks and carries out.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from batchflow._core import crc32c
from batchflow.errors import JournalError
from batchflow.journal.commits import JOURNAL_NAME, State
from batchflow.journal.records import Success
from batchflow.output.publish import PendingOutput, discard
from batchflow.output.segment import RESTART_HINT
from batchflow.runner.resume import Resumption, decide, look
from batchflow.runner.values import RunOptions
from batchflow.workflow.values import ParallelSettings, Step, Workflow

_BLOCK = 4 << 20


@dataclass(frozen=True)
class Beginning:
    """What the parallel runner is told, and what is not to be touched any more."""

    resumption: Resumption = field(default_factory=Resumption)
    is_published: bool = False
    """The output of the work that is resumed has its name already."""
    copies: tuple[tuple[Path, Path], ...] = ()


def kept_outputs(step: Step) -> frozenset[str]:
    """The outputs that grow while a parallel step runs: the rows, and the folders for files of the script's own."""
    if step.parallel is None:
        return frozenset()
    rows = step.parallel.append_row_to
    return frozenset(name for name, output in step.outputs.items() if output.is_folder or name == rows)


def begin(
    step: Step,
    workflow: Workflow,
    state_folder: Path,
    outputs: Mapping[str, PendingOutput],
    signature: Mapping[str, Any],
    success: Success | None,
    options: RunOptions,
    *,
    forced: bool,
) -> Beginning:
    """Look at what earlier runs left and decide; removes the rest of an interrupted publication.

    Raises ``RefusedError`` and ``JournalError``.
    """
    settings = step.parallel
    if settings is None:
        return Beginning()
    if options.restart:
        drop_journal(state_folder)
    past = look(state_folder, success)
    resumption = decide(step, workflow, past, signature, options, forced=forced)
    if past is None or not resumption.resumes or past.state.phase != "finished":
        return Beginning(resumption)
    kept = [outputs[name] for name in sorted(kept_outputs(step))]
    if not _is_published(past.state, kept, settings):
        return Beginning(resumption)
    for output in kept:
        discard(output)  # what is left of the exchange of two folders is the older one
    if resumption.reopens:
        return Beginning(resumption, copies=tuple((output.final, output.temporary) for output in kept))
    return Beginning(resumption, is_published=True)


def drop_journal(state_folder: Path) -> None:
    """Remove the journal of a step, readable or not."""
    for suffix in ("", "-wal", "-shm"):
        with contextlib.suppress(FileNotFoundError):
            (state_folder / (JOURNAL_NAME + suffix)).unlink()


def rows_path(settings: ParallelSettings, outputs: Mapping[str, PendingOutput], *, final: bool) -> Path | None:
    """The file that takes the rows of a parallel step; None with ``summary_only``."""
    if settings.append_row_to is None:
        return None
    output = outputs[settings.append_row_to]
    path = output.final if final else output.temporary
    return path / (settings.append_row_file_name or "parallel_run_step.txt") if output.is_folder else path


def _is_published(state: State, kept: list[PendingOutput], settings: ParallelSettings) -> bool:
    """Whether the finished output has its final name: told by the inode, or, after a move or copy, by its content."""
    by_name = {output.name: output for output in kept}
    final = rows_path(settings, by_name, final=True)
    temporary = rows_path(settings, by_name, final=False)
    if final is None or temporary is None:
        if not kept:
            return True
        final, temporary = kept[0].final, kept[0].temporary
        if _inode(final) == state.file_id:
            return True
        return _inode(temporary) is None and _inode(final) is not None
    if _inode(final) == state.file_id or _inode(temporary) is None:
        if _inode(final) is None or _checksum(final) != (state.committed_size, state.checksum):
            raise JournalError(f"{final} is not as the step left it", hint=RESTART_HINT)
        return True
    return False


def _inode(path: Path) -> int | None:
    try:
        return path.lstat().st_ino
    except OSError:
        return None


def _checksum(path: Path) -> tuple[int, int]:
    size = checksum = 0
    with contextlib.suppress(OSError), path.open("rb", buffering=0) as file:
        while block := file.read(_BLOCK):
            size, checksum = size + len(block), crc32c(block, checksum)
    return size, checksum
