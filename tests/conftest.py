"""Every test starts from the signals that a command typed on a terminal has."""

from __future__ import annotations

import signal


def pytest_configure() -> None:
    """Undo what ``nohup`` and ``&`` do: a signal that is ignored here would be ignored in every process of a test."""
    for number, handler in (
        (signal.SIGINT, signal.default_int_handler),
        (signal.SIGQUIT, signal.SIG_DFL),
        (signal.SIGTERM, signal.SIG_DFL),
        (signal.SIGHUP, signal.SIG_DFL),
    ):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, handler)
