"""One TOML file: its text, its tree, and where each key and value stands.

The tree comes from tomli, which judges the syntax but keeps no positions.  Positions come from tree-sitter, which is
loaded when the first one is asked for: for an error, or by a caller that reads a ``Position``.
"""

from __future__ import annotations

import functools
import os
import re
import stat
from pathlib import Path
from typing import Any, Literal, TypeAlias

from batchflow.redaction import redact
from batchflow.workflow import limits
from batchflow.workflow.diagnostics import LineIndex, Problems
from batchflow.workflow.values import Position

Loc: TypeAlias = "tuple[str | int, ...]"
"""The way from the root of a tree to a key or an array's element."""
Tree: TypeAlias = "dict[str, Any]"
"""A TOML table as tomli returns it."""

_TOKEN = re.compile(
    r'''"""(?:\\.|[^\\])*?"""|\'{3}.*?\'{3}|"(?:\\.|[^"\\\n])*"|'[^'\n]*'|\#[^\n]*|[][{}"']''', re.DOTALL
)
"""A string, a comment, a bracket, or a quote that opens a string which does not end on its line."""


class Document:
    """A TOML file that was read.  ``overridden`` says which locations were replaced from outside, and by what."""

    def __init__(self, path: Path, text: str) -> None:
        self.path = path
        self.text = text
        self.tree: Tree = {}
        self.overridden: dict[Loc, str] = {}
        self.secrets: set[str] = set()
        """Values of the file that are never shown, of any length."""

    @functools.cached_property
    def _lines(self) -> LineIndex:
        return LineIndex(self.text)

    @functools.cached_property
    def _spans(self) -> dict[Loc, tuple[tuple[int, int], tuple[int, int]]]:
        from batchflow.workflow import positions

        return positions.find_spans(self.text)

    def line(self, number: int) -> str:
        """The text of a line as it may be shown: what is secret are stars, as many as there were characters."""
        line = self._lines.line(number)
        for secret in sorted(self.secrets, key=len, reverse=True):
            for opening, closing in (('"', '"'), ("'", "'"), (" ", "")):
                line = line.replace(f"{opening}{secret}{closing}", f"{opening}{'*' * len(secret)}{closing}")
        return redact(line.rstrip("\r\n"), keep_length=True)

    def at(self, offset: int, length: int = 1) -> Position:
        """The position of an offset in the text."""
        line, column = self._lines.place(min(max(offset, 0), len(self.text)))
        return Position(self.path, line, column, max(1, length))

    def locate(self, loc: Loc, part: Literal["key", "value"] = "value", needle: str | None = None) -> Position:
        """Where a key or a value stands, or what holds it if it does not stand in the file itself.

        ``needle`` narrows the value to its first occurrence in the source, if it occurs there.
        """
        known = next((loc[:end] for end in range(len(loc), 0, -1) if loc[:end] in self._spans), None)
        if known is None:
            return self.at(0)
        key, value = self._spans[known]
        start, end = value if part == "value" and known == loc else key
        if part == "value" and known != loc and isinstance(loc[len(known)], int):
            start, end = value
        if needle is not None:
            found = self.text.find(needle, *value)
            if found >= 0:
                start, end = found, found + len(needle)
        newline = self.text.find("\n", start, end)
        return self.at(start, (end if newline < 0 else newline) - start)

    def origin_of(self, loc: Loc) -> str | None:
        """The argument that put the value there, ``--set steps.a.run=x``; None if it stands in the file."""
        return next(
            (self.overridden[loc[:end]] for end in range(len(loc), 0, -1) if loc[:end] in self.overridden), None
        )

    def deferred(self, loc: Loc, part: Literal["key", "value"] = "key") -> Position:
        """The position of a key or a value, looked up when it is first read."""
        return DeferredPosition(self, loc, part)


class DeferredPosition(Position):
    """A position that is not looked up before someone reads it."""

    document: Document

    def __init__(self, document: Document, loc: Loc, part: Literal["key", "value"]) -> None:
        object.__setattr__(self, "path", document.path)
        object.__setattr__(self, "document", document)
        object.__setattr__(self, "_loc", loc)
        object.__setattr__(self, "_part", part)

    @functools.cached_property
    def _found(self) -> Position:
        return self.document.locate(self.__dict__["_loc"], self.__dict__["_part"])

    @property
    def line(self) -> int:
        return self._found.line

    @property
    def column(self) -> int:
        return self._found.column

    @property
    def length(self) -> int:
        return self._found.length

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Position):
            return NotImplemented
        return (self.path, self.line, self.column, self.length) == (other.path, other.line, other.column, other.length)

    def __hash__(self) -> int:
        return hash((self.path, self.line, self.column, self.length))


def read_document(path: Path, problems: Problems, *, origin: str | None = None) -> Document:
    """Read and parse one TOML file; raises ``WorkflowFileError`` through ``problems`` at the first fault.

    ``origin`` says who asked for the file, if it is not the workflow itself.
    """
    data = _read(path, problems, origin)
    document = Document(path, "")
    try:
        document.text = limits.decode(data)
        limits.scan(document.text)
    except limits.LimitError as error:
        document.text = document.text or data[: limits.SIZE_MAX].decode("utf-8", "replace")
        position = document.at(error.offset, error.length)
        problems.add(error.code, error.message, document, hint=error.hint, position=position)
        problems.raise_if_any()
    document.tree = _parse(document, problems, origin)
    return document


def _read(path: Path, problems: Problems, origin: str | None) -> bytes:
    """The file's bytes, one more than the limit at most.  Never opens what is not a regular file."""
    message, hint = "", None
    try:
        mode = path.stat().st_mode
        if stat.S_ISREG(mode):
            with path.open("rb") as file:
                return file.read(limits.SIZE_MAX + 1)
        message = "is a folder" if stat.S_ISDIR(mode) else "is not a regular file"
    except (OSError, ValueError) as error:
        message = (os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)).lower()
    if origin is None and path.parent.is_dir():
        beside = sorted(one.name for one in path.parent.glob("*.toml"))
        hint = f"workflow files there: {', '.join(beside[:8])}" if beside else None
    problems.add("BF001", f"cannot read {path}: {message}", hint=hint, origin=origin)
    problems.raise_if_any()
    return b""


def _unclosed_bracket(text: str, end: int) -> int:
    """Where the innermost bracket stands that is open before ``end``."""
    opened: list[int] = []
    for match in _TOKEN.finditer(text, 0, end):
        if match.group() in ("{", "["):
            opened.append(match.start())
        elif match.group() in ("}", "]") and opened:
            opened.pop()
    return opened[-1] if opened else end


def _unclosed_string(text: str, end: int) -> int:
    """Where the first quote stands that has no other one on its line."""
    quotes = (match.start() for match in _TOKEN.finditer(text) if match.group() in ("'", '"'))
    return next(quotes, end)


def _parse(document: Document, problems: Problems, origin: str | None) -> Tree:
    import tomli

    try:
        tree: Tree = tomli.loads(document.text)
    except (tomli.TOMLDecodeError, ValueError, RecursionError) as error:
        message = getattr(error, "msg", str(error))
        message = message[:1].lower() + message[1:]
        offset, hint = getattr(error, "pos", 0), None
        unclosed = {"unclosed inline table": "{", "unclosed array": "["}.get(message)
        if unclosed is not None:
            message, offset = f"this `{unclosed}` is not closed", _unclosed_bracket(document.text, offset)
        elif "illegal character '\\n'" in message or message == 'expected "\'"':
            message, offset = "this string is not closed", _unclosed_string(document.text, offset)
            hint = "write the closing quote on the same line, or use three quotes for a text of several lines"
        elif origin is not None and document.path.suffix.lower() in (".yaml", ".yml", ".json"):
            hint = "--params takes a TOML file: NAME = VALUE on each line, texts in quotes"
        problems.add("BF004", f"not valid TOML: {message}", document, position=document.at(offset), hint=hint)
        problems.raise_if_any()
        return {}
    too_deep = _too_deep(tree)
    if too_deep is not None:
        message = f"tables more than {limits.DEPTH_MAX} deep inside each other"
        problems.add("BF003", message, document, too_deep, part="key")
        problems.raise_if_any()
    return tree


def _too_deep(tree: Tree) -> Loc | None:
    """The first location that is nested deeper than the limit; without recursion."""
    waiting: list[tuple[Loc, Any]] = [((), tree)]
    while waiting:
        loc, value = waiting.pop()
        if isinstance(value, (dict, list)):
            if len(loc) > limits.DEPTH_MAX:
                return loc
            pairs = value.items() if isinstance(value, dict) else enumerate(value)
            waiting.extend(((*loc, key), one) for key, one in pairs)
    return None
