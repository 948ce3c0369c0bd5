"""Numbers with their units and short paths, as a person reads them on a terminal.  Pure."""

from __future__ import annotations

import signal
from pathlib import Path

from batchflow.text import safe_text


def one_line(text: str, width: int = 160) -> str:
    """The first line of ``text`` that is not blank, safe, at most ``width`` characters."""
    line = next((line.strip() for line in text.splitlines() if line.strip()), "")
    line = safe_text(line)
    return line if len(line) <= width else line[: width - 1] + "…"


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
