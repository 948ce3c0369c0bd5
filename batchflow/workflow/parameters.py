"""Parameters: what the file declares, and the value each one has in this run.

Precedence, lowest first: default, params file, environment, Python, ``--set``.  Text from outside is parsed by the
declared type; typed values are checked against it and never converted, but for a whole number given for a float.
"""

from __future__ import annotations

import math
import operator
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

from batchflow.redaction import hide, names_secret, secrets_in
from batchflow.workflow import names, paths, rules, shapes
from batchflow.workflow.diagnostics import Problems, did_you_mean, quoted
from batchflow.workflow.document import Document, Loc, read_document
from batchflow.workflow.overrides import parse_toml_value
from batchflow.workflow.quantities import quoted_number_hint
from batchflow.workflow.values import Parameter, ParameterValue

if TYPE_CHECKING:
    from batchflow.workflow import schema

Type: TypeAlias = Literal["bool", "int", "float", "str", "path", "list"]
ENVIRONMENT_PREFIX = "BATCHFLOW_PARAM_"

_TYPES: dict[type, Type] = {bool: "bool", int: "int", float: "float", str: "str", list: "list"}
_EXPECTED: dict[Type, str] = {
    "bool": "true or false",
    "int": "a whole number",
    "float": "a number",
    "str": "a string",
    "path": "a path",
    "list": "an array of true, false, numbers and strings",
}
_INT = re.compile(r"[+-]?[0-9](?:_?[0-9]){0,29}", re.ASCII)
_FLOAT = re.compile(r"[+-]?(?:[0-9][0-9_]{0,29})?\.?[0-9][0-9_]{0,29}\.?(?:[eE][+-]?[0-9]{1,4})?", re.ASCII)
_INT_MAX = 2**63 - 1


@dataclass(frozen=True)
class Given:
    """A value from outside the workflow file, and how to name the place it came from."""

    value: object
    is_text: bool
    origin: str
    """As in ``Parameter.origin``."""
    shown: str
    """The argument itself, for an error: ``--set limit=x``."""
    folder: Path
    """Where a relative path starts."""
    document: Document | None = None
    """The params file, when it came from one."""


class _ValueFault(Exception):
    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def shown(self, name: str) -> tuple[str, str | None]:
        """Message and hint for the parameter ``name``: without the value, if the name says that it is a secret."""
        if names_secret(name):
            return f"parameter `{name}`: its value, which is not shown, does not fit the declaration", None
        return f"parameter `{name}`: {self.message}", self.hint


def resolve_parameters(
    document: Document, table: object, given: Mapping[str, Given], problems: Problems
) -> dict[str, Parameter | None]:
    """Every declared parameter with its value; None for one that is wrong, which was reported."""
    if not isinstance(table, dict):
        problems.add("BF010", f"expected a table for `params`, got {quoted(table)}", document, ("params",))
        return {}
    for name, one in given.items():
        if name not in table:
            message = f"no parameter `{name}`"
            _report_given("BF020", message, did_you_mean(name, table), name, one, problems)
    return {name: _parameter(name, source, document, given.get(name), problems) for name, source in table.items()}


def _parameter(
    name: str, source: object, document: Document, given: Given | None, problems: Problems
) -> Parameter | None:
    loc: Loc = ("params", name)
    if not names.is_parameter(name):
        hint = "a parameter has letters, digits and _, does not begin with a digit, and has at most 64 characters"
        problems.add("BF014", f"a parameter cannot be named {quoted(name)}", document, loc, part="key", hint=hint)
        return None
    table = source if isinstance(source, dict) else {"default": source}
    shape = shapes.check_shape(rules.PARAMETER, table, document, loc, problems)
    default_loc: Loc = (*loc, "default") if isinstance(source, dict) else loc
    kind = None if shape is None else _declared_type(shape, document, loc, default_loc, problems)
    if shape is None or kind is None or not _declaration_fits(shape, kind, document, loc, problems):
        return None
    default = None
    if shape.default is not None:
        try:
            default = _checked(_typed(shape.default, kind, document.path.parent), shape, kind)
        except _ValueFault as fault:
            shown, cure = fault.shown(name)
            problems.add("BF022", shown, document, default_loc, hint=cure)
            return None
    value, origin = default, "default"
    if given is not None:
        try:
            convert = _parsed if given.is_text else _typed
            value, origin = _checked(convert(given.value, kind, given.folder), shape, kind), given.origin  # type: ignore[arg-type]
        except _ValueFault as fault:
            _report_given("BF022", *fault.shown(name), name, given, problems)
            return None
    if value is None:
        cure = f"--set {name}=VALUE, or {ENVIRONMENT_PREFIX}{name.upper()}=VALUE in the environment"
        problems.add("BF021", f"parameter `{name}` needs a value", document, loc, part="key", hint=cure)
        return None
    return Parameter(name, kind, value, default, shape.help, origin, document.deferred(loc))


def _report_given(code: str, message: str, hint: str | None, name: str, given: Given, problems: Problems) -> None:
    if given.document is not None:
        part: Literal["key", "value"] = "key" if code == "BF020" else "value"
        problems.add(code, message, given.document, (name,), part=part, hint=hint)
    else:
        problems.add(code, message, origin=given.shown, hint=hint)


def _declared_type(
    shape: schema.ParameterShape, document: Document, loc: Loc, default_loc: Loc, problems: Problems
) -> Type | None:
    if shape.type is not None:
        return shape.type
    if shape.default is None:
        hint = f"types: {', '.join(get_args(Type))}"
        problems.add("BF013", f"parameter `{loc[1]}` needs a type or a default", document, loc, part="key", hint=hint)
        return None
    kind = _TYPES.get(type(shape.default))
    if kind is None:
        message = f"parameter `{loc[1]}`: a value of this type cannot be a parameter"
        problems.add("BF010", message, document, default_loc, hint="put it in quotes")
    return kind


def _declaration_fits(
    shape: schema.ParameterShape, kind: Type, document: Document, loc: Loc, problems: Problems
) -> bool:
    """Whether limits, choices and pattern make sense for the type."""
    faults: list[tuple[str, str]] = []
    for key, limit in (("min", shape.min), ("max", shape.max)):
        if limit is not None and kind not in ("int", "float"):
            faults.append((key, f"`{key}` is for int and float, not for {kind}"))
        elif limit is not None and not _is_number(limit):
            faults.append((key, f"expected a finite number for `{key}`, got {quoted(limit)}"))
    if not faults and shape.min is not None and shape.max is not None and shape.min > shape.max:
        faults.append(("min", f"`min` is {quoted(shape.min)} but `max` is {quoted(shape.max)}"))
    if shape.pattern is not None and kind not in ("str", "path"):
        faults.append(("pattern", f"`pattern` is for str and path, not for {kind}"))
    elif shape.pattern is not None:
        try:
            re.compile(shape.pattern)
        except (re.error, OverflowError, RecursionError) as error:
            faults.append(("pattern", f"not a regular expression: {error}"))
    if shape.choices is not None and kind in ("list", "path"):
        faults.append(("choices", f"`choices` is not for {kind}"))
    elif any(not _is_choice(one, kind) for one in shape.choices or ()):
        faults.append(("choices", f"every choice must be {_EXPECTED[kind]}"))
    for key, message in faults:
        hint = quoted_number_hint(shape.default) if key in ("min", "max") and shape.type is None else None
        hint = None if hint is None else f"{hint} of the default"
        problems.add("BF023", f"parameter `{loc[1]}`: {message}", document, (*loc, key), hint=hint)
    return not faults


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _is_choice(value: object, kind: Type) -> bool:
    return _is_number(value) if kind == "float" else _TYPES.get(type(value)) == kind


def _typed(value: object, kind: Type, folder: Path) -> ParameterValue:
    """A value that already has a type, as the declared one; nothing is converted but a whole number to a float."""
    if kind == "bool" and isinstance(value, bool):
        return value
    if kind in ("int", "float") and not isinstance(value, bool):
        if isinstance(value, float) and kind == "float":
            return float(value)
        if hasattr(value, "__index__"):
            number = operator.index(value)
            return float(number) if kind == "float" and abs(number) <= _INT_MAX else number
    if kind == "str" and isinstance(value, str):
        return value
    if kind == "path" and isinstance(value, (str, os.PathLike)) and not isinstance(path := os.fspath(value), bytes):
        return paths.absolute(path, folder)
    if kind == "list" and isinstance(value, (list, tuple)):
        if all(isinstance(one, (bool, int, float, str)) for one in value):
            return list(value)
        raise _ValueFault(f"expected {_EXPECTED[kind]}")
    hint = quoted_number_hint(value) if kind in ("int", "float") else None
    if kind in ("str", "path") and isinstance(value, (bool, int, float)):
        hint = "put it in quotes"
    raise _ValueFault(f"expected {_EXPECTED[kind]}, got {quoted(value)}", hint)


def _parsed(text: str, kind: Type, folder: Path) -> ParameterValue:
    """The text of ``--set`` or of the environment, as the declared type."""
    if kind == "bool" and text.lower() in ("true", "false"):
        return text.lower() == "true"
    if kind == "int" and _INT.fullmatch(text):
        return int(text)
    if kind == "float" and _FLOAT.fullmatch(text):
        return float(text)
    if kind == "str":
        return text
    if kind == "path":
        return paths.absolute(os.path.expanduser(text), folder)  # noqa: PTH111 - a trailing slash must stay
    if kind == "list":
        value = parse_toml_value(text if text.startswith("[") else f"[{text}]")
        if isinstance(value, list):
            return _typed(value, kind, folder)
        if not text.startswith("["):
            return [*text.split(",")]
    raise _ValueFault(f"expected {_EXPECTED[kind]}, got {quoted(text)}")


def _checked(value: ParameterValue, shape: schema.ParameterShape, kind: Type) -> ParameterValue:
    """The value, if it is within limits, choices and pattern."""
    numbers = value if isinstance(value, list) else [value]
    for one in numbers:
        if isinstance(one, float) and not math.isfinite(one):
            raise _ValueFault(f"expected a finite number, got {quoted(one)}")
        if isinstance(one, int) and abs(one) > _INT_MAX:
            raise _ValueFault("a whole number of more than 64 bits")
        if isinstance(one, str) and "\0" in one:
            raise _ValueFault("a NUL character")
    if isinstance(value, (int, float)):
        if shape.min is not None and value < shape.min:
            raise _ValueFault(f"expected at least {quoted(shape.min)}, got {quoted(value)}")
        if shape.max is not None and value > shape.max:
            raise _ValueFault(f"expected at most {quoted(shape.max)}, got {quoted(value)}")
    if shape.choices is not None and value not in shape.choices:
        hint = did_you_mean(value, [one for one in shape.choices if isinstance(one, str)]) if kind == "str" else None  # type: ignore[arg-type]
        raise _ValueFault(f"expected one of {', '.join(map(quoted, shape.choices))}, got {quoted(value)}", hint)
    if shape.pattern is not None and isinstance(value, str) and re.fullmatch(shape.pattern, value) is None:
        raise _ValueFault(f"{quoted(value)} does not match the pattern {shape.pattern}")
    return value


def gather_given(
    names: Mapping[str, Any],
    params_file: Path | None,
    environ: Mapping[str, str],
    params: Mapping[str, object],
    set_texts: Mapping[str, str],
    caller_folder: Path,
    problems: Problems,
) -> dict[str, Given]:
    """The value of each parameter that was given one from outside; where several did, the last of the order wins."""
    given: dict[str, Given] = {}
    if params_file is not None:
        path = Path(paths.absolute(str(params_file), caller_folder))
        document = read_document(path, problems, origin=f"--params {params_file}")
        for name, value in document.tree.items():
            given[name] = Given(value, False, f"params {params_file}", "", path.parent, document)
    for variable, text in sorted(environ.items()):
        if variable.startswith(ENVIRONMENT_PREFIX):
            target = _name_of_variable(variable[len(ENVIRONMENT_PREFIX) :], names, environ)
            if target is not None:
                given[target] = Given(text, True, f"environment {variable}", f"{variable}={text}", caller_folder)
    for name, value in params.items():
        given[name] = Given(value, False, "python", f"params={{{name!r}: {quoted(value)}}}", caller_folder)
    for name, text in set_texts.items():
        given[name] = Given(text, True, "--set", f"--set {name}={text}", caller_folder)
    for name, one in given.items():
        hide(one.value if names_secret(name) else secrets_in(str(one.value)))
    return given


def _name_of_variable(suffix: str, names: Mapping[str, Any], environ: Mapping[str, str]) -> str | None:
    """The parameter that a variable sets: of that very name, else of that name in capitals; None if another wins."""
    if suffix in names:
        return suffix
    for name in names:
        if name.upper() == suffix:
            return None if ENVIRONMENT_PREFIX + name in environ else name
    return suffix
