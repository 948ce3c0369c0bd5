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
    kept: frozenset[str] = frozenset()
    """Outputs whose temporary files stay as they are: what is to become of them is decided later, if at all."""
    published: frozenset[str] = frozenset()
    """Outputs of the work that is resumed that have their names already."""
    is_published: bool = False
    """Its publication has begun: nothing is left to do but to end it."""
    copies: tuple[tuple[Path, Path], ...] = ()


def kept_outputs(step: Step) -> frozenset[str]:
    """The outputs that a parallel step's script makes, over all its runs; the others are copies of reports."""
    if step.parallel is None:
        return frozenset()
    return frozenset(step.outputs) - {step.parallel.failed_to, step.parallel.receipt_to}


def script_folder(outputs: Mapping[str, PendingOutput]) -> PendingOutput | None:
    """Where the script writes files of its own, if it does: the first output that is a folder."""
    return next((one for one in outputs.values() if one.is_folder), None)


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
    try:
        past = look(state_folder, success)
        resumption = decide(step, workflow, past, signature, options, forced=forced)
    except JournalError as error:
        if not options.restart:
            raise
        past, resumption = None, Resumption(notices=(f"begins anew; dropped: {error.message}",))
    if options.restart:
        drop_journal(state_folder)
    names = kept_outputs(step)
    if past is None or not resumption.resumes:
        return Beginning(resumption, kept=_emptied_later(settings, outputs))
    if past.state.phase != "finished":
        return Beginning(resumption, kept=names)
    kept = {name: outputs[name] for name in sorted(names)}
    published = {name: one for name, one in kept.items() if _is_published(one, past.state.output_ids.get(name))}
    if kept and not published:
        return Beginning(resumption, kept=names)
    _check_rows(past.state, settings, outputs, published)
    for output in published.values():
        discard(output)  # what is left of the exchange of two folders is the older one
    if resumption.reopens:
        copies = tuple((output.final, output.temporary) for output in published.values())
        return Beginning(resumption, kept=names, copies=copies)
    return Beginning(resumption, kept=names, published=frozenset(published), is_published=True)


def _emptied_later(settings: ParallelSettings, outputs: Mapping[str, PendingOutput]) -> frozenset[str]:
    """What the committer empties itself, when the journal has forgotten it."""
    folder = script_folder(outputs)
    return frozenset({settings.append_row_to or "", "" if folder is None else folder.name})


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


def _is_published(output: PendingOutput, file_id: int | None) -> bool:
    """Whether a finished output has its final name: told by its inode, or, after a move or copy, by what is missing."""
    temporary, final = _inode(output.temporary), _inode(output.final)
    if final is None or temporary is None:
        return final is not None
    return final == file_id


def _check_rows(
    state: State,
    settings: ParallelSettings,
    outputs: Mapping[str, PendingOutput],
    published: Mapping[str, PendingOutput],
) -> None:
    """Raise ``JournalError`` unless the rows are as they were when the step was finished, under whichever name."""
    path = rows_path(settings, outputs, final=settings.append_row_to in published)
    if path is not None and _checksum(path) != (state.committed_size, state.checksum):
        raise JournalError(f"{path} is not as the step left it", hint=RESTART_HINT)


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
