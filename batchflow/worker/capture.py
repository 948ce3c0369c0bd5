"""What a child process sets up for the user's code: where its output goes, logging, crash traces, threads.

Acts on the whole process, so only zygote and workers call it, never the driver.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import faulthandler
import fcntl
import io
import os
import sys
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    import logging

    from _typeshed import ReadableBuffer

_LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})
_LINE_BUFFERED = 1
"""``_IOLBF`` of glibc and musl."""


def redirect_output(descriptor: int) -> None:
    """Read standard input from ``/dev/null`` and write both outputs to ``descriptor``, which the caller may then close.

    Then what Python, a C library or a subprocess prints arrives there line by line; a process that dies loses only
    the line it had begun.  Text that cannot be encoded is written with backslashes.
    """
    # Either may have got a number below 3, if the process was started without standard streams.
    source = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 3)
    opened = os.open(os.devnull, os.O_RDONLY)
    null = fcntl.fcntl(opened, fcntl.F_DUPFD_CLOEXEC, 3)
    if opened > 2:
        os.close(opened)
    for from_descriptor, to_descriptor in ((null, 0), (source, 1), (source, 2)):
        os.dup2(from_descriptor, to_descriptor)
    os.close(source)
    os.close(null)
    sys.stdin = open(0, encoding="utf-8", errors="surrogateescape", closefd=False)  # noqa: SIM115
    sys.stdout, sys.stderr = _text_file(1), _text_file(2)
    vars(sys).update(__stdin__=sys.stdin, __stdout__=sys.stdout, __stderr__=sys.stderr)
    libc = ctypes.CDLL(None)
    for name in ("stdout", "stderr"):
        libc.setvbuf(ctypes.c_void_p.in_dll(libc, name), None, _LINE_BUFFERED, ctypes.c_size_t(0))
    faulthandler.enable(file=2, all_threads=True)


class _OutputFile(io.FileIO):
    """What does not fit on the disk is lost: that a log is full is no reason for an item to fail."""

    def write(self, data: ReadableBuffer, /) -> int:
        try:
            return super().write(data)
        except OSError as error:
            if error.errno not in _NO_ROOM:
                raise
            return memoryview(data).nbytes


def _text_file(descriptor: int) -> TextIO:
    buffer = io.BufferedWriter(_OutputFile(descriptor, "w", closefd=False))
    return io.TextIOWrapper(buffer, encoding="utf-8", errors="backslashreplace", line_buffering=True)


def flush_output() -> None:
    """Write what Python and C still buffer: before a fork, so that no child writes it again, and before an exit."""
    for stream in (sys.stdout, sys.stderr):
        # The user's code may have closed or replaced them with anything.
        with contextlib.suppress(Exception):
            stream.flush()
    ctypes.CDLL(None).fflush(None)


def configure_logging(level: str) -> None:
    """Log at ``level`` (``"INFO"``) to standard error, unless the script has configured the root logger itself.

    The handler that ``logging.info()`` installs on its own when there is none does not count as configured.
    """
    import logging  # not for calls of functions

    root = logging.getLogger()
    if not root.handlers:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter(_LOG_FORMAT))
        root.addHandler(handler)
        root.setLevel(level)
    elif root.level == logging.WARNING and all(_is_default(handler) for handler in root.handlers):
        root.setLevel(level)


def _is_default(handler: logging.Handler) -> bool:
    import logging

    formatter = handler.formatter
    return type(handler) is logging.StreamHandler and formatter is not None and formatter._fmt == logging.BASIC_FORMAT


def raise_thread_caps(thread_count: int) -> None:
    """Let the numerical libraries that are loaded already, with one thread, use ``thread_count``."""
    if thread_count > 1:
        import threadpoolctl  # type: ignore[import-untyped]

        threadpoolctl.threadpool_limits(limits=thread_count)
