"""The schema and the pieces of Parquet and Arrow files, from what the files say about themselves.

Values are not looked at.  Invariant: the pieces of a file follow each other without a gap and have all its rows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
from pyarrow import ipc, parquet

from batchflow.errors import DatasetError
from batchflow.tables.columnar import DAMAGED, batches, plain_type
from batchflow.tables.options import TableOptions
from batchflow.tables.schema import TYPES_WITHOUT_MISSING, Column, Schema, listed, type_differences
from batchflow.tables.scout_text import given_types, wanted_columns

PIECES_MAX = 10_000_000
"""Of one file: more would come from a file that lies about its size."""
_OFFSET_SIZE = 8
_TEXTS = ("string", "large_string", "string_view")


@dataclass(frozen=True)
class Facts:
    """Of one file.  ``groups``: rows of its row groups or record batches, and their bytes in memory; ``missing``:
    columns of integers or truth values in which some are missing, or may be.
    """

    types: Mapping[str, str]
    groups: Sequence[tuple[int, int]]
    missing: frozenset[str]


def look_at_columnar(
    options: TableOptions, paths: Sequence[str], size: int, rows: int, tell: Callable[[str], None]
) -> tuple[Schema, list[list[int]], list[str]]:
    """As ``scout.scout``.  Raises ``DatasetError``."""
    facts_of = parquet_facts if options.format == "parquet" else arrow_facts
    types: Mapping[str, str] | None = None
    missing: set[str] = set()
    pieces: list[list[int]] = []
    for file, path in enumerate(paths):
        tell(path)
        try:
            facts = facts_of(path, options)
        except DatasetError:
            raise
        except DAMAGED as error:
            raise DatasetError(f"cannot read {path} as {options.format}: {error}") from None
        wanted = {name: facts.types[name] for name in wanted_columns(options, tuple(facts.types))}
        types = wanted if types is None else joined(types, wanted, options, path, paths[0])
        missing |= facts.missing
        found = cut(facts.groups, size, rows)
        if len(found) > PIECES_MAX:
            raise DatasetError(
                f"{path} would be {len(found):,} mini-batches: it is damaged, or mini_batch_size too small"
            )
        pieces += [[file, begin, end, end - begin] for begin, end in found]
    types = types or {}
    given = given_types(options, tuple(types)) if types else {}
    columns = [
        given.get(name) or Column(name, type, type not in TYPES_WITHOUT_MISSING or name in missing)
        for name, type in types.items()
    ]
    return Schema(tuple(columns)), pieces, []


def joined(
    types: Mapping[str, str], others: Mapping[str, str], options: TableOptions, path: str, first: str
) -> dict[str, str]:
    """The types of the columns of two files, which must be the same, but that no values are of any type.

    Raises ``DatasetError``.
    """
    both = {name: _joined(types[name], others[name], name in options.schema) for name in types if name in others}
    alike = {name: types[name] for name, type in both.items() if type is not None}
    difference = type_differences(types, {**others, **alike})
    if difference:
        raise DatasetError(
            f"{path} has another schema than {first}: {difference}",
            hint="write the files with one schema, or name in `columns` only those that all have alike",
        )
    return {name: both[name] or type for name, type in types.items()}


def _joined(one: str, other: str, is_given: bool) -> str | None:
    """The type that holds the values of both."""
    if one == other or is_given or other == "null":
        return one
    if one == "null":
        return other
    return "large_string" if one in _TEXTS and other in _TEXTS else None


def cut(groups: Sequence[tuple[int, int]], size: int, rows: int) -> list[tuple[int, int]]:
    """Pieces of ``rows`` rows, or of about ``size`` bytes, or one of all, as ``(begin, end)``; none without a row.

    By bytes: as many whole groups as fit; a group that does not fit is cut into equal parts.
    """
    total = sum(count for count, _ in groups)
    if rows or not size:
        step = rows or max(total, 1)
        return [(begin, min(begin + step, total)) for begin in range(0, total, step)]
    return [(begin, end) for begin, end in pairwise([0, *_cuts(groups, size), total]) if begin < end]


def _cuts(groups: Sequence[tuple[int, int]], size: int) -> Iterator[int]:
    row = held = 0
    for count, bytes_ in groups:
        if held and held + bytes_ > size:
            yield row
            held = 0
        part_count = min(-(-bytes_ // size), count, PIECES_MAX)
        yield from (row + count * part // part_count for part in range(1, part_count))
        row += count
        held = held + bytes_ if part_count <= 1 else size
    yield row


def parquet_facts(path: str, options: TableOptions) -> Facts:
    """From the footer.  Raises one of ``DAMAGED``."""
    with parquet.ParquetFile(path, memory_map=False, pre_buffer=False) as file:
        metadata, schema = file.metadata, file.schema_arrow
        groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
        types = _types(schema, path)
        leaves = {metadata.schema.column(k).path: k for k in range(len(metadata.schema))}
        missing = {
            name
            for name, type in types.items()
            if type in TYPES_WITHOUT_MISSING and schema.field(name).nullable
            for group in groups
            if group.num_rows and _may_miss(group.column(leaves[name]))
        }
        width = _width(schema)
        sizes = [(group.num_rows, max(width * group.num_rows, group.total_byte_size)) for group in groups]
        _check_counts(sizes)
        return Facts(types, sizes, frozenset(missing))


def _may_miss(column: parquet.ColumnChunkMetaData) -> bool:
    statistics = column.statistics
    return statistics is None or not statistics.has_null_count or statistics.null_count > 0


def arrow_facts(path: str, options: TableOptions) -> Facts:
    """From the footer and the heads of the record batches.  Raises one of ``DAMAGED``."""
    with pa.OSFile(path) as source:
        schema = ipc.open_file(source).schema
    types = _types(schema, path)
    names = list(types)
    countable = [k for k, name in enumerate(names) if types[name] in TYPES_WITHOUT_MISSING]
    missing, counts = set(), []
    for batch in batches(path, countable or [0]):
        counts.append(batch.num_rows)
        missing |= {name for k, name in enumerate(batch.schema.names) if batch.column(k).null_count}
    total, size, width = sum(counts), Path(path).stat().st_size, _width(schema)
    groups = [(count, max(width * count, size * count // max(total, 1))) for count in counts]
    _check_counts(groups)
    return Facts(types, groups, frozenset(missing & {names[k] for k in countable}))


def _width(schema: pa.Schema) -> int:
    """Bytes that a row takes in memory at least: in a file, values that repeat take next to nothing."""
    return sum(_width_of(plain_type(field.type)) for field in schema)


def _width_of(type: pa.DataType) -> int:
    try:
        return int(type.bit_width) // 8 or 1
    except ValueError:  # of no fixed width
        return _OFFSET_SIZE


def _check_counts(groups: Sequence[tuple[int, int]]) -> None:
    if any(count < 0 for count, _ in groups) or sum(count for count, _ in groups) > 1 << 60:
        raise ValueError("it has a number of rows that cannot be")


def _types(schema: pa.Schema, path: str) -> dict[str, str]:
    doubled = [name for name, count in Counter(schema.names).items() if count > 1]
    if doubled:
        raise DatasetError(f"{path} has several columns of one name: {listed(doubled)}")
    return {field.name: str(plain_type(field.type)) for field in schema}
