"""argv → frozen values.  Knows no workflow, prints nothing, ends nothing.

Each verb has a parser of its own, built only when that verb is asked for; a wrong command line is a ``UsageError``
with the nearest thing that would have been right.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from batchflow.cli.help import EXAMPLES, TOP_HELP, VERBS
from batchflow.errors import UsageError

if TYPE_CHECKING:
    from batchflow.cli.split_arguments import SplitArguments

_WORKFLOW_NAMES = ("workflow.toml", "batchflow.toml")
_LATER = ("--profile", "--retries", "-U", "--until", "-O", "--omit-from", "-t", "--touch", "-p", "--printshellcmds")
"""What Snakemake users type and batchflow does not do yet."""
_KNOWN_AS = {"--jobs": "-j or --cores", "--params-file": "--params", "--workers": "--cores"}
"""What other tools call an option of ours."""
DAG_FORMATS = ("tree", "mermaid", "dot", "json")
_RUNNING = ("run", "plan", "retry")
_SPLITTING = ("split", "verify-split")
_NO_WORKFLOW = ("init", "schema", *_SPLITTING)


@dataclass(frozen=True)
class Arguments:
    """One command line.  Fields that a verb does not have keep their defaults."""

    verb: str
    file: Path | None = None
    """The workflow file or its folder; None: search from the working directory upwards."""
    targets: tuple[str, ...] = ()
    overrides: tuple[str, ...] = ()
    """``--set``: ``NAME=VALUE`` as typed, in order."""
    params_file: Path | None = None
    dry_run: bool = False
    cores: int | None = None
    """None: all that this process may use."""
    force_steps: tuple[str, ...] = ()
    force_targets: bool = False
    force_all: bool = False
    keep_going: bool = False
    retry: bool = False
    accept_changes: bool = False
    restart: bool = False
    profile: bool = False
    verbosity: int = 0
    """Number of ``-v`` minus number of ``-q``."""
    json: bool = False
    events: Path | None = None
    format: str = "tree"
    output: Path | None = None
    folder: Path = Path()
    split: SplitArguments | None = None
    """Of ``split`` and ``verify-split`` only."""
    help: str | None = None
    """Set when help was asked for: the text to show."""


@dataclass(frozen=True)
class Commands:
    """What can be typed next: ``run`` does what is left to do, ``retry`` tries again what failed."""

    run: str
    retry: str


class _Parser(argparse.ArgumentParser):
    """argparse that raises ``UsageError`` instead of printing and exiting."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(message.replace("argument ", "option ", 1), hint=f"{self.prog} --help shows what it takes")

    def option_names(self) -> list[str]:
        return [name for action in self._actions for name in action.option_strings]


def parse(argv: Sequence[str]) -> Arguments:
    """The command line ``argv``, without the program's name.

    Raises ``UsageError``.
    """
    if not argv or argv[0] in ("-h", "--help", "help"):
        if argv[1:] and argv[0] == "help" and argv[1] in VERBS:
            return Arguments(argv[1], help=_verb_parser(argv[1]).format_help())
        return Arguments("help", help=TOP_HELP)
    verb = argv[0]
    if verb not in VERBS:
        raise UsageError(
            f"unknown verb {verb!r}" if not verb.startswith("-") else _unknown_option(verb), hint=_hint(argv)
        )
    parser = _verb_parser(verb)
    # What follows "--" is never an option; argparse has treated it differently from version to version.
    argv = list(argv[1:])
    split = argv.index("--") if "--" in argv else len(argv)
    options, unknown = parser.parse_known_intermixed_args(argv[:split])
    if options.help:
        return Arguments(verb, help=parser.format_help())
    for one in unknown:
        if one.split("=")[0] in _LATER:
            raise UsageError(
                f"option {one.split('=')[0]} is not yet supported", hint=f"{parser.prog} --help shows the options"
            )
        option = one.split("=")[0]
        near = [_KNOWN_AS[option]] if option in _KNOWN_AS else []
        near = near or _nearest(option, parser.option_names())
        raise UsageError(
            _unknown_option(one),
            hint=f"did you mean {near[0]}?" if near else f"{parser.prog} --help shows the options",
        )
    return _arguments(verb, options, argv[split + 1 :])


def next_words(verb: str, arguments: Arguments) -> list[str]:
    """The command line that goes on, with ``verb``, after a run that was started with ``arguments``.

    Never what forces or restarts a step: that would drop what has been kept since.
    """
    words = [verb, *([str(arguments.file)] if arguments.file is not None else [])]
    words += [word for one in arguments.overrides for word in ("--set", one)]
    words += ["--params", str(arguments.params_file)] if arguments.params_file is not None else []
    words += ["--cores", str(arguments.cores)] if arguments.cores is not None else []
    words += ["--keep-going"] if arguments.keep_going else []
    words += ["--", *arguments.targets] if any(one.startswith("-") for one in arguments.targets) else arguments.targets
    return words


def _unknown_option(option: str) -> str:
    return f"unknown option {option.split('=')[0]}" if option.startswith("-") else f"unexpected argument {option!r}"


def _hint(argv: Sequence[str]) -> str:
    first = argv[0]
    if first.startswith("-") and (near := _nearest(first, ("--version", "--help"))):
        return f"did you mean batchflow {near[0]}?"
    if first.endswith(".toml") or first.startswith("-"):
        return "a verb comes first: batchflow run …; batchflow --help shows them all"
    near = _nearest(first, VERBS)
    return f"did you mean batchflow {near[0]}?" if near else f"verbs: {', '.join(VERBS)}"


def _nearest(word: str, known: Iterable[str]) -> list[str]:
    """The one that was probably meant, if any."""
    import difflib

    return difflib.get_close_matches(word, list(known), n=1)


def _arguments(verb: str, options: argparse.Namespace, rest: list[str]) -> Arguments:
    values = dict(vars(options))
    names: list[str] = [*values.pop("names", []), *rest]
    values.pop("help")
    if verb in _SPLITTING:
        from batchflow.cli.split_arguments import split_arguments

        return Arguments(verb, json=options.json, split=split_arguments(verb, options, names))
    values["verbosity"] = values.pop("verbose", 0) - values.pop("quiet", 0)
    for several in ("overrides", "force_steps"):
        if several in values:
            values[several] = tuple(values[several])
    if verb == "init":
        if len(names) > 1:
            raise UsageError(f"unexpected argument {names[1]!r}", hint="batchflow init takes one folder")
        return Arguments(verb, folder=Path(names[0] if names else "."))
    file = values.pop("file")
    if file is None:
        file, names = _split_names(names)
    if names and verb not in (*_RUNNING, "verify"):
        raise UsageError(f"unexpected argument {names[0]!r}", hint=f"batchflow {verb} takes one workflow file")
    if verb == "plan":
        values["dry_run"] = True
    values["retry"] = verb == "retry"
    if values.get("accept_changes") and values["restart"]:
        raise UsageError("--accept-changes keeps what is done and --restart drops it", hint="choose one of them")
    return Arguments(verb, file=file, targets=tuple(names), **values)


def _split_names(names: list[str]) -> tuple[Path | None, list[str]]:
    """The workflow file among the positional arguments, if it is there, and the others, which are targets.

    It is the first that ends in ``.toml`` or is a folder with a workflow file in it.
    """
    for index, name in enumerate(names):
        path = Path(name)
        if name.endswith(".toml") or any((path / one).is_file() for one in _WORKFLOW_NAMES):
            return path, names[:index] + names[index + 1 :]
    return None, names


def _cores(text: str) -> int | None:
    if text == "all":
        return None
    try:
        cores = int(text)
    except ValueError:
        cores = 0
    if cores < 1:
        raise argparse.ArgumentTypeError(f"expected a number of at least 1, or all, got {text!r}")
    return cores


def _override(text: str) -> str:
    if "=" not in text or text.startswith("="):
        raise argparse.ArgumentTypeError(f"expected NAME=VALUE, got {text!r}")
    return text


def _verb_parser(verb: str) -> _Parser:
    parser = _Parser(
        prog=f"batchflow {verb}",
        usage=f"batchflow {verb} {VERBS[verb].usage}".rstrip(),
        description=f"{VERBS[verb].summary}\n\n{EXAMPLES[verb]}".rstrip(),
        formatter_class=lambda prog: argparse.RawDescriptionHelpFormatter(prog, max_help_position=24, width=80),
        allow_abbrev=False,
        add_help=False,
    )
    if verb != "schema":
        parser.add_argument("names", nargs="*", help=argparse.SUPPRESS)
    if verb not in _NO_WORKFLOW:
        parser.add_argument(
            "-s", "--file", type=Path, metavar="FILE", help="the workflow file (same as naming it first)"
        )
        _add_parameter_options(parser)
    if verb in _RUNNING:
        _add_run_options(parser, verb)
    if verb in _SPLITTING:
        from batchflow.cli.split_arguments import add_split_options

        add_split_options(parser)
    if verb == "dag":
        parser.add_argument("--format", choices=DAG_FORMATS, default="tree", help="how to draw it (default: tree)")
    if verb not in ("init", "schema"):
        parser.add_argument("--json", action="store_true", help="the result as JSON on standard output")
    if verb == "schema":
        parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="write it to FILE")
        parser.set_defaults(file=None)
    parser.add_argument("-h", "--help", action="store_true", help="show this help")
    return parser


def _add_parameter_options(parser: _Parser) -> None:
    parser.add_argument(
        "-C",
        "--set",
        "--config",
        dest="overrides",
        action="append",
        default=[],
        type=_override,
        metavar="NAME=VALUE",
        help="set a parameter, or any key: steps.X.parallel.workers=8",
    )
    parser.add_argument(
        "--params",
        "--configfile",
        dest="params_file",
        type=Path,
        metavar="FILE",
        help="take parameters from FILE, a TOML file",
    )


def _add_run_options(parser: _Parser, verb: str) -> None:
    add = parser.add_argument
    if verb != "plan":
        what = "would run" if verb == "run" else "would be tried again"
        add("-n", "--dry-run", action="store_true", help=f"only show what {what}, and why")
    add("-c", "-j", "--cores", type=_cores, metavar="N", help="how many cores to use (default: all)")
    if verb != "retry":
        _add_choices(parser)
    add("-k", "--keep-going", action="store_true", help="after a failure, go on with what does not depend on it")
    add("-q", "--quiet", action="count", default=0, help="only errors and the last line (-qq: only errors)")
    add("-v", "--verbose", action="count", default=0, help="say more: logs, commands, what is up to date")
    if verb != "plan":
        add("--profile-run", dest="profile", action="store_true", help="say where the time of parallel steps went")
        add("--events", type=Path, metavar="FILE", help="append what happens to FILE as JSON Lines")


def _add_choices(parser: _Parser) -> None:
    """What is run although it need not be, or is dropped although it could be kept."""
    add = parser.add_argument
    add(
        "-R",
        "--forcerun",
        dest="force_steps",
        action="append",
        default=[],
        metavar="STEP",
        help="run STEP again, and what follows from it",
    )
    add("-f", "--force", dest="force_targets", action="store_true", help="run the targets again")
    add("-F", "--forceall", dest="force_all", action="store_true", help="run the targets and all they need again")
    add("--accept-changes", action="store_true", help="an interrupted step that changed keeps what is done")
    add("--restart", action="store_true", help="interrupted steps drop what is done, damaged or not")
