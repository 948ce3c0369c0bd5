"""The schema of CSV and JSON Lines files, and the pieces of those among them that are compressed.

Each file is looked at by itself; what is seen of a column is joined over all files, in any order with the same result.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import pyarrow as pa

from batchflow import _core
from batchflow.errors import BatchflowError, DatasetError
from batchflow.tables.compressed import compression_of, unpacked
from batchflow.tables.csv_parser import CsvParser, as_utf8
from batchflow.tables.dialects import core_dialect
from batchflow.tables.evidence import Seen, seen_in, type_of_seen
from batchflow.tables.header import first_record, read_header
from batchflow.tables.json_evidence import JsonSeen, has_missing, seen_in_lines
from batchflow.tables.options import TableOptions
from batchflow.tables.schema import Column, Schema, given_type, header_difference, listed, suggestion
from batchflow.tables.splitting import split_file
from batchflow.tables.text_files import opened
from batchflow.tables.text_reading import PIECE_SIZE_MAX
from batchflow.tables.types import type_of

_SAMPLE_SIZE = 1 << 20
_SAMPLE_SIZE_MAX = 64 << 20
_COPY_SIZE = 4 << 20
_NOT_IN_JSON = ("date", "time32", "time64", "duration")
"""What Arrow would read from numbers only."""


def look_at_texts(
    options: TableOptions, paths: Sequence[str], tell: Callable[[str], None]
) -> tuple[Schema, list[list[int]], list[str]]:
    """As ``scout.scout``.  Raises ``DatasetError``, ``ResourceError``."""
    look = _CsvLook(options) if options.format == "csv" else _JsonLook(options)
    pieces: list[list[int]] = []
    warnings: list[str] = []
    for file, path in enumerate(paths):
        tell(path)
        with _plain(path) as plain:
            look.add(path, plain)
            if plain != path:
                found = split_file(plain, options)
                warnings += [one.replace(plain, path) for one in found.warnings]
                zipped = zip(found.begins, found.ends, found.counts, strict=True)
                pieces += [[file, begin, end, rows] for begin, end, rows in zipped]
    return look.schema(), pieces, warnings


class _CsvLook:
    """What has been seen of CSV files."""

    def __init__(self, options: TableOptions) -> None:
        self._options = options
        self._first = ""
        self._names: tuple[str, ...] = ()
        self._seen: dict[str, Seen] = {}
        """Of the columns whose types are not given."""

    def add(self, path: str, plain: str) -> None:
        """``plain``: where the text of ``path`` is."""
        names = read_header(plain, self._options)
        if not names:
            return
        if not self._names:
            self._first, self._names = path, names
            wanted = wanted_columns(self._options, names)
            self._seen = {name: Seen.NOTHING for name in wanted if name not in self._options.schema}
        difference = header_difference(self._names, names)
        if difference:
            raise DatasetError(
                f"{path} has another header than {self._first}: {difference}",
                hint="files of one dataset have the same columns in the same order: make two datasets of them",
            )
        if self._seen:
            table = CsvParser(self._options, Schema((), names)).sample(
                sample_of(plain, self._options), list(self._seen)
            )
            self._seen = {name: seen | seen_in(table.column(name)) for name, seen in self._seen.items()}

    def schema(self) -> Schema:
        """Raises ``DatasetError`` for columns that do not exist, and types that are none."""
        given = given_types(self._options, self._names) if self._names else {}
        wanted = wanted_columns(self._options, self._names) if self._names else ()
        columns = [given.get(name) or Column(name, *type_of_seen(self._seen[name])) for name in wanted]
        schema = Schema(tuple(columns), self._names)
        _check_csv_types(self._options, schema)
        return schema


class _JsonLook:
    """What has been seen of JSON Lines files."""

    def __init__(self, options: TableOptions) -> None:
        self._options = options
        self._seen = JsonSeen()

    def add(self, path: str, plain: str) -> None:
        """``plain``: where the text of ``path`` is."""
        sample = as_utf8(sample_of(plain, self._options), self._options.encoding, "replace")
        self._seen.join(seen_in_lines(sample.split(b"\n")))

    def schema(self) -> Schema:
        """Raises ``DatasetError`` for columns that do not exist, and values of which there is no type."""
        fields = self._seen.fields or {}
        names = tuple(dict.fromkeys((*fields, *self._options.schema)))
        given = given_types(self._options, names)
        for name, one in given.items():
            if one.type.startswith(_NOT_IN_JSON):
                raise DatasetError(
                    f"`schema`: column {name!r}: {one.type} is not read from JSON",
                    hint='"timestamp[us]" is read from strings with a date or a date and a time, "string" from all',
                )
        columns = []
        for name in wanted_columns(self._options, names) if fields else ():
            column = given.get(name)
            if column is None:
                seen = fields[name]
                type = seen.type(f"column {name!r}")
                column = Column(name, type, has_missing(seen, self._seen.object_count))
            columns.append(column)
        return Schema(tuple(columns))


def given_types(options: TableOptions, names: Sequence[str]) -> dict[str, Column]:
    """The columns that the user has typed.  Raises ``DatasetError``."""
    given = {}
    for name, text in options.schema.items():
        if name not in names:
            raise DatasetError(f"`schema`: there is no column {name!r}", hint=suggestion(name, names) or _are(names))
        type_name, nullable = given_type(text)
        try:
            type = type_of(type_name)
        except ValueError:
            raise DatasetError(
                f"`schema`: column {name!r}: {type_name!r} is no type",
                hint='for example "int64", "int64?", "double", "string", "bool", "timestamp[us]", "decimal128(10, 2)"',
            ) from None
        given[name] = Column(name, str(type), nullable, is_given=True)
    return given


def wanted_columns(options: TableOptions, names: Sequence[str]) -> Sequence[str]:
    """Those to read.  Raises ``DatasetError``."""
    for name in options.columns or ():
        if name not in names:
            raise DatasetError(f"`columns`: there is no column {name!r}", hint=suggestion(name, names) or _are(names))
    return names if options.columns is None else options.columns


def sample_of(path: str, options: TableOptions) -> bytes:
    """The first ``sample_rows`` records of a file that is not compressed, or fewer if these are too large; all whole.

    Raises ``DatasetError``, ``ResourceError``.
    """
    dialect = core_dialect(options)
    with opened(path) as file:
        begin = file.text_begin
        if options.format == "csv" and options.header:
            begin += len(first_record(file, options))
        size = _SAMPLE_SIZE
        while True:
            data = os.pread(file.fd, size, begin)
            _, end, seen, _ = _core.record_range(data, 0, options.sample_rows, **dialect)
            if len(data) < size or seen > options.sample_rows:
                return data[:end]
            if size >= _SAMPLE_SIZE_MAX:  # the last record may go on
                _, end, _, _ = _core.record_range(data, 0, max(0, seen - 1), **dialect)
                return data[:end]
            size *= 4


def _are(names: Sequence[str]) -> str:
    return f"the columns are {listed(names)}"


def _check_csv_types(options: TableOptions, schema: Schema) -> None:
    """Raises ``DatasetError`` for a type that text is not read as."""
    for column in (column for column in schema.columns if column.is_given):
        try:
            CsvParser(options, Schema((column,), (column.name,))).parse(b"\n")
        except pa.ArrowException as error:
            raise DatasetError(f"`schema`: column {column.name!r}: {column.type}: {error}") from None


@contextmanager
def _plain(path: str) -> Iterator[str]:
    """A path under which the text of a file can be read; errors inside name the file."""
    if compression_of(path) is None:
        yield path
        return
    with tempfile.TemporaryFile() as file:
        try:
            with unpacked(path) as text:
                while part := text.read(_COPY_SIZE):
                    file.write(part)
                    if file.tell() > PIECE_SIZE_MAX:
                        raise DatasetError(
                            f"{path} unpacks to more than {PIECE_SIZE_MAX:,} bytes: it cannot be split, so it would be "
                            "one mini-batch",
                            hint="unpack it",
                        )
            file.flush()
        except OSError as error:
            raise DatasetError(f"cannot read {path}: {error}") from None
        plain = f"/proc/self/fd/{file.fileno()}"
        try:
            yield plain
        except BatchflowError as error:
            raise type(error)(error.message.replace(plain, path), hint=error.hint) from None
