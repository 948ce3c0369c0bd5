"""What a parallel step splits, and into what: ``over``, ``mini_batch_size``, ``partition_keys`` and ``as``.

The inputs that are split are of one kind, files or tables, and the other keys must go with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from batchflow.path_keys import parse_path_keys
from batchflow.workflow.diagnostics import did_you_mean, quoted
from batchflow.workflow.quantities import Amount
from batchflow.workflow.values import Input, MiniBatchUnit

if TYPE_CHECKING:
    from batchflow.tables.options import FrameKind
    from batchflow.workflow import schema

FILES_DEFAULT = Amount(10, "items")
TABLE_DEFAULT = Amount(1 << 20, "bytes")


class Report(Protocol):
    """Says that something is wrong at a key of ``parallel``, or with the table as a whole; ``index``: which element."""

    def __call__(
        self, code: str, message: str, key: str | None = None, hint: str | None = None, *, index: int | None = None
    ) -> None: ...


@dataclass(frozen=True)
class Items:
    """Fields of ``ParallelSettings``."""

    over: tuple[str, ...]
    mini_batch_size: int
    mini_batch_unit: MiniBatchUnit
    frame: FrameKind
    partition_keys: tuple[str, ...]


def read_items(shape: schema.ParallelShape, step: str, inputs: Mapping[str, Input], report: Report) -> Items | None:
    """None where it is not clear what is split; whatever else is wrong is reported, and nothing is to be done then."""
    over = _over(shape.over, step, inputs, report)
    if not over:
        return None
    split = [inputs[name] for name in over]
    other = next((one for one in split if (one.table is None) != (split[0].table is None)), None)
    if other is not None:
        message = f"the items of `{split[0].name}` are {_items(split[0])}, those of `{other.name}` are {_items(other)}"
        index = over.index(other.name)
        report("BF063", message, "over", "inputs that are split together are files or tables, all of them", index=index)
        return None
    size, unit = _mini_batch_size(shape, split[0], report)
    keys = tuple(shape.partition_keys or ())
    _check_keys(keys, split, report)
    if split[0].table is None and "frame" in shape.model_fields_set:
        report("BF016", f"`as` is for tables, and the items of `{over[0]}` are files", "as", _table_hint(split[0]))
    return Items(over, size, unit, shape.frame, keys)


def _over(over: object, step: str, inputs: Mapping[str, Input], report: Report) -> tuple[str, ...]:
    """The inputs that are split; empty if that was reported."""
    if over is None:
        return _only_input(step, inputs, report)
    names: list[Any] = over if isinstance(over, list) else [over]
    if not names:
        report("BF011", "`over`: an empty array is not allowed", "over")
    good = bool(names)
    for index, name in enumerate(names):
        at = index if isinstance(over, list) else None
        message, code, hint = "", "BF060", None
        if not isinstance(name, str):
            code, message = "BF010", f"`over`: expected the name of an input or an array of them, got {quoted(name)}"
        elif name not in inputs:
            message, hint = f"no input `{name}` to split", did_you_mean(name, inputs)
        elif name in names[:index]:
            message = f"input `{name}` would be split twice"
        if message:
            report(code, message, "over", hint, index=at)
            good = False
    return tuple(names) if good else ()


def _only_input(step: str, inputs: Mapping[str, Input], report: Report) -> tuple[str, ...]:
    names = list(inputs)
    if len(names) == 1:
        return (names[0],)
    if names:
        hint = "write over = " + " or ".join(f'"{name}"' for name in names)
        report("BF060", f"step `{step}` has {len(names)} inputs, which one is split?", hint=hint)
    else:
        report("BF060", f"step `{step}` has no input to split", hint="add inputs = { NAME = … }")
    return ()


def _mini_batch_size(shape: schema.ParallelShape, split: Input, report: Report) -> tuple[int, MiniBatchUnit]:
    amount = shape.mini_batch_size
    default = FILES_DEFAULT if split.table is None else TABLE_DEFAULT
    if amount is None:
        amount = default
    elif shape.partition_keys is not None:
        hint = "a mini-batch is all that has the same keys, however much that is"
        report("BF016", "`mini_batch_size` and `partition_keys` exclude each other", "mini_batch_size", hint)
    elif amount.unit is not None and split.table is None:
        message = f"a mini_batch_size in {amount.unit} is for tables, and the items of `{split.name}` are files"
        report("BF016", message, "mini_batch_size", _table_hint(split) or "write the number of files")
    return amount.size, amount.unit or default.unit or "items"


def _check_keys(keys: tuple[str, ...], split: list[Input], report: Report) -> None:
    """Every key is there once, and in every input that is split, as far as the file says what is in it."""
    for index, key in enumerate(keys):
        if key in keys[:index]:
            report("BF011", f"`partition_keys`: {quoted(key)} stands there twice", "partition_keys", index=index)
    for one in split if keys else ():
        if one.table is None and one.partition_format is None:
            hint = 'name them in the dataset: partition_format = "{user}/{season}.wav"'
            report("BF065", f"the files of `{one.name}` have no keys", "partition_keys", hint)
            continue
        if one.partition_format is not None:
            known: tuple[str, ...] | None = parse_path_keys(one.partition_format).names
            where = f"the partition_format of `{one.name}`"
        else:
            known = None if one.table is None else one.table.columns
            where = f"the `columns` that are read of `{one.name}`"
        for index, key in enumerate(keys):
            if known is not None and key not in known:
                message = f"the key {quoted(key)} is not in {where}"
                report("BF065", message, "partition_keys", did_you_mean(key, known), index=index)


def _items(one: Input) -> str:
    return "files" if one.table is None else "the records of a table"


def _table_hint(one: Input) -> str | None:
    """The cure where a path is meant as a table."""
    if one.kind == "dataset":
        return None
    return f'declare it: [datasets.NAME] with table = …, and {one.name} = "${{datasets.NAME}}"'
