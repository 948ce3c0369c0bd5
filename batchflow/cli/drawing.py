"""Tables and trees on standard output, drawn by rich; imported only where one is drawn."""

from __future__ import annotations

import io
import os
import shutil
import sys
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from batchflow.text import safe_text

if TYPE_CHECKING:
    from rich.console import RenderableType

_PIPE_WIDTH = 10_000


def cell(text: str) -> Text:
    """A piece of text that may come from anywhere; everything that is drawn is made of these."""
    return Text(safe_text(text))


def rendered(renderable: RenderableType) -> str:
    """``renderable`` as text for standard output: coloured and as wide as the terminal, or plain and never cut."""
    terminal = sys.stdout.isatty()
    text = io.StringIO()
    width = max(1, shutil.get_terminal_size().columns) if terminal else _PIPE_WIDTH
    dumb = os.environ.get("TERM", "") in ("", "dumb", "unknown")
    console = Console(file=text, force_terminal=terminal and not dumb, width=width, highlight=False, emoji=False)
    console.print(renderable)
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines())
