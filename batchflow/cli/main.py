"""argv → exit code.  The one place where every way a command can end is turned into a message and a number."""

from __future__ import annotations

import contextlib
import errno
import os
import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from batchflow.cli.streams import repair_standard_streams, standard_error, write_data, write_json

if TYPE_CHECKING:
    from batchflow.cli.arguments import Arguments
    from batchflow.cli.backend import Backend
    from batchflow.cli.split_arguments import SplitArguments

_MACHINE_ERRNOS = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.EROFS, errno.EAGAIN}
)


def main(argv: Sequence[str] | None = None, backend: Backend | None = None) -> int:
    """Run the command line ``argv`` (default: that of this process) and return its exit code; never raises."""
    repair_standard_streams()
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        if words and words[0] in ("--version", "-V"):
            return _version()
        if not words or words[0] in ("--help", "-h"):
            return _help()
        return _main(words, backend)
    except KeyboardInterrupt:
        standard_error().line("interrupted")
        return 130


def _version() -> int:
    from batchflow import __version__

    write_data(f"batchflow {__version__}")
    return 0


def _help() -> int:
    """As ``parse`` would answer, without anything that has to do with verbs."""
    from batchflow.cli.help import TOP_HELP

    write_data(TOP_HELP)
    return 0


def _main(words: list[str], backend: Backend | None) -> int:
    from batchflow.cli.arguments import next_words, parse

    continues: Sequence[str] | None = None
    try:
        arguments = parse(words)
        if arguments.help is not None:
            write_data(arguments.help)
            return 0
        if arguments.verb in ("run", "retry") and not arguments.dry_run:
            continues = next_words(arguments.verb, arguments)
        return _verb(arguments, backend)
    except Exception as error:
        return _failed(error, words, continues)


def _failed(problem: Exception, words: list[str], continues: Sequence[str] | None) -> int:
    """Say what is wrong, and with which words it goes on; returns the exit code."""
    from batchflow.cli.messages import answer_lines, bug_lines, error_lines
    from batchflow.errors import BatchflowError, ChangedStepError, ResourceError

    command = None if continues is None else typed_command(continues)
    if isinstance(problem, (OSError, MemoryError)):
        number = errno.ENOMEM if isinstance(problem, MemoryError) else problem.errno
        if number in _MACHINE_ERRNOS:
            problem = ResourceError(f"the machine gave out: {problem or 'out of memory'}")
    if isinstance(problem, ChangedStepError):
        code = problem.exit_code
        flags = ("--accept-changes", "--restart")
        rest = [word for word in words[1:] if word != flags[0]]
        keep, drop = (typed_command(["run", flag, *rest]) for flag in flags)
        lines = [
            *error_lines(ChangedStepError(problem.message)),
            *answer_lines(keep if problem.can_be_kept else None, drop),
        ]
    elif isinstance(problem, BatchflowError):
        code = problem.exit_code
        # Nothing continues after a mistake in the command line or the file: it has to be corrected first.
        lines = error_lines(problem, command if code not in (2, 3, 6) else None)
    else:
        code, lines = 5, bug_lines(problem, command)
    screen = standard_error()
    for line in lines:
        screen.line(line)
    if "--json" in words[: words.index("--") if "--" in words else None]:
        _write_error(problem, code)
    return code


def _write_error(problem: Exception, code: int) -> None:
    """A program that asked for JSON gets JSON, also when the command line itself was wrong."""
    from batchflow.cli.problems import error_json
    from batchflow.errors import ResourceError

    # That standard output cannot be written may be the very problem.
    with contextlib.suppress(ResourceError):
        write_json(error_json(problem, code))


def _verb(arguments: Arguments, backend: Backend | None) -> int:
    from batchflow.cli import look
    from batchflow.cli.arguments import Commands, next_words
    from batchflow.cli.backend import Rooms
    from batchflow.cli.signals import prepare_signals

    prepare_signals()
    if arguments.split is not None:
        return _split(arguments.verb, arguments.split, arguments.json)
    rooms = Rooms() if backend is None else backend
    if backend is None and arguments.verb in ("run", "retry", "plan", "status", "verify"):
        _require_core()
    commands = Commands(*(typed_command(next_words(verb, arguments)) for verb in ("run", "retry")))
    if arguments.verb in ("run", "retry", "plan"):
        if arguments.dry_run:
            from batchflow.cli.preview import plan

            return plan(arguments, rooms, commands.run)
        from batchflow.cli import run

        return run.run(arguments, rooms, commands)
    if arguments.verb == "verify":
        from batchflow.cli.verify import verify

        return verify(arguments, rooms, commands.run)
    if arguments.verb == "status":
        return look.status(arguments, rooms, commands.run)
    verbs = {
        "check": look.check,
        "list": look.list_steps,
        "dag": look.dag,
        "schema": look.schema,
        "init": look.init,
    }
    return verbs[arguments.verb](arguments, rooms)


def _split(verb: str, arguments: SplitArguments, as_json: bool) -> int:
    _require_core()
    from batchflow.cli.split import split, verify_split

    act = split if verb == "split" else verify_split
    return act(arguments, as_json=as_json)


def _require_core() -> None:
    from batchflow import require_core
    from batchflow.errors import ResourceError

    try:
        require_core()
    except ImportError as error:
        raise ResourceError(str(error)) from error


def typed_command(words: Sequence[str]) -> str:
    """The command line as it was typed, ready to be pasted into a shell."""
    from batchflow.text import safe_text

    program = Path(sys.argv[0] if sys.argv else "batchflow")
    if program.name == "__main__.py":
        found = shutil.which("python")
        same = found is not None and os.path.abspath(found) == os.path.abspath(sys.executable)  # noqa: PTH100 - resolve() would leave the venv
        start = ["python" if same else sys.executable, "-m", "batchflow"]
    else:
        found = shutil.which("batchflow")
        same = found is None or program.name != "batchflow" or Path(found).resolve() == program.resolve()
        start = ["batchflow" if same else str(program)]
    return safe_text(shlex.join([*start, *words]))
