"""The command line of ``split`` and ``verify-split``: a file and how it is to be read.  Prints nothing."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from batchflow.errors import UsageError

_DEFAULT_SIZE = "1 MiB"
_FORMATS = {".csv": "csv", ".txt": "csv", ".tsv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl"}
_NAMED = {"tab": "\t", "\\t": "\t", "space": " ", "comma": ",", "semicolon": ";", "none": "", "\\\\": "\\"}
"""What is hard to type in a shell."""


@dataclass(frozen=True)
class SplitArguments:
    """``size`` bytes or ``rows`` records a piece; the other is 0.  ``quote`` and ``escape``: None if there is none."""

    path: Path
    format: str
    size: int
    rows: int
    delimiter: str
    quote: str | None
    escape: str | None
    header: bool
    encoding: str
    all_pieces: bool


def add_split_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--size", metavar="SIZE", help=f"bytes of a piece, as in 64KB (default: {_DEFAULT_SIZE})")
    add("--rows", type=int, metavar="N", help="records of a piece, instead of a size")
    add("--format", choices=("csv", "jsonl"), help="what the file is (default: by its name)")
    add("--delimiter", metavar="C", help="the character between fields; tab may be written so")
    add("--quote", default='"', metavar="C", help='the character that quotes, or none (default: ")')
    add("--escape", default="none", metavar="C", help="the character that escapes (default: none)")
    add("--no-header", dest="header", action="store_false", help="the first record is not the columns' names")
    add("--encoding", default="utf-8", metavar="NAME", help="of the text (default: utf-8)")
    add("--all", dest="all_pieces", action="store_true", help="show every piece, however many there are")


def split_arguments(verb: str, options: argparse.Namespace, names: Sequence[str]) -> SplitArguments:
    """Raises ``UsageError``."""
    from batchflow.workflow.quantities import QuantityError, parse_size

    if len(names) != 1:
        what = f"unexpected argument {names[1]!r}" if names else "no file is named"
        raise UsageError(what, hint=f"batchflow {verb} takes one file")
    if options.size is not None and options.rows is not None:
        raise UsageError("--size and --rows are two ways to say one thing", hint="choose one of them")
    if options.rows is not None and options.rows < 1:
        raise UsageError(f"option --rows: expected a number of at least 1, got {options.rows}")
    given = options.size if options.size is not None else _DEFAULT_SIZE
    try:
        size = parse_size(int(given) if given.isascii() and given.isdigit() else given)
    except QuantityError as error:
        raise UsageError(f"option --size: {error.message}", hint=error.hint) from None
    path = Path(names[0])
    return SplitArguments(
        path=path,
        format=options.format or _format(path),
        size=0 if options.rows else size,
        rows=options.rows or 0,
        delimiter=_character("delimiter", options.delimiter) or ("\t" if path.suffix.lower() == ".tsv" else ","),
        quote=_character("quote", options.quote),
        escape=_character("escape", options.escape),
        header=options.header,
        encoding=options.encoding,
        all_pieces=options.all_pieces,
    )


def _format(path: Path) -> str:
    found = _FORMATS.get(path.suffix.lower())
    if found is None:
        raise UsageError(f"nothing is known of files named *{path.suffix}", hint="say --format csv or --format jsonl")
    return found


def _character(name: str, given: str | None) -> str | None:
    """The ASCII character that was meant; None: there is none."""
    if given is None:
        return None
    mark = _NAMED.get(given, given)
    if len(mark) > 1 or not mark.isascii() or mark in ("\0", "\r", "\n"):
        raise UsageError(f"option --{name}: expected one ASCII character, tab or none, got {given!r}")
    return mark or None
