"""The verbs ``split`` and ``verify-split``: where the pieces of a file begin, and the proof that they are right."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, Literal

from batchflow.cli.plans import JSON_VERSION
from batchflow.cli.split_arguments import SplitArguments
from batchflow.cli.streams import write_data, write_json
from batchflow.cli.text import one_line, size
from batchflow.cpus import available_cpus
from batchflow.tables.options import TableOptions
from batchflow.tables.splitting import Pieces, split_file
from batchflow.tables.verifying import Difference, Row, find_difference
from batchflow.text import count, safe_text

_DIFFERENT = 1
_SHOWN_FIRST, _SHOWN_LAST = 20, 3


def split(arguments: SplitArguments, *, as_json: bool) -> int:
    """Show the pieces."""
    pieces = _split(arguments)
    if as_json:
        write_json(_as_json(arguments, pieces))
    else:
        write_data("\n".join([*_table(pieces, arguments.all_pieces), *_summary(arguments, pieces)]))
    return 0


def verify_split(arguments: SplitArguments, *, as_json: bool) -> int:
    """Compare what the pieces hold with what one pass over the whole file gives."""
    pieces = _split(arguments)
    difference = find_difference(os.fspath(arguments.path), _options(arguments), pieces)
    if as_json:
        write_json(_as_json(arguments, pieces) | {"ok": difference is None, "difference": _difference_json(difference)})
    else:
        lines = _summary(arguments, pieces)
        write_data("\n".join([*lines, *(_same(arguments) if difference is None else _different(difference))]))
    return 0 if difference is None else _DIFFERENT


def _options(arguments: SplitArguments) -> TableOptions:
    kind: Literal["csv", "jsonl"] = "jsonl" if arguments.format == "jsonl" else "csv"
    return TableOptions(
        kind,
        delimiter=arguments.delimiter,
        quote=arguments.quote,
        escape=arguments.escape,
        header=arguments.header,
        encoding=arguments.encoding,
    )


def _split(arguments: SplitArguments) -> Pieces:
    path, options = os.fspath(arguments.path), _options(arguments)
    return split_file(path, options, size=arguments.size, rows=arguments.rows, threads=available_cpus())


def _table(pieces: Pieces, all_pieces: bool) -> list[str]:
    """A line for each piece: its number, first row, rows and bytes; of many the first and the last."""
    rows: list[tuple[str, ...]] = [("piece", "first row", "rows", "first byte", "bytes")]
    left_out = 0 if all_pieces else max(0, len(pieces) - _SHOWN_FIRST - _SHOWN_LAST)
    first_row = 0
    for index, (begin, end, row_count) in enumerate(zip(pieces.begins, pieces.ends, pieces.counts, strict=True)):
        if left_out and index == _SHOWN_FIRST:
            rows.append(("…",) * 5)
        if index < _SHOWN_FIRST or index >= _SHOWN_FIRST + left_out:
            rows.append(tuple(f"{value:,}" for value in (index, first_row, row_count, begin, end - begin)))
        first_row += row_count
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    return [*lines, ""] if len(pieces) else []


def _summary(arguments: SplitArguments, pieces: Pieces) -> list[str]:
    total = sum(pieces.ends) - sum(pieces.begins)
    found = f"{count(pieces.record_count, 'row')} in {count(len(pieces), 'piece')}, {size(total)}"
    said = f"{safe_text(os.fspath(arguments.path))}: {found}, split by {_BY[pieces.exact_by]}"
    return [said, *(f"warning: {safe_text(one)}" for one in pieces.warnings)]


_BY = {"parity": "the parity of its quotes", "automaton": "reading each byte where quotes do not tell"}


def _same(arguments: SplitArguments) -> list[str]:
    reader = "reading it line by line" if arguments.format == "jsonl" else "Python's csv"
    return [f"the pieces hold the rows that {reader} gives in one pass over the whole file"]


def _different(difference: Difference) -> list[str]:
    return [
        f"row {difference.row_index:,} is not the same, in piece {difference.piece_index:,}",
        f"  the whole file: {_row_text(difference.in_whole)}",
        f"  the pieces:     {_row_text(difference.in_piece)}",
    ]


def _row_text(row: Row) -> str:
    return "no row" if row is None else one_line(repr(row))


def _difference_json(difference: Difference | None) -> dict[str, Any] | None:
    if difference is None:
        return None
    return {
        "row": difference.row_index,
        "piece": difference.piece_index,
        "in_whole": _row_json(difference.in_whole),
        "in_piece": _row_json(difference.in_piece),
    }


def _row_json(row: Row) -> Sequence[str] | str | None:
    return row.decode("utf-8", "surrogateescape") if isinstance(row, bytes) else row


def _as_json(arguments: SplitArguments, pieces: Pieces) -> dict[str, Any]:
    return {
        "version": JSON_VERSION,
        "file": os.fspath(arguments.path),
        "row_count": pieces.record_count,
        "exact_by": pieces.exact_by,
        "warnings": list(pieces.warnings),
        "pieces": [
            {"begin": begin, "end": end, "rows": row_count}
            for begin, end, row_count in zip(pieces.begins, pieces.ends, pieces.counts, strict=True)
        ],
    }
