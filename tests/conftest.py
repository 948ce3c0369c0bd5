"""Every test starts from the signals that a command typed on a terminal has; examples are the same in every run."""

from __future__ import annotations

import signal

from hypothesis import HealthCheck, settings

settings.register_profile(
    "same", derandomize=True, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("search", derandomize=False, deadline=None, suppress_health_check=[HealthCheck.too_slow])
# Neither luck nor a busy machine decides.  To look for more: pytest --hypothesis-profile=search
settings.load_profile("same")


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
