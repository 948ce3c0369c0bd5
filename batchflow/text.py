"""Text that may come from anywhere, made safe to show: no control of the terminal, no secrets of URLs.

Pure; imports nothing of ours.  Everything that comes from a file, a path, a script or a row passes ``safe_text`` before
a person sees it.
"""

from __future__ import annotations

import re

# C0 without tab and newline, DEL, C1, marks without width or that turn the direction of text, the two Unicode line
# ends, and the bytes of names that are not UTF-8.
_UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]")
_SECRET = re.compile(
    r"(?<=://)[^/\s:@\"']*:[^/\s@\"']+(?=@)"
    r"|((?:[?&;]sig|AccountKey|SharedAccessKey|[?&]X-Amz-(?:Signature|Credential|Security-Token))=)[^&;\s\"']+",
    re.IGNORECASE,
)


def _escape(match: re.Match[str]) -> str:
    code = ord(match.group())
    if 0xDC80 <= code <= 0xDCFF:  # a byte of a name that is not UTF-8
        return f"\\x{code - 0xDC00:02x}"
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def redact(text: str, *, keep_length: bool = False) -> str:
    """``text`` with the passwords of URLs and the signatures and keys of storage links replaced by stars.

    With ``keep_length`` as many stars as there were characters, so that columns stay right.
    """

    def stars(match: re.Match[str]) -> str:
        name = match[1] or ""
        return name + "*" * (len(match[0]) - len(name) if keep_length else 3)

    return _SECRET.sub(stars, text)


def count(number: int, noun: str, plural: str | None = None) -> str:
    """``1 item``, ``2,000 items``."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def safe_text(text: str, *, multiline: bool = False) -> str:
    r"""``text`` without anything that could move the cursor, change the terminal or forge a line.

    Control and direction characters become ``\x1b`` forms; newlines and tabs too unless ``multiline``.
    """
    text = _UNSAFE.sub(_escape, redact(text.replace("\r\n", "\n") if multiline else text))
    return text if multiline else text.replace("\n", "\\n").replace("\t", "\\t")
