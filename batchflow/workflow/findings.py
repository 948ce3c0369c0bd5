"""pydantic's findings in our words, each at its key or value.  Imported when a table is not right beyond doubt."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import pydantic

from batchflow.workflow import names, schema
from batchflow.workflow.diagnostics import Problems, did_you_mean, quoted
from batchflow.workflow.document import Document, Loc
from batchflow.workflow.quantities import quoted_number_hint
from batchflow.workflow.shapes import NAME_HINT, owner

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

ShapeT = TypeVar("ShapeT", bound=schema.Shape)

VARIABLE_HINT = "a variable's name has letters, digits and _ and does not begin with a digit"

_EXPECTED = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "string_type": "a string",
    "list_type": "an array",
    "dict_type": "a table",
    "model_type": "a table",
    "finite_number": "a finite number",
}
_RANGES = {"greater_than_equal": ("ge", "at least"), "less_than_equal": ("le", "at most")}
_UNBRACED = re.compile(r"\$(?:params|inputs|outputs|steps|models|datasets|workflow)(?:\.[A-Za-z0-9_-]+)+", re.ASCII)
"""A reference without its braces."""


def ask_model(
    shape: type[ShapeT], table: object, document: Document, loc: Loc, problems: Problems, ignored: Collection[Loc]
) -> ShapeT | None:
    """The table as a value of the model; None when something in it is wrong and was reported."""
    try:
        return shape.model_validate(table)
    except pydantic.ValidationError as error:
        for one in error.errors(include_url=False):
            _report(one, shape, document, loc, problems, ignored)
        return None


def _report(
    error: ErrorDetails,
    shape: type[schema.Shape],
    document: Document,
    base: Loc,
    problems: Problems,
    ignored: Collection[Loc],
) -> None:
    kind, value, relative = error["type"], error["input"], error["loc"]
    loc = (*base, *relative)
    if kind != "extra_forbidden" and any(loc[:end] in ignored for end in range(len(base), len(loc) + 1)):
        return
    if kind == "extra_forbidden":
        key = str(relative[-1])
        message = f"unknown key `{key}` in {owner(base)}"
        problems.add("BF012", message, document, loc, part="key", hint=_unknown_key_hint(key, shape, relative))
    elif kind == "missing":
        message = f"missing key `{relative[-1]}` in {_table_name(loc[:-1])}"
        problems.add("BF013", message, document, loc[:-1], part="key")
    elif relative and relative[-1] == "[key]":
        message = f"an entry of `{relative[-3]}` cannot be named {quoted(value)}"
        hint = VARIABLE_HINT if relative[-3] == "environment_variables" else NAME_HINT
        problems.add("BF014", message, document, loc[:-1], part="key", hint=hint)
    else:
        code, message, cure = _explain(error)
        source = _source(document, loc)
        if isinstance(source, str) and source != value and "${" in source:
            message, cure = f"{message}, the value of {source}", None
        problems.add(code, f"`{_key_name(relative)}`: {message}", document, loc, hint=cure)


def _explain(error: ErrorDetails) -> tuple[str, str, str | None]:
    """Code, message and hint for a value that is wrong."""
    kind, value = error["type"], error["input"]
    context: Mapping[str, Any] = error.get("ctx", {})
    unbraced = isinstance(value, str) and _UNBRACED.fullmatch(value) is not None
    if kind in _EXPECTED:
        hint = quoted_number_hint(value) if kind != "string_type" else None
        if unbraced:
            hint = f"did you mean `${{{value[1:]}}}`?"
        if kind == "string_type" and isinstance(value, (bool, int, float)):
            hint = "put it in quotes"
        return "BF010", f"expected {_EXPECTED[kind]}, got {quoted(value)}", hint
    if kind in _RANGES:
        key, words = _RANGES[kind]
        return "BF011", f"expected {words} {context[key]}, got {quoted(value)}", None
    if kind == "literal_error":
        allowed = [one.strip("'") for one in str(context["expected"]).replace(" or ", ", ").split(", ")]
        hint = did_you_mean(value, allowed) if isinstance(value, str) else None
        return "BF011", f"expected {context['expected']}, got {quoted(value)}", hint
    if kind in ("string_too_short", "too_short"):
        what = "an empty string" if isinstance(value, str) else "an empty array" if value == [] else "an empty table"
        return "BF011", f"{what} is not allowed", None
    if kind == "string_too_long":
        return "BF011", f"expected one character, got {quoted(value)}", None
    if kind == "string_pattern_mismatch":
        return _explain_pattern(str(context["pattern"]), value)
    if kind in ("BF010", "BF011"):
        hint = f"did you mean `${{{value[1:]}}}`?" if unbraced else context["hint"]
        return kind, str(context["message"]), hint
    return "BF010", f"{error['msg'][:1].lower()}{error['msg'][1:]}, got {quoted(value)}", None


def _explain_pattern(pattern: str, value: object) -> tuple[str, str, str | None]:
    if pattern == names.NAME_PATTERN:
        return "BF014", f"{quoted(value)} is not a name", NAME_HINT
    if pattern == names.SHA256_PATTERN:
        return "BF011", f"expected 64 hexadecimal digits in lower case, got {quoted(value)}", None
    return "BF011", f"expected module:function, got {quoted(value)}", _call_hint(value)


def _call_hint(value: object) -> str:
    """``fin.py:main`` and ``lib/fin.py:main`` name a file where a module is meant."""
    file, colon, function = value.partition(":") if isinstance(value, str) else ("", "", "")
    module = file.removesuffix(".py").removeprefix("./").replace("/", ".")
    if module != file and colon and names.is_call(f"{module}:{function}"):
        return f"write {module}:{function}"
    return "for example evaluate:main"


def _unknown_key_hint(key: str, shape: type[schema.Shape], relative: Loc) -> str | None:
    in_parallel = len(relative) > 1 and relative[0] == "parallel"
    known: type[schema.Shape] = schema.ParallelShape if in_parallel else shape
    if shape is schema.StepShape and not in_parallel and key in schema.ParallelShape.model_fields:
        return f"`{key}` belongs to the table `parallel` of the step"
    if in_parallel and key in schema.StepShape.model_fields:
        return f"`{key}` belongs to the step, outside of its table `parallel`"
    if in_parallel and key in _keys_of(schema.DatasetShape):
        return f"`{key}` belongs to the dataset, [datasets.NAME]"
    if shape is schema.DatasetShape and key in _keys_of(schema.ParallelShape):
        return f"`{key}` belongs to the table `parallel` of the step"
    names = _keys_of(known)
    if shape is schema.HeadShape:
        names += ["params", "datasets", "models", "steps"]
    return did_you_mean(key, names)


def _keys_of(shape: type[schema.Shape]) -> list[str]:
    """As the file has them."""
    return [field.alias or name for name, field in shape.model_fields.items()]


def _table_name(loc: Loc) -> str:
    return f"[{'.'.join(str(part) for part in loc)}]" if loc else "the workflow file"


def _key_name(relative: Loc) -> str:
    names = [str(part) for part in relative if isinstance(part, str) and part != "parallel"]
    return ".".join(names) or "value"


def _source(document: Document, loc: Loc) -> object:
    """What the file itself has at a location, references not filled in."""
    value: Any = document.tree
    for part in loc:
        try:
            value = value[part]
        except (KeyError, IndexError, TypeError):
            return None
    return value
