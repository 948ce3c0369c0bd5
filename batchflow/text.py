"""Text that may come from anywhere, made safe to show: no control of the terminal, no secrets.

Pure.  Everything that comes from a file, a path, a script or a row passes ``safe_text`` before a person sees it.
"""

from __future__ import annotations

import functools
import re

from batchflow.redaction import redact


@functools.cache
def _unsafe() -> re.Pattern[str]:
    return re.compile(
        "["
        "\x00-\x08\x0b-\x1f\x7f-\x9f"  # C0 without tab and newline, DEL, C1
        "\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f"  # marks without width, blank letters
        "\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ufeff\uffa0\ufff0-\ufffb"  # direction of text, line ends
        "\U00013430-\U0001345f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"  # formats, tags
        "\ud800-\udfff"  # the bytes of names that are not UTF-8
        "]"
    )


def _escape(match: re.Match[str]) -> str:
    code = ord(match.group())
    if 0xDC80 <= code <= 0xDCFF:  # a byte of a name that is not UTF-8
        return f"\\x{code - 0xDC00:02x}"
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def count(number: int, noun: str, plural: str | None = None) -> str:
    """``1 item``, ``2,000 items``."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def mebibytes(size: float) -> str:
    """``1,234 MiB``."""
    return f"{size / (1 << 20):,.0f} MiB"


def duration(seconds: float) -> str:
    """``0.08 s``, ``4.2 s``, ``41 s``, ``3 min 5 s``, ``2 h 5 min``, ``3 d 4 h``."""
    seconds = max(0.0, seconds)
    if seconds < 0.995:
        return f"{seconds:.2f} s"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    for larger, smaller, larger_s, smaller_s in (
        ("d", "h", 86_400, 3_600),
        ("h", "min", 3_600, 60),
        ("min", "s", 60, 1),
    ):
        if whole >= larger_s:
            rest = whole % larger_s // smaller_s
            return f"{whole // larger_s} {larger}" + (f" {rest} {smaller}" if rest else "")
    return f"{whole} s"


def safe_text(text: str, *, multiline: bool = False) -> str:
    r"""``text`` without secrets, and without anything that could move the cursor, change the terminal or forge a line.

    Control and direction characters become ``\x1b`` forms; newlines and tabs too unless ``multiline``.
    """
    text = redact(text.replace("\r\n", "\n") if multiline else text)
    if not (text.isascii() and text.isprintable()):
        text = _unsafe().sub(_escape, text)
    return text if multiline else text.replace("\n", "\\n").replace("\t", "\\t")
