"""Paths as the file declares them → absolute paths.  Reads nothing from the disk."""

from __future__ import annotations

import os
import re
from pathlib import Path

from batchflow.workflow.diagnostics import Problems
from batchflow.workflow.document import Document, Loc
from batchflow.workflow.values import escape_pattern

_GLOB = re.compile(r"[*?\[]")
_REMOTE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:(?://|[A-Za-z][A-Za-z0-9+.-]*:)")
_CONTROL = re.compile("[\x00-\x1f\x7f]")


def absolute(text: str, folder: Path | str) -> str:
    """The normalised absolute path; a ``/`` at the end is kept, an empty text stays empty."""
    if not text:
        return ""
    path = os.path.normpath(text if text.startswith("/") else f"{folder}/{text}")
    # POSIX leaves two leading slashes alone.
    path = "/" + path.lstrip("/")
    return path + "/" if text.endswith(("/", "/.", "/..")) and path != "/" else path


def absolute_pattern(text: str, folder: Path | str) -> str:
    """The same for a pattern: what the folder's own name holds is not taken for a pattern."""
    if text.startswith("/"):
        return absolute(text, "/")
    return absolute(text, escape_pattern(str(folder)))


def is_pattern(text: str) -> bool:
    return _GLOB.search(text) is not None


def pattern_base(pattern: str) -> str:
    """The folder (or the path) before the first wildcard of an absolute pattern, without ``/`` at the end."""
    match = _GLOB.search(pattern)
    base = pattern if match is None else pattern[: match.start()].rpartition("/")[0]
    return base.rstrip("/") or "/"


def check_local_path(text: str, what: str, document: Document, loc: Loc, problems: Problems) -> bool:
    """Whether the text can be a local path; otherwise says why not."""
    if not text:
        problems.add("BF011", f"expected a path for {what}, got an empty string", document, loc)
    elif _CONTROL.search(text):
        problems.add("BF011", f"a control character in the path of {what}", document, loc)
    elif _REMOTE.match(text):
        scheme = text.partition(":")[0]
        problems.add("BF015", f"{what}: `{scheme}:` locations are not yet supported", document, loc)
    else:
        return True
    return False


def is_inside(path: str, folder: str) -> bool:
    """Whether a path is the folder itself or below it."""
    folder = folder.rstrip("/")
    return path.rstrip("/") == folder or path.startswith(folder + "/")
