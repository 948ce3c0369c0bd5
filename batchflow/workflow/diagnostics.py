"""Errors in a workflow file: collected while reading goes on, shown all at once.

Never prints.  Positions are looked up when the report is made, so a file without errors is never searched for them.
"""

from __future__ import annotations

import bisect
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from batchflow.errors import WorkflowError
from batchflow.text import safe_text
from batchflow.workflow.values import Position

if TYPE_CHECKING:
    from batchflow.workflow.document import Document, Loc

SHOWN_COUNT_MAX = 100
"""Diagnostics in one report; a generated file can have a million."""
LINE_WIDTH = 160
"""Characters of a source line that are shown around the fault."""


@dataclass(frozen=True)
class Diagnostic:
    """One fault: ``position`` in a file, or ``origin`` when the value came from outside (``--set limit=x``)."""

    code: str
    message: str
    position: Position | None = None
    hint: str | None = None
    origin: str | None = None
    other: Position | None = None
    """The second of two places that contradict each other."""


class WorkflowFileError(WorkflowError):
    """Everything that is wrong with a workflow file; ``str()`` is the whole report, ``diagnostics`` its parts."""

    def __init__(self, report: str, diagnostics: Sequence[Diagnostic]) -> None:
        super().__init__(report)
        self.diagnostics = tuple(diagnostics)


@dataclass(frozen=True)
class _Finding:
    """A fault before its position is known: ``loc`` in ``document``; ``needle`` is the text to underline."""

    code: str
    message: str
    hint: str | None
    document: Document | None
    loc: Loc
    part: Literal["key", "value"]
    needle: str | None
    position: Position | None
    origin: str | None
    other: Position | Loc | None


class Problems:
    """The faults found so far.  ``base`` is the folder that shown paths are relative to."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self._findings: list[_Finding] = []

    def add(
        self,
        code: str,
        message: str,
        document: Document | None = None,
        loc: Loc = (),
        *,
        part: Literal["key", "value"] = "value",
        needle: str | None = None,
        hint: str | None = None,
        position: Position | None = None,
        origin: str | None = None,
        other: Position | Loc | None = None,
    ) -> None:
        """Note a fault at the key or the value ``loc`` of ``document``, at ``position``, or from ``origin``.

        ``other``: a second place that is shown, of the same document if it is a location.
        """
        if document is not None and origin is None:
            origin = document.origin_of(loc)
        self._findings.append(_Finding(code, message, hint, document, loc, part, needle, position, origin, other))

    def __bool__(self) -> bool:
        return bool(self._findings)

    def raise_if_any(self) -> None:
        """Raise ``WorkflowFileError`` with every fault found so far, in order of position."""
        if not self._findings:
            return
        documents = {one.path: one for finding in self._findings if (one := _document_of(finding)) is not None}
        diagnostics = sorted({self._placed(one): None for one in self._findings}, key=_order)
        shown = [_render(one, documents, self.base) for one in diagnostics[:SHOWN_COUNT_MAX]]
        if len(diagnostics) > SHOWN_COUNT_MAX:
            shown.append(f"and {len(diagnostics) - SHOWN_COUNT_MAX} more errors")
        raise WorkflowFileError("\n\n".join(shown), diagnostics)

    def _placed(self, finding: _Finding) -> Diagnostic:
        position = finding.position
        if position is None and finding.document is not None and finding.origin is None:
            position = finding.document.locate(finding.loc, finding.part, finding.needle)
        hint = None if finding.hint is None else safe_text(finding.hint)
        origin = None if finding.origin is None else safe_text(finding.origin)
        other = finding.other
        if isinstance(other, tuple):
            document = finding.document
            other = None if document is None or document.origin_of(other) is not None else document.locate(other)
        return Diagnostic(finding.code, safe_text(finding.message), position, hint, origin, other)


def render_warning(diagnostic: Diagnostic, base: Path) -> str:
    """What a person is shown of a warning; the line itself is not, as it may hold a secret."""
    return _render(diagnostic, {}, base, "warning")


def _document_of(finding: _Finding) -> Document | None:
    """The document that the fault stands in; a position that is looked up later knows it as well."""
    from batchflow.workflow.document import DeferredPosition

    return finding.position.document if isinstance(finding.position, DeferredPosition) else finding.document


def _order(diagnostic: Diagnostic) -> tuple[bool, str, int, int]:
    position = diagnostic.position
    if position is None:
        return (True, "", 0, 0)
    return (False, str(position.path), position.line, position.column)


def _render(diagnostic: Diagnostic, documents: dict[Path, Document], base: Path, kind: str = "error") -> str:
    lines = [f"{kind}[{diagnostic.code}]: {diagnostic.message}"]
    position, other = diagnostic.position, diagnostic.other
    gutter = " " * max((len(str(one.line)) for one in (position, other) if one is not None), default=1)
    if position is not None:
        lines += _place(position, "-->", gutter, documents, base)
    elif diagnostic.origin is not None:
        lines.append(f"{gutter}--> {diagnostic.origin}")
    if other is not None:
        lines += _place(other, ":::", gutter, documents, base)
    if diagnostic.hint is not None:
        lines.append(f"{gutter} = help: {diagnostic.hint}")
    return "\n".join(lines)


def _place(position: Position, arrow: str, gutter: str, documents: dict[Path, Document], base: Path) -> list[str]:
    """Where it is, and the line with the fault underlined if the file was read."""
    where = f"{gutter}{arrow} {safe_text(_shown_path(position.path, base))}:{position.line}:{position.column}"
    document = documents.get(position.path)
    if document is None:
        return [where]
    text, marks = _excerpt(document.line(position.line), position.column, position.length)
    return [where, f"{gutter} |", f"{position.line:{len(gutter)}} | {text}".rstrip(), f"{gutter} | {marks}"]


def _shown_path(path: Path, base: Path) -> str:
    relative = os.path.relpath(path, base)
    return str(path) if relative.startswith(os.pardir) else relative


def _excerpt(line: str, column: int, length: int) -> tuple[str, str]:
    """The line as it can be shown, cut around the fault, and the carets below it."""
    start = max(0, column - 1 - LINE_WIDTH // 2) if len(line) > LINE_WIDTH else 0
    end = min(len(line), start + LINE_WIDTH)
    before = ("…" if start else "") + _shown(line[start : column - 1])
    fault = _shown(line[column - 1 : min(end, column - 1 + length)])
    after = _shown(line[min(end, column - 1 + length) : end]) + ("…" if end < len(line) else "")
    return before + fault + after, " " * _cells(before) + "^" * max(1, _cells(fault))


def _shown(text: str) -> str:
    return safe_text(text.replace("\t", " "))


def _cells(text: str) -> int:
    """Columns of a terminal that the text takes."""
    import unicodedata

    return sum(2 if unicodedata.east_asian_width(one) in "WF" else not unicodedata.combining(one) for one in text)


def quoted(value: object) -> str:
    """A value as it would stand in TOML, cut to a length that can be read."""
    if isinstance(value, bool):
        text = "true" if value else "false"
    elif isinstance(value, str):
        text = f"'{value}'"
    else:
        text = str(value)
    return text if len(text) <= 80 else text[:79] + "…"


def did_you_mean(name: str, known: Iterable[str]) -> str | None:
    """``did you mean `mini_batch_size`?``, or the few known names when none is near; None when there are many."""
    import difflib

    names = list(known)
    near = difflib.get_close_matches(name[:80].lower(), [one.lower() for one in names], n=1, cutoff=0.6)
    if near:
        return f"did you mean `{next(one for one in names if one.lower() == near[0])}`?"
    if 0 < len(names) <= 8:
        return "known: " + ", ".join(f"`{one}`" for one in sorted(names))
    return None


class LineIndex:
    """Turns an offset in a text into line and column, both from 1, columns in characters."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._starts = [0, *(match.end() for match in re.finditer("\n", text))]

    def place(self, offset: int) -> tuple[int, int]:
        line = bisect.bisect_right(self._starts, offset)
        return line, offset - self._starts[line - 1] + 1

    def offset(self, line: int) -> int:
        return self._starts[line - 1]

    def line(self, number: int) -> str:
        """The text of a line, empty beyond the end."""
        if not 1 <= number <= len(self._starts):
            return ""
        end = self._starts[number] if number < len(self._starts) else len(self.text)
        return self.text[self._starts[number - 1] : end]
