"""Is a table right beyond doubt?  Answers what nearly every workflow file asks, without pydantic.

Invariant: what is accepted here the models of ``schema`` accept too, with the same values.  The reverse does not hold:
where a value is wrong, or of a kind that a TOML file cannot hold, the models are asked.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from types import SimpleNamespace
from typing import Any

from batchflow.workflow import quantities
from batchflow.workflow.rules import REQUIRED, Key, Rule, Shape


class DoubtError(Exception):
    """The rules do not accept a value; no more is known."""


class Values(SimpleNamespace):
    """The values of a table by attribute, as a model has them."""

    model_fields_set: set[str]
    """Those that the file itself has."""


def accept(table: object, keys: Mapping[str, Key]) -> Values:
    """The values of a table with those that it leaves out; raises ``DoubtError``."""
    if type(table) is not dict or not table.keys() <= keys.keys():
        raise DoubtError
    values, present = {}, set()
    for name, (rule, default, renamed) in keys.items():
        attribute = renamed or name
        if name in table:
            values[attribute] = _take(rule, table[name])
            present.add(attribute)
        elif default is REQUIRED:
            raise DoubtError
        else:
            values[attribute] = None if default is None else _take(rule, default)
    return Values(model_fields_set=present, **values)


def _take(rule: Rule, value: object) -> Any:  # noqa: ANN401
    kind, *needs = rule
    return _KINDS[kind](value, *needs)


def _any(value: object) -> object:
    return value


def _text(value: object, shortest: int | None, longest: int | None, pattern: str | None) -> str:
    # Beyond ASCII there are texts that are none in UTF-8, and two libraries' notions of a letter.
    if type(value) is not str or not (value.isascii() or (pattern is None and _is_unicode(value))):
        raise DoubtError
    if not (shortest or 0) <= len(value) <= (math.inf if longest is None else longest):
        raise DoubtError
    if pattern is not None and re.fullmatch(pattern[1:-1], value) is None:
        raise DoubtError
    return value


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _flag(value: object) -> bool:
    if type(value) is not bool:
        raise DoubtError
    return value


def _whole(value: object, least: int, most: int | None) -> int:
    if type(value) is not int or not least <= value <= (math.inf if most is None else most):
        raise DoubtError
    return value


def _number(value: object, least: float, most: float) -> float:
    if type(value) not in (int, float) or not least <= value <= most:  # type: ignore[operator]
        raise DoubtError
    return float(value)  # type: ignore[arg-type]


def _choice(value: object, allowed: Iterable[object]) -> object:
    for one in allowed:
        if type(value) is type(one) and value == one:
            return one
    raise DoubtError


def _lower(value: object, rule: Rule) -> object:
    return _take(rule, value.lower() if isinstance(value, str) else value)


def _list(value: object, rule: Rule, fewest: int | None) -> list[Any]:
    if type(value) is not list or len(value) < (fewest or 0):
        raise DoubtError
    return [_take(rule, one) for one in value]


def _table(value: object, names: Rule, rule: Rule) -> dict[str, Any]:
    if type(value) is not dict:
        raise DoubtError
    return {_take(names, name): _take(rule, one) for name, one in value.items()}


def _shape(value: object, shape: Shape[Any]) -> Values:
    return accept(value, shape.keys)


def _quantity(parse: Callable[[object], Any]) -> Callable[[object], Any]:
    def take(value: object) -> object:
        try:
            return parse(value)
        except quantities.QuantityError:
            raise DoubtError from None

    return take


_KINDS: Mapping[str, Callable[..., Any]] = {
    "any": _any,
    "text": _text,
    "flag": _flag,
    "whole": _whole,
    "number": _number,
    "choice": _choice,
    "lower": _lower,
    "list": _list,
    "table": _table,
    "shape": _shape,
    "duration": _quantity(quantities.parse_duration),
    "size": _quantity(quantities.parse_size),
    "threshold": _quantity(quantities.parse_threshold),
    "amount": _quantity(quantities.parse_amount),
}
