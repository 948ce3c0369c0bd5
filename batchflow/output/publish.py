"""A step's outputs: written under a temporary name, given their own name only when the step succeeded.

```
NAME.partial                     what the step writes; or, where tools look at the file's name, NAME.partial/NAME
NAME                             what everybody else sees: the old output or the new one, never a mixture
.NAME.batchflow-previous         the old one, for an instant, where the kernel cannot exchange two names
```

A file replaces its predecessor by ``rename``; a folder changes places with it (``RENAME_EXCHANGE``), or by two renames
that ``recover`` finishes.  Never looks into what it publishes.

Invariant: what stands under NAME after ``publish`` is complete and durable; until then it is what was there before.
"""

from __future__ import annotations

import contextlib
import ctypes
import enum
import errno
import os
import shutil
import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from batchflow.errors import RefusedError, ResourceError, StepFailedError
from batchflow.failpoints import reach
from batchflow.temporary import partial_path, previous_path

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2


@dataclass(frozen=True)
class PendingOutput:
    """One output of a step that is about to run."""

    name: str
    final: Path
    is_folder: bool
    keeps_name: bool
    """The temporary file has the final one's own name, in a folder ``NAME.partial``: tools infer formats from names."""

    @property
    def partial(self) -> Path:
        return partial_path(self.final)

    @property
    def temporary(self) -> Path:
        """What the step is told to write."""
        return self.partial / self.final.name if self.keeps_name else self.partial

    @property
    def written_folder(self) -> Path | None:
        """The temporary folder that the step's own code writes into; None for a file that we write."""
        return self.partial if self.is_folder or self.keeps_name else None

    @property
    def previous(self) -> Path:
        return previous_path(self.final)


class Recovery(enum.Enum):
    """What to do about an exchange of folders that was cut short."""

    NOTHING = "nothing"
    RESTORE = "put the previous output back"
    FINISH = "give the new output its name and remove the previous one"
    CLEAN = "remove the previous output"


# (final exists, temporary exists, previous exists) -> decision.  The previous output exists only between the first of
# the two renames, which is made when the new one is complete, and its removal after the second.
RECOVERY = {
    (False, False, False): Recovery.NOTHING,
    (False, False, True): Recovery.RESTORE,
    (False, True, False): Recovery.NOTHING,
    (False, True, True): Recovery.FINISH,
    (True, False, False): Recovery.NOTHING,
    (True, False, True): Recovery.CLEAN,
    (True, True, False): Recovery.NOTHING,
    (True, True, True): Recovery.CLEAN,
}


def recover(output: PendingOutput) -> Recovery:
    """Finish what an earlier publication left half done; returns what was decided."""
    paths = (output.final, output.temporary, output.previous)
    final, temporary, previous = (os.path.lexists(path) for path in paths)
    decision = RECOVERY[final, temporary, previous]
    with _explained(output):
        if decision is Recovery.RESTORE:
            output.previous.rename(output.final)
        elif decision is Recovery.FINISH:
            output.temporary.rename(output.final)
        if decision in (Recovery.FINISH, Recovery.CLEAN):
            _remove(output.previous)
        if decision is not Recovery.NOTHING:
            _sync(output.final.parent)
    return decision


def check_final(output: PendingOutput, *, is_ours: bool) -> None:
    """Raise ``RefusedError`` if publishing would destroy what batchflow did not make, or follow a link.

    ``is_ours``: an earlier run wrote this output, or the user said to replace it.
    """
    try:
        mode = output.final.lstat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise RefusedError(
            f"output {output.name} is neither a file nor a folder, path={output.final}",
            hint="symbolic links and devices are not replaced: remove it or declare another path",
        )
    if is_ours or (stat.S_ISDIR(mode) and output.is_folder and not any(output.final.iterdir())):
        return
    raise RefusedError(
        f"output {output.name} exists already and no run of this workflow wrote it, path={output.final}",
        hint="move it away, or run with -F to replace it",
    )


def prepare(output: PendingOutput, *, keep: bool = False) -> None:
    """Make room for the step: recover, remove leftovers, create the parent folders and an output folder, empty.

    ``keep``: leave what an earlier run wrote under the temporary name; whoever runs the step decides about it.
    """
    recover(output)
    with _explained(output):
        if not keep or output.partial.is_symlink():  # never ours: a link would be followed
            _remove(output.partial)
        _make_folders(output.final.parent)
        if output.is_folder or output.keeps_name:
            output.partial.mkdir(exist_ok=keep)


def discard(output: PendingOutput) -> None:
    """Remove what a step wrote; the final output stays as it is."""
    with _explained(output):
        _remove(output.partial)


FinalStates: TypeAlias = Mapping[Path, tuple[int, int, int] | None]
"""Final path → inode, size and mtime in nanoseconds; None where nothing is."""


def final_states(outputs: Iterable[PendingOutput]) -> FinalStates:
    """What stands under the final names before a step runs."""
    return {output.final: _state(output.final) for output in outputs}


def check_written(outputs: Iterable[PendingOutput], before: FinalStates) -> None:
    """Raise ``StepFailedError`` that names every output which the step did not write, or not as declared.

    ``before``: the ``final_states`` from before the step, to tell an output that was written past its temporary name.
    """
    faults = []
    for output in outputs:
        is_direct = _state(output.final) not in (None, before.get(output.final))
        try:
            mode = output.temporary.lstat().st_mode
        except FileNotFoundError:
            faults.append(_written_directly(output) if is_direct else _not_written(output))
            continue
        if is_direct and output.is_folder and stat.S_ISDIR(mode) and not any(output.temporary.iterdir()):
            faults.append(_written_directly(output))
            continue
        if output.is_folder != stat.S_ISDIR(mode) or not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            wanted = "folder" if output.is_folder else "file"
            faults.append(f"output {output.name} is not a {wanted}, path={output.final}")
    if faults:
        raise StepFailedError(
            "; ".join(faults), hint="write each output to the path that the step is given for it (${outputs.NAME})"
        )


def _not_written(output: PendingOutput) -> str:
    return f"output {output.name} was not written, path={output.final}"


def _written_directly(output: PendingOutput) -> str:
    return (
        f"{output.final.name} was written directly: write to ${{outputs.{output.name}}}, "
        "a temporary path that batchflow renames when the step succeeds"
    )


def _state(path: Path) -> tuple[int, int, int] | None:
    try:
        info = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return info.st_ino, info.st_size, info.st_mtime_ns


def publish(outputs: Iterable[PendingOutput]) -> tuple[Path, ...]:
    """Make the outputs durable and give them their final names, in order.

    Returns the files that the step left beside its outputs; they are gone.  Raises ``ResourceError``, and then every
    output that was not published is still complete under its temporary name.
    """
    outputs = tuple(outputs)
    for output in outputs:
        with _explained(output):
            (sync_file_system if output.is_folder else _sync)(output.temporary)
    for output in outputs:
        with _explained(output):
            reach("before_rename")
            _replace(output)
            reach("after_rename")
            _sync(output.final.parent)
            reach("after_dirsync")
    strays: list[Path] = []
    for output in outputs:
        with _explained(output):
            if output.keeps_name and output.partial.is_dir():
                strays.extend(output.partial.iterdir())
            _remove(output.partial)
    return tuple(strays)


def _replace(output: PendingOutput) -> None:
    """Give the temporary output its final name; what had it before ends under ``partial``, or nowhere."""
    temporary, final = output.temporary, output.final
    if not final.is_dir() and not (output.is_folder and final.exists()):
        temporary.rename(final)
    elif exchange(temporary, final):
        _remove(temporary)
    else:
        final.rename(output.previous)
        temporary.rename(final)
        _sync(final.parent)
        _remove(output.previous)


def exchange(first: Path, second: Path) -> bool:
    """Let two names change places at once; False where the kernel or the file system cannot."""
    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except AttributeError:
        return False
    if rename(_AT_FDCWD, os.fsencode(first), _AT_FDCWD, os.fsencode(second), _RENAME_EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    if number in (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EPERM):
        return False
    raise OSError(number, os.strerror(number), str(first), None, str(second))


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_file_system(folder: Path) -> None:
    """Make everything below ``folder`` durable: one call for its file system instead of one for each of many files."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if ctypes.CDLL(None, use_errno=True).syncfs(descriptor) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(folder))
    finally:
        os.close(descriptor)


def _make_folders(folder: Path) -> None:
    """Create ``folder`` and its missing parents, each durable in its own parent."""
    missing = []
    while not folder.is_dir():
        missing.append(folder)
        folder = folder.parent
    for one in reversed(missing):
        one.mkdir(exist_ok=True)
        _sync(one.parent)


def _remove(path: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


@contextlib.contextmanager
def _explained(output: PendingOutput) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ResourceError(
            f"cannot write output {output.name}, path={output.final}: {error.strerror or error}",
            hint=_cure(output),
        ) from error


def _cure(output: PendingOutput) -> str | None:
    if not output.temporary.exists():
        return None
    # Where a folder is, mv would put the new one into it.
    first = f"move {output.final} away, then " if output.final.is_dir() else ""
    return f"if it is complete: {first}mv {output.temporary} {output.final}"
