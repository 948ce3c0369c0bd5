"""Text that is safe and pleasant on a terminal: escaping, and numbers with their units.

Pure.  Everything that comes from a file, a path, a script or a row passes ``safe_text`` before it is shown.
"""

from __future__ import annotations

import re
import signal
from pathlib import Path

# C0 without tab and newline, DEL, C1, marks without width or that turn the direction of text, the two Unicode line
# ends, and the bytes of names that are not UTF-8.
_UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]")
_URL_PASSWORD = re.compile(r"(?<=://)[^/\s:@]*:[^/\s@]+@")
_SECRET_VALUE = re.compile(
    r"((?:[?&;]sig|AccountKey|SharedAccessKey|[?&]X-Amz-(?:Signature|Credential|Security-Token))=)[^&;\s\"']+",
    re.IGNORECASE,
)


def _escape(match: re.Match[str]) -> str:
    code = ord(match.group())
    if 0xDC80 <= code <= 0xDCFF:  # a byte of a name that is not UTF-8
        return f"\\x{code - 0xDC00:02x}"
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def redact(text: str) -> str:
    """``text`` with the passwords of URLs and the signatures and keys of storage links replaced by ``***``."""
    return _SECRET_VALUE.sub(r"\1***", _URL_PASSWORD.sub("***@", text))


def safe_text(text: str, *, multiline: bool = False) -> str:
    r"""``text`` without anything that could move the cursor, change the terminal or forge a line.

    Control and direction characters become ``\x1b`` forms; newlines and tabs too unless ``multiline``.
    """
    text = _UNSAFE.sub(_escape, redact(text.replace("\r\n", "\n") if multiline else text))
    return text if multiline else text.replace("\n", "\\n").replace("\t", "\\t")


def one_line(text: str, width: int = 160) -> str:
    """The first line of ``text`` that is not blank, safe, at most ``width`` characters."""
    line = next((line.strip() for line in text.splitlines() if line.strip()), "")
    line = safe_text(line)
    return line if len(line) <= width else line[: width - 1] + "…"


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


def rate(per_second: float) -> str:
    """``1,234/s``, ``12.3/s``, ``0.35/s``."""
    digits = 0 if per_second >= 100 else 1 if per_second >= 10 else 2
    return f"{per_second:,.{digits}f}/s"


def size(byte_count: int) -> str:
    """``512 B``, ``45.2 KiB``, ``1.5 GiB``."""
    if byte_count < 1024:
        return f"{byte_count} B"
    value = float(byte_count)
    for unit in ("KiB", "MiB", "GiB", "TiB"):
        value /= 1024
        if value < 1023.95 or unit == "TiB":
            break
    return f"{value:,.1f} {unit}"


def count(number: int, noun: str, plural: str | None = None) -> str:
    """``1 item``, ``10,000 items``."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def short_path(path: Path, folder: Path) -> str:
    """``path`` relative to ``folder`` if it lies below it, else absolute; safe."""
    try:
        return safe_text(str(path.relative_to(folder)))
    except ValueError:
        return safe_text(str(path))


def signal_label(signal_number: int) -> str:
    """``Ctrl-C``, ``SIGTERM``, ``signal 99``."""
    if signal_number == signal.SIGINT:
        return "Ctrl-C"
    try:
        return signal.Signals(signal_number).name
    except ValueError:
        return f"signal {signal_number}"
