"""What is read from a database of ours is believed only if it has the shape in which we write it.

A checksum tells what was damaged; the shape also tells what was made up.  Pure.
"""

from __future__ import annotations

import math
import types
import typing
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, TypeVar

from batchflow.model import Receipt

Value = TypeVar("Value")

_NUMBER_MAX = 2**63
_STATES: Mapping[str, Mapping[str, type[Any]]] = {
    "missing": {},
    "file": {"size": int, "mtime_ns": int},
    "files": {"count": int, "digest": str},
    "folder": {"count": int, "digest": str},
}
"""The kinds of what is found under a path, and what is known of each."""


class ShapeError(ValueError):
    """A value has not the shape that was asked for; the message names the place."""


def revived(kind: type[Value], values: object) -> Value:
    """The frozen value of type ``kind`` whose JSON form is ``values``; raises ``ShapeError``."""
    if not isinstance(values, Mapping):
        raise ShapeError(f"expected an object for {kind.__name__}, got {type(values).__name__}")
    hints = typing.get_type_hints(kind)
    unknown = values.keys() - hints.keys()
    if unknown:
        raise ShapeError(f"{kind.__name__} has no {min(unknown)!r}")
    required = {one.name for one in fields(kind) if one.default is MISSING and one.default_factory is MISSING}  # type: ignore[arg-type]
    if not required <= values.keys():
        raise ShapeError(f"{kind.__name__} lacks {min(required - values.keys())!r}")
    return kind(**{name: _fitted(value, hints[name], f"{kind.__name__}.{name}") for name, value in values.items()})


def check_receipt(values: object) -> None:
    """Raise ``ShapeError`` unless it is the JSON form of a receipt that balances, or None."""
    if values is not None and not revived(Receipt, values).balances():
        raise ShapeError("a receipt does not balance")


def check_signature(values: Mapping[str, Any]) -> None:
    """Raise ``ShapeError`` unless these are the parts of what ``runner.signature`` makes."""
    for part in ("settings", "params", "inputs", "code", "upstream"):
        if not isinstance(values.get(part), Mapping):
            raise ShapeError(f"a signature lacks {part!r}")
    check_states(values["inputs"])
    for name, digest in values["code"].items():
        _fitted(digest, str | None, f"code of {name}")
    for name, run_id in values["upstream"].items():
        _fitted(run_id, str, f"upstream {name}")


def check_digest(values: Mapping[str, Any]) -> None:
    """Raise ``ShapeError`` unless this is the digest of a code file, and the modules that it imports."""
    _fitted(values.get("digest"), str, "digest")
    imports = values.get("imports")
    pairs = isinstance(imports, list) and all(isinstance(one, list) and len(one) == 2 for one in imports)
    if not pairs or not all(_is_plain(level, int) and 0 <= level <= 100 for level, _ in imports or ()):
        raise ShapeError("imports of a code file are none")
    for _, dotted in imports or ():
        _fitted(dotted, str, "import")


def check_states(values: Mapping[str, Any]) -> None:
    """Raise ``ShapeError`` unless these are names, and what was found under the path of each."""
    for name, state in values.items():
        known = _STATES.get(str(state.get("kind"))) if isinstance(state, Mapping) else None
        if known is None:
            raise ShapeError(f"the state of {name} is of no kind that we write")
        for key, kind in known.items():
            _fitted(state.get(key), kind, f"{key} of {name}")
        _fitted(state.get("content"), str | None, f"content of {name}")


def _fitted(value: Any, hint: Any, place: str) -> Any:  # noqa: ANN401
    """``value``, made into what the annotation asks for; JSON has no tuples and no types of ours."""
    origin = typing.get_origin(hint)
    if hint is Any:
        return value
    if origin in (types.UnionType, typing.Union):
        if value is None and type(None) in typing.get_args(hint):
            return None
        (inner,) = [one for one in typing.get_args(hint) if one is not type(None)]
        return _fitted(value, inner, place)
    if origin is typing.Literal:
        is_right = value in typing.get_args(hint)
    elif origin is not None:  # a mapping, the keys of JSON are text
        is_right = isinstance(value, dict)
    elif is_dataclass(hint):
        return revived(typing.cast("type[Any]", hint), value)
    elif issubclass(hint, tuple):
        return _tuple(value, hint, place)
    else:
        is_right = _is_plain(value, hint)
    if not is_right:
        raise ShapeError(f"{place}: a value of type {type(value).__name__} is not what belongs there")
    return value


def _tuple(value: Any, kind: type[Any], place: str) -> Any:  # noqa: ANN401
    hints = list(typing.get_type_hints(kind).values())
    if not isinstance(value, list) or len(value) != len(hints):
        raise ShapeError(f"{place}: expected {len(hints)} values")
    return kind(*(_fitted(one, hint, place) for one, hint in zip(value, hints, strict=True)))


def _is_plain(value: object, kind: type[Any]) -> bool:
    """Whether a number is one that we write, text is text; true is no number."""
    if kind is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool) and abs(value) < _NUMBER_MAX
    return isinstance(value, kind)
