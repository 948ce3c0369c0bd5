"""No core dumps of zygote, guard and workers: they would hold the user's data and model, and nobody asked for them."""

from __future__ import annotations

import resource


def leave_none() -> None:
    """Off unless the script switches them on again, with ``resource.setrlimit`` in ``init()``.

    One byte and not none: a limit of 0 is no limit where dumps go through a pipe to a program, as on many systems; with
    1 the kernel does not start it.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0 if hard == 0 else 1, hard))
