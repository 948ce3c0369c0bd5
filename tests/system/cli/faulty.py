"""``batchflow`` on a machine that fails: ``python faulty.py 'pwrite:rows=ENOSPC@2+ …' VERB …``.

``pwrite:rows=ENOSPC@2+`` lets ``os.pwrite`` fail for files with ``rows`` in their path, from the second call on;
``@2`` only then.  SHORT writes half of what was asked, DELAY works after a moment, ``module:NAME=value`` sets a
constant.  The driver alone is meant; what it starts has a machine that works.
"""

from __future__ import annotations

import errno
import importlib
import os
import re
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

_TROUBLE = re.compile(r"(?P<call>[a-z_]+):(?P<piece>[^=]*)=(?P<what>[A-Z]+)@(?P<first>\d+)(?P<on>\+?)")
_CONSTANT = re.compile(r"(?P<module>[a-z_.]+):(?P<name>[A-Z_]+)=(?P<value>[\d.]+)")


@dataclass
class Trouble:
    """``call`` fails with ``what`` for paths with ``piece`` in them, at its ``first`` use, counted from 1."""

    call: str
    piece: str
    what: str
    first: int
    goes_on: bool
    count: int = 0

    def install(self) -> None:
        original = getattr(os, self.call)

        def call(*arguments: Any, **options: Any) -> Any:
            if not self._strikes(_path_of(arguments[0])):
                return original(*arguments, **options)
            return self._fail(original, *arguments, **options)

        setattr(os, self.call, call)

    def _strikes(self, path: str) -> bool:
        if self.piece not in path:
            return False
        self.count += 1
        return self.count == self.first or (self.goes_on and self.count > self.first)

    def _fail(self, original: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        if self.what == "SHORT":
            data = arguments[1]
            return original(arguments[0], data[: (len(data) + 1) // 2], *arguments[2:], **options)
        if self.what == "DELAY":
            time.sleep(0.05)
            return original(*arguments, **options)
        if self.call == "close":  # as the kernel does: it reports the error and closes all the same
            original(*arguments)
        number = getattr(errno, self.what)
        raise OSError(number, os.strerror(number))


def _path_of(file: object) -> str:
    if isinstance(file, int):
        try:
            return os.readlink(f"/proc/self/fd/{file}")
        except OSError:
            return ""
    return os.fspath(file)  # type: ignore[call-overload, no-any-return]


def install(text: str) -> None:
    for one in text.split():
        if one == "interrupted":
            signal.signal(signal.SIGALRM, lambda *_: None)
            signal.siginterrupt(signal.SIGALRM, True)
            signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
        elif (constant := _CONSTANT.fullmatch(one)) is not None:
            setattr(importlib.import_module(constant["module"]), constant["name"], float(constant["value"]))
        elif (trouble := _TROUBLE.fullmatch(one)) is not None:
            Trouble(
                trouble["call"], trouble["piece"], trouble["what"], int(trouble["first"]), bool(trouble["on"])
            ).install()
        else:
            raise SystemExit(f"not a fault: {one}")


if __name__ == "__main__":
    from batchflow.cli.main import main

    install(sys.argv.pop(1))
    sys.argv[0] = "batchflow"
    code = main()
    signal.setitimer(signal.ITIMER_REAL, 0)  # Python is about to forget the handler
    raise SystemExit(code)
