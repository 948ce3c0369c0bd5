"""``--set key=value``: parameters, or any dotted key of the file."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from batchflow.workflow import limits
from batchflow.workflow.diagnostics import Problems, did_you_mean
from batchflow.workflow.document import Document, Tree

_SECTIONS = ("steps", "datasets", "models")
_HINT = "write NAME=VALUE for a parameter, or a key of the file such as steps.NAME.parallel.workers=8"


def apply_overrides(document: Document, overrides: Sequence[str], problems: Problems) -> Mapping[str, str]:
    """Put dotted keys into the document's tree; returns the parameters' texts, the last one of a name winning."""
    parameters: dict[str, str] = {}
    copied = False
    for override in overrides:
        key, equals, text = override.partition("=")
        parts = key.split(".")
        origin = f"--set {override}"
        if not equals or not all(parts) or len(parts) > limits.KEY_PARTS_MAX:
            problems.add("BF024", f"expected KEY=VALUE, got '{override[:80]}'", hint=_HINT, origin=origin)
        elif len(parts) == 1:
            parameters[key] = text
        elif parts[0] == "params" and len(parts) == 2:
            parameters[parts[1]] = text
        elif parts[0] not in _SECTIONS:
            message = f"no key `{key}` can be set"
            problems.add("BF020", message, hint=did_you_mean(parts[0], (*_SECTIONS, "params")) or _HINT, origin=origin)
        else:
            if not copied:
                document.tree, copied = copy.deepcopy(document.tree), True
            _put(document, tuple(parts), text, origin, problems)
    return parameters


def _put(document: Document, parts: tuple[str, ...], text: str, origin: str, problems: Problems) -> None:
    """Replace one value, adding the tables on the way to it; the step, dataset or model itself must exist."""
    section = document.tree.get(parts[0])
    names: list[str] = list(section) if isinstance(section, dict) else []
    if parts[1] not in names:
        message = f"no {parts[0][:-1]} `{parts[1]}` to set a key of"
        problems.add("BF020", message, hint=did_you_mean(parts[1], names), origin=origin)
        return
    table: Any = document.tree
    for index, part in enumerate(parts[:-1]):
        if part not in table:
            table[part] = {}
            document.overridden[parts[: index + 1]] = origin
        table = table[part]
        if not isinstance(table, dict):
            problems.add("BF024", f"`{part}` is not a table, so nothing in it can be set", origin=origin)
            return
    table[parts[-1]] = parse_value(text)
    document.overridden[parts] = origin


def parse_value(text: str) -> object:
    """The text as TOML if it is a TOML value, else the text itself."""
    value = parse_toml_value(text)
    return text if value is None else value


def parse_toml_value(text: str) -> object:
    """The TOML value that the text is; None if it is not one, or not one of reasonable size."""
    import tomli

    document = f"value = {text}\n"
    try:
        limits.scan(document)
        tree: Tree = tomli.loads(document)
    except (limits.LimitError, tomli.TOMLDecodeError, ValueError, RecursionError):
        return None
    # A newline in the text can bring further keys with it: then it is not one value.
    return tree["value"] if len(tree) == 1 else None
