"""Standard input, output and error, whatever state the caller left them in: the one room that writes to them.

Invariant: what is written has passed ``safe_text``, but for the control sequences of rich, which writes only what has.

A reader that goes away (``| head -1``, a closed terminal) ends no run and shows no traceback: the stream goes quiet.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import sys
from collections.abc import Mapping
from typing import Any, TextIO

from batchflow.errors import ResourceError
from batchflow.redaction import redact, redacted
from batchflow.text import safe_text

_NO_TERMINAL_WIDTH = 10_000


def repair_standard_streams() -> None:
    """Open ``/dev/null`` wherever descriptor 0, 1 or 2 was closed when the process began.

    Otherwise the next file opened would take its number, and what is printed would be written into it.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            # The lowest free number is given out, and all lower ones are taken by now.
            setattr(sys, name, open(os.devnull, mode))  # noqa: PTH123, SIM115 - open for the life of the process


class QuietStream:
    """A text stream that never raises: after the first failed write it writes nothing.

    Has what ``rich.console.Console`` asks of a file.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.failure: OSError | None = None

    @property
    def encoding(self) -> str:
        return self._stream.encoding or "utf-8"

    def fileno(self) -> int:
        return self._stream.fileno()

    def isatty(self) -> bool:
        try:
            return self._stream.isatty()
        except (OSError, ValueError):
            return False

    def width(self) -> int:
        """Columns of the terminal; where there is none, more than any line has."""
        with contextlib.suppress(OSError, ValueError):
            return os.get_terminal_size(self.fileno()).columns or _NO_TERMINAL_WIDTH
        return _NO_TERMINAL_WIDTH

    def write(self, text: str) -> int:
        if self.failure is None:
            try:
                self._stream.write(text.encode(self.encoding, "backslashreplace").decode(self.encoding))
            except OSError as error:
                self._go_quiet(error)
            except ValueError:  # closed by someone in this process
                self.failure = OSError(errno.EBADF, "stream is closed")
        return len(text)

    def flush(self) -> None:
        if self.failure is None:
            try:
                self._stream.flush()
            except OSError as error:
                self._go_quiet(error)
            except ValueError:
                self.failure = OSError(errno.EBADF, "stream is closed")

    def line(self, text: str) -> None:
        self.write(safe_text(text, multiline=True) + "\n")
        self.flush()

    def _go_quiet(self, error: OSError) -> None:
        self.failure = error
        # What is left in the interpreter's buffer is flushed at exit: give it a place to go.
        try:
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, self._stream.fileno())
            os.close(null)
        except (OSError, ValueError):
            return


def standard_error() -> QuietStream:
    return QuietStream(sys.stderr)


def write_data(text: str) -> None:
    """Write ``text``, which is what the command was asked for, to standard output.

    A reader that went away is no error.  Raises ``ResourceError`` if it cannot be written for another reason.
    """
    write_drawing(safe_text(text, multiline=True))


def write_json(value: Mapping[str, Any]) -> None:
    """As ``write_data``, a JSON object without secrets."""
    write_drawing(json_text(value))


def json_text(value: Mapping[str, Any]) -> str:
    """``value`` as ASCII JSON, so that no terminal and no encoding can be hurt by it; secrets are stars."""
    return json.dumps(redacted(value), indent=2, default=lambda other: redact(str(other)))


def write_drawing(text: str) -> None:
    """As ``write_data``, text that is safe already and may have colours."""
    stream = QuietStream(sys.stdout)
    stream.write(text if text.endswith("\n") or not text else text + "\n")
    stream.flush()
    if stream.failure is not None and stream.failure.errno not in (errno.EPIPE, errno.EBADF, errno.EIO):
        raise ResourceError(f"cannot write to standard output: {stream.failure.strerror}")
