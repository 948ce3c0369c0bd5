"""How a parallel step begins, in a run of the workflow: anew, with what an interrupted run left, or with what failed.

Between the journal of the step and the publication of its outputs; ``resume`` decides, this room looks and carries out.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from batchflow.errors import JournalError, RefusedError, ResourceError
from batchflow.journal.commits import JOURNAL_NAME
from batchflow.journal.records import Success
from batchflow.journal.state import State
from batchflow.output.checksums import file_checksum
from batchflow.output.publish import PendingOutput, discard
from batchflow.output.segment import RESTART_HINT
from batchflow.runner.leftovers import remove_leftovers
from batchflow.runner.places import kept_outputs
from batchflow.runner.resume import Past, Resumption, decide, look
from batchflow.runner.values import RunOptions
from batchflow.tables.typed import TYPED_FORMATS
from batchflow.workflow.values import ParallelSettings, Step, Workflow

Value = TypeVar("Value")


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


def script_folder(outputs: Mapping[str, PendingOutput]) -> PendingOutput | None:
    """Where the script writes files of its own, if it does: the first output that is a folder."""
    return next((one for one in outputs.values() if one.is_folder), None)


def written_folders(step: Step, outputs: Mapping[str, PendingOutput]) -> dict[str, Path]:
    """The temporary folders that the script writes into."""
    folders = {name: outputs[name].written_folder for name in sorted(kept_outputs(step))}
    return {name: folder for name, folder in folders.items() if folder is not None}


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
    if past is not None and not (past.is_over or resumption.resumes):
        remove_leftovers(past.state.signature, workflow)
    names = kept_outputs(step)
    # What begins anew is emptied by the committer, when the journal has forgotten it.
    whole = Beginning(resumption, kept=names)
    if past is None or not resumption.resumes:
        return whole
    if past.state.phase != "finished":
        _check_folders(past.state, written_folders(step, outputs), options)
        return whole
    published = _published(past, settings, {name: outputs[name] for name in sorted(names)})
    if names and not published:
        return whole
    _check_rows(past.state, settings, outputs, published)
    for output in published.values():
        discard(output)  # the older one, left of the exchange of two folders, or a copy that was begun
    if resumption.reopens:
        copies = tuple(
            (output.final, output.temporary)
            for output in published.values()
            if output.is_folder or not _is_made_anew(settings, output)
        )
        return Beginning(resumption, kept=names, copies=copies)
    return Beginning(resumption, kept=names, published=frozenset(published), is_published=True)


def _check_folders(state: State, folders: Mapping[str, Path], options: RunOptions) -> None:
    """Raise unless the folders are there that the script has written into: its files count as done."""
    for name, was in state.folder_ids.items():
        folder = folders[name]
        now = None if folder.is_symlink() or not folder.is_dir() else _inode(folder)
        if now is None:
            raise JournalError(f"the output of an interrupted run is gone: {folder}", hint=RESTART_HINT)
        if now != was and not options.accept_changes:
            raise RefusedError(
                f"{folder} is another folder than the one that the interrupted run wrote into",
                hint="if it is a complete copy: --accept-changes goes on with it; --restart begins anew",
            )


def _published(past: Past, settings: ParallelSettings, kept: Mapping[str, PendingOutput]) -> dict[str, PendingOutput]:
    """The outputs of a finished step that have their names."""
    if not past.is_over:
        return {name: one for name, one in kept.items() if _is_published(one, past.state, settings)}
    for output in kept.values():
        if not os.path.lexists(output.final):
            raise JournalError(f"the output of the last run is gone: {output.final}", hint=RESTART_HINT)
    return dict(kept)


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


def _is_published(output: PendingOutput, state: State, settings: ParallelSettings) -> bool:
    """Whether a finished output has its final name, which may be an older output's yet.

    Told by its inode; in a copy of the project by the other name being free, or by the rows.  Never guessed: the wrong
    answer would take an older output for the new one.
    """
    was = state.output_ids.get(output.name)
    temporary, final = _inode(output.temporary), _inode(output.final)
    if was is None or temporary == was:
        return False
    if final == was:
        return True
    if final is None and temporary is not None:
        return False
    if output.name == settings.append_row_to:
        rows = (state.output_size, state.output_checksum)
        places = {output.name: output}
        fits = [
            is_final
            for is_final in (False, True)
            if (path := rows_path(settings, places, final=is_final)) is not None and _checksum(path) == rows
        ]
        if len(fits) == 1 or (fits and not output.is_folder):
            return fits[0]
    raise JournalError(
        f"the finished output {output.name} is not where it was left: neither {output.temporary} nor {output.final}"
        " is known",
        hint=RESTART_HINT,
    )


def _is_made_anew(settings: ParallelSettings, output: PendingOutput) -> bool:
    """Whether the output is made of the rows at every end of the step, so that nobody needs the one before."""
    return output.name == settings.append_row_to and settings.output_format in TYPED_FORMATS


def _check_rows(
    state: State,
    settings: ParallelSettings,
    outputs: Mapping[str, PendingOutput],
    published: Mapping[str, PendingOutput],
) -> None:
    """Raise ``JournalError`` unless the rows are as they were when the step was finished, under whichever name."""
    path = rows_path(settings, outputs, final=settings.append_row_to in published)
    if path is not None and _checksum(path) != (state.output_size, state.output_checksum):
        raise JournalError(f"{path} is not as the step left it", hint=RESTART_HINT)


def _inode(path: Path) -> int | None:
    """None where nothing has the name."""
    return _seen(path, lambda: path.lstat().st_ino, None)


def _checksum(path: Path) -> tuple[int, int]:
    """Size and CRC-32C, of nothing where no file has the name."""
    return _seen(path, lambda: file_checksum(path), (0, 0))


def _seen(path: Path, look: Callable[[], Value], absent: Value) -> Value:
    """What a look at the file gives.  What cannot be read now may well be as it was left: ``ResourceError``."""
    try:
        return look()
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return absent
    except OSError as error:
        raise ResourceError(f"{path} cannot be read: {error.strerror}", hint="run the same command again") from error
