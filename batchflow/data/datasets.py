"""From file patterns to a packed listing of every file they match.

Never opens a data file.  Links are followed inside a pattern's root folder only; FIFOs, sockets and devices are
passed over and counted, and so are hidden names, which only a component that starts with a dot matches.

Invariant: the listing is complete (a folder that cannot be read is an error), has every path once, and its order
depends on the patterns and the names alone: patterns as declared, paths of each in byte order.
"""

from __future__ import annotations

import errno
import os
import stat as stat_module
from collections.abc import Sequence
from pathlib import Path

from batchflow import _core
from batchflow.data.hints import hint_for_no_match, missing_folder, printable
from batchflow.errors import BatchflowError, DatasetError, ResourceError
from batchflow.patterns import FilePattern, matcher_below, matches, parse_pattern

_HINTS = {
    errno.EACCES: "every folder of the dataset must be readable, or nobody knows what is missing",
    errno.ELOOP: "remove the link, or name the folders to take one by one",
    errno.EMFILE: "raise the limit of open files (ulimit -n)",
    errno.ENOTDIR: "the folder changed while it was listed; run again when nothing writes there",
    errno.ESTALE: "the folder changed while it was listed; run again when nothing writes there",
}
_MACHINE_ERRORS = frozenset({errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOSPC})
"""The dataset may be as it should be: the machine is not."""


def list_files(patterns: Sequence[str], *, stat: bool = True, allow_empty: bool = False) -> _core.Listing:
    """List what the patterns match: in their order, and a path that comes twice only the first time.

    With ``stat`` each item has its size in bytes and mtime in nanoseconds (size -1: it vanished meanwhile, or is a
    link to nothing).  Raises ``DatasetError`` when something cannot be listed completely, a link leads out of a
    pattern's root folder, a file named without wildcards is missing, or, unless ``allow_empty``, nothing matches;
    ``ResourceError`` when it is the machine that gave out.
    """
    if isinstance(patterns, str):
        raise TypeError(f"expected a sequence of patterns, got one string: {patterns!r}")
    parsed = [parse_pattern(text) for text in patterns]
    collector = _Collector(stat)
    for pattern in parsed:
        collector.add(pattern)
    if collector.missing_folder is not None and not allow_empty:
        raise _no_match([collector.missing_folder], collector.builder)
    if collector.builder.item_count == 0 and not allow_empty:
        raise _no_match(parsed, collector.builder)
    try:
        return collector.builder.finish()
    except OSError as error:
        raise ResourceError(f"cannot hold the listing: {error.strerror}") from error


class _Collector:
    """What has been listed so far, and by which patterns."""

    def __init__(self, stat: bool) -> None:
        self.builder = _core.ListingBuilder(stat, len(os.sched_getaffinity(0)))
        self.missing_folder: FilePattern | None = None
        self._globs: list[FilePattern] = []
        self._files: set[bytes] = set()

    def add(self, pattern: FilePattern) -> None:
        try:
            if pattern.is_file:
                self._add_file(pattern)
            else:
                self._walk(pattern)
        except OSError as error:
            raise _cannot_list(pattern, error) from error

    def _add_file(self, pattern: FilePattern) -> None:
        name = pattern.components[0]
        path = pattern.root_path + name
        try:
            status = Path(os.fsdecode(path)).stat()
        except (FileNotFoundError, NotADirectoryError) as error:
            raise _no_match([pattern], self.builder) from error
        if not stat_module.S_ISREG(status.st_mode):
            folder = stat_module.S_ISDIR(status.st_mode)
            raise DatasetError(
                f"not a regular file: {printable(path)}",
                hint="end it with / to take every file below the folder" if folder else None,
            )
        if path in self._files or any(matches(glob, pattern.root, name) for glob in self._globs):
            return
        self._files.add(path)
        self.builder.add(pattern.root_path, name, status.st_size, status.st_mtime_ns)

    def _walk(self, pattern: FilePattern) -> None:
        earlier = [found for glob in self._globs if (found := matcher_below(glob, pattern.root)) is not None]
        own = _core.GlobPattern(pattern.components)
        globs = [own, *(glob for glob, _ in earlier)]
        masks = [own.start, *(mask for _, mask in earlier)]
        taken = sorted(path for path in self._files if path.startswith(pattern.root_path))
        matched_count = self.builder.walk(pattern.root_path, globs, masks, taken)
        if matched_count is None:
            self.missing_folder = self.missing_folder or pattern
        self._globs.append(pattern)
        if self.builder.refused:
            raise _refused(pattern, self.builder)


def _cannot_list(pattern: FilePattern, error: OSError) -> BatchflowError:
    where = printable(os.fsencode(error.filename)) if error.filename else printable(pattern.root_path)
    what = error.strerror or str(error)
    reason = os.strerror(error.errno) if error.errno else what
    if reason != what and error.errno != errno.ELOOP:
        what = f"{what}: {reason}"
    kind = ResourceError if error.errno in _MACHINE_ERRORS else DatasetError
    return kind(
        f"cannot list {printable(os.fsencode(pattern.text))}: {what}: {where}", hint=_HINTS.get(error.errno or 0)
    )


def _refused(pattern: FilePattern, builder: _core.ListingBuilder) -> DatasetError:
    count, named = builder.refused, [printable(os.fsencode(path)) for path in builder.refused_paths]
    links = "1 link leads" if count == 1 else f"{count} links lead"
    more = ", …" if count > len(named) else ""
    return DatasetError(
        f"{links} out of {printable(pattern.root_path)}: {', '.join(named)}{more}",
        hint="links are followed only inside the dataset's folder; add a pattern for the folder they lead to",
    )


def _no_match(patterns: Sequence[FilePattern], builder: _core.ListingBuilder) -> DatasetError:
    shown = ", ".join(printable(os.fsencode(pattern.text)) for pattern in patterns[:3])
    more = ", …" if len(patterns) > 3 else ""
    hint = hint_for_no_match(patterns, builder.skipped_hidden, builder.skipped_special)
    missing = missing_folder(patterns)
    return DatasetError(f"0 files match {shown}{more}{f': {missing}' if missing else ''}", hint=hint)
