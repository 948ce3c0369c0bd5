"""Durations, sizes, thresholds and amounts as people write them.  Pure; a wrong one raises ``QuantityError``."""

from __future__ import annotations

import math
import re
from typing import NamedTuple

from batchflow.workflow.diagnostics import quoted
from batchflow.workflow.values import MiniBatchUnit, Threshold

SECONDS = {"ms": 0.001, "s": 1.0, "sec": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
BYTES = {
    "b": 1,
    **{
        unit: 1024**power
        for power, units in enumerate(("kb kib", "mb mib", "gb gib", "tb tib"), 1)
        for unit in units.split()
    },
}
DURATION_MAX_S = 10 * 366 * 86400.0
SIZE_MAX = 1 << 50
COUNT_MAX = 1_000_000_000

_NUMBER_AND_UNIT = re.compile(r"([0-9](?:_?[0-9]){0,17}(?:\.[0-9]{1,9})?) *([A-Za-z]+)", re.ASCII)
_PERCENT = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,9})?) *%", re.ASCII)
_ROWS = re.compile(r"([0-9](?:_?[0-9]){0,17}) *rows?", re.ASCII | re.IGNORECASE)
_NUMBER = re.compile(r"[+-]?[0-9][0-9_]*(?:\.[0-9]+)?", re.ASCII)


class Amount(NamedTuple):
    """How much one mini-batch holds; without a unit it is files, or the bytes of a table."""

    size: int
    unit: MiniBatchUnit | None


class QuantityError(ValueError):
    """``message`` says what was expected and what came; ``code`` is BF010 for a type, BF011 for a range."""

    def __init__(self, code: str, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.hint = hint


def quoted_number_hint(value: object) -> str | None:
    """``remove the quotes`` when the value is a number in quotes."""
    return "remove the quotes" if isinstance(value, str) and _NUMBER.fullmatch(value) else None


def parse_duration(value: object) -> float:
    """Seconds, more than 0: from a number of seconds or ``"2 min"`` (ms, s, min, h, d)."""
    seconds = _number(value)
    if seconds is None:
        seconds = _with_unit(value, SECONDS)
    if seconds is None:
        message = f'expected seconds or a duration such as "2 min", got {quoted(value)}'
        raise QuantityError("BF010", message, quoted_number_hint(value) or "units: " + ", ".join(SECONDS))
    if not 0 < seconds <= DURATION_MAX_S:
        raise QuantityError("BF011", f"expected a duration of more than 0 and at most ten years, got {quoted(value)}")
    return seconds


def parse_size(value: object) -> int:
    """Bytes, at least 1: from a whole number or ``"256 MiB"``; KB, MB … are 1024-based as well."""
    size: float | None = value if isinstance(value, int) and not isinstance(value, bool) else _with_unit(value, BYTES)
    if size is None:
        message = f'expected bytes or a size such as "256 MiB", got {quoted(value)}'
        raise QuantityError("BF010", message, quoted_number_hint(value) or "units: B, KiB, MiB, GiB, TiB")
    if not 1 <= size <= SIZE_MAX:
        raise QuantityError("BF011", f"expected a size from 1 byte to 1024 TiB, got {quoted(value)}")
    return int(size)


def parse_threshold(value: object) -> Threshold:
    """A count (-1: any number) or ``"1%"``."""
    if isinstance(value, int) and not isinstance(value, bool):
        if not -1 <= value < 1 << 62:
            raise QuantityError("BF011", f"expected -1 (any number) or a count, got {quoted(value)}")
        return Threshold(count=value)
    match = _PERCENT.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        message = f'expected a count or a percentage such as "1%", got {quoted(value)}'
        raise QuantityError("BF010", message, quoted_number_hint(value))
    percent = float(match.group(1))
    if percent > 100:
        raise QuantityError("BF011", f"expected at most 100%, got {quoted(value)}")
    return Threshold(percent=percent)


def parse_amount(value: object) -> Amount:
    """A whole number, a size such as ``"1 MiB"``, or ``"10_000 rows"``."""
    if isinstance(value, int) and not isinstance(value, bool):
        if not 1 <= value <= COUNT_MAX:
            limit = "at least 1" if value < 1 else f"at most {COUNT_MAX}"
            raise QuantityError("BF011", f"expected {limit}, got {quoted(value)}")
        return Amount(value, None)
    rows = _ROWS.fullmatch(value) if isinstance(value, str) else None
    if rows is not None:
        count = int(rows.group(1))
        if not 1 <= count <= COUNT_MAX:
            raise QuantityError("BF011", f"expected from 1 to {COUNT_MAX} rows, got {quoted(value)}")
        return Amount(count, "rows")
    if not isinstance(value, str) or _with_unit(value, BYTES) is None:
        message = f'expected a size such as "1 MiB", rows such as "10_000 rows" or a whole number, got {quoted(value)}'
        raise QuantityError("BF010", message, quoted_number_hint(value))
    return Amount(parse_size(value), "bytes")


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    # A whole number can be too large for a float; NaN compares false with every limit.
    return math.inf if isinstance(value, int) and abs(value) > 1 << 62 else float(value)


def _with_unit(value: object, units: dict[str, float] | dict[str, int]) -> float | None:
    match = _NUMBER_AND_UNIT.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        return None
    factor = units.get(match.group(2).lower())
    return None if factor is None else float(match.group(1).replace("_", "")) * factor
