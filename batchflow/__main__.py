"""The command ``batchflow``, also as ``python -m batchflow``."""

from __future__ import annotations


def main() -> int:
    """Run the command line and return its exit code."""
    import gc

    from batchflow.cli.main import main as run

    exit_code = run()
    gc.freeze()  # the process ends: what is left need not be searched for garbage
    return exit_code


def _leave_working_directory_off_the_path() -> None:
    """Undo what ``python -m`` did: a ``json.py`` of the user's is not for us."""
    import os
    import sys

    if sys.path and sys.path[0] in ("", os.getcwd()):  # noqa: PTH109 - pathlib would be an import before the cure
        del sys.path[0]


if __name__ == "__main__":
    _leave_working_directory_off_the_path()
    raise SystemExit(main())
