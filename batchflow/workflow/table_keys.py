"""The keys of a table dataset that say how its files are written → ``TableOptions``.

What is left out comes from the extensions of the files, which must agree.  Opens no file.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

from batchflow.tables.options import FIELD_SIZE_MAX, NULL_VALUES, SAMPLE_ROWS, TableFormat, TableOptions
from batchflow.workflow.diagnostics import did_you_mean, quoted

if TYPE_CHECKING:
    from batchflow.workflow import schema

COMPRESSIONS = (".gz", ".zst")
EXTENSIONS: Mapping[str, TableFormat] = {
    ".csv": "csv",
    ".tsv": "csv",
    ".txt": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
    ".arrow": "arrow",
    ".feather": "arrow",
}
FORMATS_OF: Mapping[str, tuple[TableFormat, ...]] = {
    **dict.fromkeys(("delimiter", "quote", "escape", "header", "null_values"), ("csv",)),
    **dict.fromkeys(("encoding", "types", "sample_rows", "field_size_max"), ("csv", "jsonl")),
}
"""Fields of the shape that only these formats know; the others know what they say by themselves."""

_TYPE = re.compile(
    r"(?:u?int(?:8|16|32|64)|float|double|bool|string|binary|date32\[day\]|date64\[ms\]|time32\[m?s\]|time64\[[un]s\]"
    r"|timestamp\[(?:s|ms|us|ns)(?:, tz=[A-Za-z0-9_+:/-]+)?\]|decimal128\([0-9]{1,2}, ?[0-9]{1,2}\)"
    r"|(?:list|struct)<.+>)\??",
    re.ASCII,
)
_ALSO_CALLED = {
    **dict.fromkeys(("int", "integer", "long", "bigint"), "int64"),
    **dict.fromkeys(("float64", "number", "real"), "double"),
    **dict.fromkeys(("str", "object", "text", "utf8", "category", "varchar"), "string"),
    **dict.fromkeys(("date", "date32"), "date32[day]"),
    **dict.fromkeys(("datetime", "datetime64", "timestamp", "datetime64[us]"), "timestamp[us]"),
    "datetime64[ns]": "timestamp[ns]",
    "float32": "float",
    "boolean": "bool",
    "decimal": "decimal128(18, 2)",
}
_TYPES_HINT = "types: int64, double, bool, string, date32[day], timestamp[us], …; ? behind one: values may be missing"
_ASCII = bytes(range(128)) + b"\\u0041 \\n +AGE- ~{ \x1b$B!!"
"""Includes what encodings that are not ASCII below 128 take for something else."""


class Report(Protocol):
    """Says that a key of the dataset is wrong; ``inside``: the element or entry of it."""

    def __call__(
        self,
        code: str,
        message: str,
        key: str,
        hint: str | None = None,
        *,
        inside: int | str | None = None,
        part: Literal["key", "value"] = "value",
    ) -> None: ...


class _Told(NamedTuple):
    """What the extension of a pattern tells; None: nothing."""

    format: TableFormat | None
    delimiter: str
    is_compressed: bool


class TableKeys:
    """Reads the keys once, with everything that is wrong reported."""

    def __init__(self, shape: schema.DatasetShape, patterns: Sequence[str], is_list: bool, report: Report) -> None:
        self._shape = shape
        self._patterns = patterns
        self._is_list = is_list
        self._say = report
        self._good = True

    def read(self) -> TableOptions | None:
        shape = self._shape
        table_format = shape.format or self._format()
        if table_format is None:
            return None
        self._check_compression(table_format)
        self._check_format(table_format)
        values: dict[str, Any] = {"format": table_format, "columns": self._columns(), "schema": self._schema()}
        if table_format == "csv":
            quote = '"' if shape.quote is None else shape.quote or None
            values |= {"quote": quote, "escape": shape.escape or None, "header": shape.header}
            values["delimiter"] = self._delimiter()
            self._check_characters(values)
            values["null_values"] = NULL_VALUES if shape.null_values is None else tuple(shape.null_values)
        values["encoding"] = self._encoding()
        values["sample_rows"] = shape.sample_rows or SAMPLE_ROWS
        values["field_size_max"] = shape.field_size_max or FIELD_SIZE_MAX
        return TableOptions(**values) if self._good else None

    def _report(
        self, code: str, message: str, key: str, hint: str | None = None, inside: int | str | None = None
    ) -> None:
        self._say(code, message, key, hint, inside=inside)
        self._good = False

    def _report_source(self, index: int, message: str, hint: str) -> None:
        self._report("BF064", message, "table", hint, inside=index if self._is_list else None)

    def _format(self) -> TableFormat | None:
        """The one format that all extensions tell."""
        found: dict[TableFormat, str] = {}
        for index, pattern in enumerate(self._patterns):
            told, name = _told(pattern).format, _name(pattern)
            if told is None:
                hint = 'add format = "csv", "jsonl", "parquet" or "arrow", or end the pattern with an extension: *.csv'
                self._report_source(index, f"the format of the table cannot be told from {quoted(name)}", hint)
                return None
            found.setdefault(told, name)
            if len(found) > 1:
                (first, name_of_first), (second, name_of_second) = found.items()
                message = f"{quoted(name_of_first)} is {first} and {quoted(name_of_second)} is {second}"
                self._report_source(index, message, "a dataset has one format: make two of it, and over = [both]")
                return None
        return next(iter(found))

    def _check_compression(self, table_format: TableFormat) -> None:
        for index, pattern in enumerate(self._patterns):
            if _told(pattern).is_compressed and table_format not in ("csv", "jsonl"):
                message = f"{quoted(_name(pattern))}: {table_format} files that are compressed once more are not read"
                self._report_source(index, message, f"{table_format} compresses what is in it by itself")

    def _check_format(self, table_format: TableFormat) -> None:
        """Keys that only other formats know."""
        for field, formats in FORMATS_OF.items():
            if field in self._shape.model_fields_set and table_format not in formats:
                key = "schema" if field == "types" else field
                message = f"`{key}` is for {' and '.join(formats)}, and this table is {table_format}"
                self._say("BF016", message, key, part="key")
                self._good = False

    def _delimiter(self) -> str:
        if self._shape.delimiter is not None:
            return self._shape.delimiter
        found = [_told(pattern).delimiter for pattern in self._patterns]
        for index, one in enumerate(found):
            if one != found[0]:
                message = (
                    f"{quoted(_name(self._patterns[index]))} and {quoted(_name(self._patterns[0]))} have different"
                )
                self._report_source(index, f"{message} delimiters", "add `delimiter` if they do not")
                break
        return found[0]

    def _check_characters(self, values: Mapping[str, Any]) -> None:
        """Delimiter, quote and escape are ASCII, not line ends, and not one another."""
        seen: dict[str, str] = {}
        for key in ("delimiter", "quote", "escape"):
            value = values[key]
            if value is None:
                continue
            if not value.isascii() or value in "\r\n\0":
                self._report("BF011", f"`{key}`: expected an ASCII character that ends no line, got {value!r}", key)
            elif value in seen:
                self._report("BF011", f"`{key}`: {quoted(value)} is the {seen[value]} already", key)
            seen[value] = key

    def _encoding(self) -> str:
        """The encoding by its first name."""
        text = self._shape.encoding
        if text is None:
            return "utf-8"
        try:
            info = codecs.lookup(text)
            is_like_ascii = _is_like_ascii(info.name)
        except (LookupError, ValueError):
            self._report(
                "BF011", f"`encoding`: {quoted(text)} is not known", "encoding", "for example latin-1 or cp1252"
            )
            return "utf-8"
        if not is_like_ascii:
            message = (
                f"`encoding`: in {info.name} the characters of ASCII are not a byte each, so records cannot be found"
            )
            self._report("BF011", message, "encoding", f"convert the files: iconv -f {info.name} -t UTF-8 FILE")
        return info.name

    def _columns(self) -> tuple[str, ...] | None:
        columns = self._shape.columns
        if columns is None:
            return None
        for index, name in enumerate(columns):
            if name in columns[:index]:
                self._report("BF011", f"`columns`: {quoted(name)} stands there twice", "columns", inside=index)
        return tuple(columns)

    def _schema(self) -> dict[str, str]:
        found = self._shape.types or {}
        for name, text in found.items():
            if _TYPE.fullmatch(text) is None:
                base = text.removesuffix("?")
                meant = _ALSO_CALLED.get(base.lower())
                cure = f"write {meant}{text[len(base) :]}" if meant else _TYPES_HINT
                self._report("BF011", f"`schema.{name}`: {quoted(text)} is not a type", "schema", cure, name)
            if self._shape.columns is not None and name not in self._shape.columns:
                hint = did_you_mean(name, self._shape.columns)
                self._report("BF065", f"`schema`: {quoted(name)} is not among `columns`", "schema", hint, name)
        return dict(found)


def _name(pattern: str) -> str:
    """The last component, with ``/`` if it is a folder."""
    return pattern[pattern.rstrip("/").rfind("/") + 1 :]


def _told(pattern: str) -> _Told:
    name = _name(pattern).lower()
    compression = next((one for one in COMPRESSIONS if name.endswith(one)), "")
    name = name.removesuffix(compression)
    extension = name[name.rfind(".") :] if "." in name else ""
    return _Told(EXTENSIONS.get(extension), "\t" if extension == ".tsv" else ",", bool(compression))


def _is_like_ascii(encoding: str) -> bool:
    """Whether every byte below 128 is the character of ASCII, wherever it stands; ``LookupError``: no text encoding."""
    if encoding == "utf-8":
        return True
    if encoding in ("unicode_escape", "raw_unicode_escape", "idna", "punycode") or _decoded(_ASCII, encoding) is None:
        return False
    # The second byte of a character of two must not be one of those.
    for first in range(128, 256):
        for second in range(128):
            decoded = _decoded(bytes((first, second)), encoding)
            if decoded is not None and not decoded.endswith(chr(second)):
                return False
    return True


def _decoded(data: bytes, encoding: str) -> str | None:
    """The text; None if it is none, or has only ASCII and is not those characters."""
    try:
        text = data.decode(encoding)
    except UnicodeError:
        return None
    return None if data.isascii() and text != data.decode("ascii") else text
