"""``receipt.json``: a ``Receipt`` on disk.

Invariant: a receipt that does not balance is neither written nor read.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from batchflow.errors import InternalError, JournalError
from batchflow.model import Receipt
from batchflow.output.replace import write_text
from batchflow.private import open_regular

_TYPES: Mapping[str, tuple[type, ...]] = {
    "str": (str,),
    "str | None": (str, type(None)),
    "int": (int,),
    "float": (float, int),
    "Mapping[str, Any]": (dict,),
}
"""The JSON types of a field, by its annotation in ``Receipt``."""


def write_receipt(path: Path, receipt: Receipt) -> None:
    """Write it atomically.

    Raises ``InternalError`` if it does not balance, ``ResourceError`` if the file cannot be written.
    """
    if not receipt.balances():
        raise InternalError(
            f"the receipt of step {receipt.step!r} does not balance: items_in={receipt.items_in}, "
            f"succeeded={receipt.succeeded}, failed={receipt.failed}"
        )
    write_text(path, json.dumps(receipt.as_dict(), indent=2, default=str) + "\n")


def read_receipt(path: Path) -> Receipt:
    """Raises ``FileNotFoundError`` if there is none, ``JournalError`` if it is damaged or does not balance."""
    try:
        with open_regular(path) as file:
            values = json.loads(file.read())
    except (ValueError, RecursionError) as error:
        raise _damaged(path, f"not JSON: {error}") from error
    if not isinstance(values, dict):
        raise _damaged(path, "expected an object")
    receipt = Receipt(**{field.name: _checked(path, values, field.name, str(field.type)) for field in fields(Receipt)})
    if not receipt.balances():
        raise _damaged(
            path, f"items_in={receipt.items_in}, succeeded={receipt.succeeded}, failed={receipt.failed} do not balance"
        )
    return receipt


def _checked(path: Path, values: dict[str, Any], name: str, annotation: str) -> Any:  # noqa: ANN401
    value = values.get(name)
    if name not in values or isinstance(value, bool) or not isinstance(value, _TYPES[annotation]):
        got = type(value).__name__ if name in values else "nothing"
        raise _damaged(path, f"{name}: expected {annotation}, got {got}")
    return value


def _damaged(path: Path, what: str) -> JournalError:
    return JournalError(f"{path} is not a receipt of ours: {what}", hint="run the step again")
