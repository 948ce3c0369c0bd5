"""Where in a shell command a value may be inserted, and how it must be quoted there.

A command is scanned once, left to right.  Inside quotes the quotes are closed, the quoted value stands for itself,
and the quotes are opened again: ``"a${x}"`` with ``x = $HOME`` becomes ``"a"'$HOME'""``.  No value is ever expanded,
split or executed by the shell, whatever it holds.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from typing import Literal, TypeAlias

Place: TypeAlias = Literal["plain", "double", "single", "backtick", "comment", "here-document", "ansi", "case"]
"""What surrounds a piece of a command."""

FORBIDDEN: dict[Place, tuple[str, str]] = {
    "backtick": ("inside backquotes", "write $(…) instead"),
    "comment": ("inside a comment", "remove it, or write $${…} for the characters themselves"),
    "here-document": ("after a here-document", "give the value as an argument to the command instead"),
    "ansi": ("inside $'…'", "use plain quotes"),
    "case": ("after `case` inside $(…)", "move the `case` into a script of its own"),
}
"""Places where no quoting is safe: how to name them, and what to do."""

_HERE_DOCUMENT = re.compile(r"<<-?[ \t]*['\"\\]?[A-Za-z_]")
_CASE = re.compile(r"case[ \t\n]")
_WORD_START = frozenset(" \t\n;&|()")


class ShellScanner:
    """Feed it the pieces of a command in order; ``place`` is what surrounds the next one."""

    def __init__(self) -> None:
        self._stack: list[Place] = ["plain"]
        self._here_document = False
        self._before = "\n"

    @property
    def place(self) -> Place:
        return self._stack[-1]

    def feed(self, text: str) -> None:
        """Read a piece of the command as it stands in the file."""
        offset = 0
        while offset < len(text):
            step = self._advance(text, offset)
            self._before = text[offset + step - 1 : offset + step]
            offset += step

    def inserted(self) -> None:
        """A value was put here: what follows is in the middle of a word."""
        self._before = "x"

    def _advance(self, text: str, offset: int) -> int:
        """Note what one character (or a pair that belongs together) does; returns how many were read."""
        character, place = text[offset], self.place
        if place in ("here-document", "case"):
            return len(text) - offset
        if place == "single":
            return self._close_at("'", character)
        if place == "comment":
            self._close_at("\n", character)
            return self._newline() if character == "\n" else 1
        if character == "\\":
            return min(2, len(text) - offset)
        if place == "ansi":
            return self._close_at("'", character)
        if text.startswith("$(", offset):
            self._stack.append("plain")
            return 2
        if character == "`":
            return self._close_at("`", "`") if "backtick" in self._stack else self._open("backtick")
        if place == "double":
            return self._close_at('"', character)
        return self._advance_outside_quotes(text, offset, character)

    def _advance_outside_quotes(self, text: str, offset: int, character: str) -> int:
        if self.place == "backtick":
            return 1
        if text.startswith("$'", offset):
            self._stack.append("ansi")
            return 2
        if character == "'":
            return self._open("single")
        if character == '"':
            return self._open("double")
        if character == "#" and self._before in _WORD_START:
            return self._open("comment")
        if character == "\n":
            return self._newline()
        if character == "(":
            return self._open("plain")
        if len(self._stack) > 1 and self._before in _WORD_START and _CASE.match(text, offset):
            # Its unpaired brackets would make us lose count of where $( ends.
            return self._open("case")
        if character == ")" and len(self._stack) > 1:
            self._stack.pop()
        elif text.startswith("<<<", offset):
            return 3
        elif _HERE_DOCUMENT.match(text, offset):
            self._here_document = True
        return 1

    def _open(self, place: Place) -> int:
        self._stack.append(place)
        return 1

    def _close_at(self, end: str, character: str) -> int:
        if character == end:
            self._stack.pop()
        return 1

    def _newline(self) -> int:
        if self._here_document:
            self._stack.append("here-document")
        return 1


def quote_at(place: Place, words: Sequence[str]) -> str:
    """The words as they must stand at a place that is not forbidden; several only where no quotes surround them."""
    text = " ".join(shlex.quote(word) for word in words)
    if place == "double" and text != "".join(words):
        return f'"{text}"'
    if place == "single" and text != "".join(words):
        return f"'{text}'"
    return text
