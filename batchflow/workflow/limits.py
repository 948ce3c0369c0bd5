"""Is this text small and simple enough to parse?  One linear look, before any parser sees it.

A parser can be made to work for minutes by 80 kB of dots, or to overflow its stack by 1 kB of brackets.  Knows no
TOML beyond where strings and comments end; what is not valid TOML passes and is the parser's to refuse.
"""

from __future__ import annotations

import re

SIZE_MAX = 16 * 1024 * 1024
DEPTH_MAX = 32
KEY_PARTS_MAX = 16
NUMBER_LENGTH_MAX = 100

_WORD = re.compile(r"[A-Za-z0-9_+\-:]+")
_BLANK = re.compile(r"[ \t]+")
# Bounded, because the matcher remembers every repetition.
_BASIC_STRING_PART = re.compile(r'(?:[^"\\\n]+|\\.){0,1000}')
_NOT_LITERAL_STRING_END = re.compile(r"[^'\n]*")
_TO_LINE_END = re.compile(r"[^\n]*")
_DULL = re.compile(r"[^A-Za-z0-9_+\-:.\[\]{}\"'#]+")


class LimitError(Exception):
    """The text is refused: ``offset`` and ``length`` in characters say where."""

    def __init__(self, code: str, message: str, offset: int = 0, length: int = 1, hint: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.offset = offset
        self.length = length
        self.hint = hint


def decode(data: bytes) -> str:
    """The text of a file; ``LimitError`` if it is too large, not UTF-8, or has a byte order mark or a NUL."""
    if len(data) > SIZE_MAX:
        raise LimitError("BF003", f"the file is larger than {SIZE_MAX // 1024 // 1024} MiB")
    for mark, name in ((b"\xff\xfe", "UTF-16"), (b"\xfe\xff", "UTF-16"), (b"\xef\xbb\xbf", "a byte order mark")):
        if data.startswith(mark):
            raise LimitError("BF002", f"the file begins as {name}", hint="save it as UTF-8 without a byte order mark")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8")
        message = f"invalid UTF-8: byte 0x{data[error.start]:02x}"
        raise LimitError("BF002", message, len(before), hint="save the file as UTF-8") from None
    nul = text.find("\0")
    if nul >= 0:
        hint = "save it as UTF-8" if "\0" in text[nul + 2 : nul + 3] else None
        raise LimitError("BF002", "a NUL character", nul, hint=hint)
    return text


def scan(text: str) -> None:
    """Raise ``LimitError`` at the first bracket, key or number that passes a limit."""
    if len(text) > SIZE_MAX:
        raise LimitError("BF003", f"more than {SIZE_MAX // 1024 // 1024} MiB")
    offset, depth, parts, joined = 0, 0, 0, False
    while offset < len(text):
        start, character = offset, text[offset]
        if character in "[{":
            depth += 1
            if depth > DEPTH_MAX:
                raise LimitError("BF003", f"more than {DEPTH_MAX} brackets inside each other", start)
        elif character in "]}":
            depth = max(0, depth - 1)
        offset = _skip(text, offset, character)
        if character == ".":
            joined = True
        elif character not in " \t":
            is_part = character in "\"'" or _WORD.match(character) is not None
            parts = parts + 1 if is_part and joined else int(is_part)
            joined = False
            if parts > KEY_PARTS_MAX:
                raise LimitError("BF003", f"a key of more than {KEY_PARTS_MAX} parts", start, offset - start)
            if character in "+-0123456789" and offset - start > NUMBER_LENGTH_MAX:
                message = f"a number of more than {NUMBER_LENGTH_MAX} digits"
                raise LimitError("BF003", message, start, NUMBER_LENGTH_MAX)


def _skip(text: str, offset: int, character: str) -> int:
    """Where the token that begins at ``offset`` ends; at least one further on."""
    if character in "[]{}.":
        return offset + 1
    if character == "#":
        return _end(_TO_LINE_END, text, offset)
    if character in "\"'":
        return _skip_string(text, offset, character)
    for pattern in (_WORD, _BLANK, _DULL):
        end = _end(pattern, text, offset)
        if end > offset:
            return end
    return offset + 1


def _skip_string(text: str, offset: int, quote: str) -> int:
    """The end of the string; an unterminated one ends with its line, or with the text if it has three quotes."""
    if text.startswith(quote * 3, offset):
        offset += 3
        while True:
            end = text.find(quote * 3, offset)
            if end < 0:
                return len(text)
            if quote == "'" or not _escaped(text, offset, end):
                # Up to two more quotes belong to the string.
                return end + 3 + next(count for count in (2, 1, 0) if text.startswith(quote * count, end + 3))
            offset = end + 1
    if quote == "'":
        end = _end(_NOT_LITERAL_STRING_END, text, offset + 1)
        return end + text.startswith("'", end)
    end = offset + 1
    while (further := _end(_BASIC_STRING_PART, text, end)) > end:
        end = further
    return end + text.startswith('"', end)


def _escaped(text: str, start: int, offset: int) -> bool:
    """Whether an odd number of backslashes stands before ``offset``."""
    end = offset
    while end > start and text[end - 1] == "\\":
        end -= 1
    return (offset - end) % 2 == 1


def _end(pattern: re.Pattern[str], text: str, offset: int) -> int:
    match = pattern.match(text, offset)
    return offset if match is None else match.end()
