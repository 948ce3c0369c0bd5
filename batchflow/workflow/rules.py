"""The models of ``schema`` once more, as data: what a table that is right looks like.

Building the models takes longer than all the rest of reading a workflow.  So a table is held against these rules first,
and only where they do not accept it the models are asked, which alone say what is wrong.  A test derives the rules from
the models and compares.

A rule is its kind and what that kind needs; see ``quick`` for each of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, Generic, NamedTuple, TypeAlias, TypeVar

from batchflow.workflow.names import CALL_PATTERN, NAME_PATTERN, SHA256_PATTERN, VARIABLE_PATTERN

if TYPE_CHECKING:
    from batchflow.workflow import schema

Rule: TypeAlias = "tuple[Any, ...]"
REQUIRED: Final = ("required",)
"""In the place of a default."""


class Key(NamedTuple):
    """A key of a table.  ``default`` is the value where it is left out, as the file would have it."""

    rule: Rule
    default: object = REQUIRED
    attribute: str | None = None
    """Where the value goes, if that is not the key."""


ModelT = TypeVar("ModelT", bound="schema.Shape")


class Shape(Generic[ModelT]):
    """Stands for the model of ``schema`` that has this name, which need not be imported."""

    def __init__(self, model: str, keys: Mapping[str, Key]) -> None:
        self.model = model
        self.keys = keys


def optional(rule: Rule) -> Key:
    return Key(rule, None)


ANY: Rule = ("any",)
TEXT: Rule = ("text", None, None, None)  # shortest, longest, pattern
FILLED: Rule = ("text", 1, None, None)
NAME: Rule = ("text", None, None, NAME_PATTERN)
FLAG: Rule = ("flag",)
DURATION: Rule = ("duration",)
SIZE: Rule = ("size",)
THRESHOLD: Rule = ("threshold",)
AMOUNT: Rule = ("amount",)
CHARACTER: Rule = ("text", 1, 1, None)
CHARACTER_OR_NONE: Rule = ("text", None, 1, None)
TEXTS: Rule = ("list", TEXT, None)  # elements, fewest
COLUMNS: Rule = ("list", FILLED, 1)

PARAMETER: Shape[schema.ParameterShape] = Shape(
    "ParameterShape",
    {
        "type": optional(("choice", ("bool", "int", "float", "str", "path", "list"))),
        "default": optional(ANY),
        "min": optional(ANY),
        "max": optional(ANY),
        "choices": optional(("list", ANY, 1)),
        "pattern": optional(TEXT),
        "help": Key(TEXT, ""),
    },
)
DATASET: Shape[schema.DatasetShape] = Shape(
    "DatasetShape",
    {
        "files": optional(ANY),
        "table": optional(ANY),
        "format": optional(("choice", ("csv", "jsonl", "parquet", "arrow"))),
        "delimiter": optional(CHARACTER),
        "quote": optional(CHARACTER_OR_NONE),
        "escape": optional(CHARACTER_OR_NONE),
        "header": Key(FLAG, True),
        "encoding": optional(FILLED),
        "null_values": optional(TEXTS),
        "columns": optional(COLUMNS),
        "schema": Key(("table", FILLED, FILLED), None, "types"),
        "sample_rows": optional(("whole", 1, 1_000_000_000)),
        "field_size_max": optional(SIZE),
        "partition_format": optional(FILLED),
    },
)
MODEL: Shape[schema.ModelShape] = Shape(
    "ModelShape",
    {
        "path": Key(FILLED),
        "sha256": optional(("text", None, None, SHA256_PATTERN)),
        "version": optional(TEXT),
        "tags": Key(("table", TEXT, TEXT), {}),
    },
)
PARALLEL: Shape[schema.ParallelShape] = Shape(
    "ParallelShape",
    {
        "entry_script": Key(FILLED),
        "source_directory": optional(FILLED),
        "over": optional(ANY),
        "mini_batch_size": optional(AMOUNT),
        "partition_keys": optional(COLUMNS),
        "as": Key(("choice", ("pandas", "arrow", "polars")), "pandas", "frame"),
        "append_row_to": optional(TEXT),
        "append_row_file_name": optional(TEXT),
        "output_action": Key(("lower", ("choice", ("append_row", "summary_only"))), "append_row"),
        "output_format": optional(("choice", ("text", "csv", "jsonl", "parquet", "arrow"))),
        "header": Key(FLAG, True),
        "delimiter": optional(CHARACTER),
        "newline": Key(("choice", ("error", "keep")), "error"),
        "order": Key(("choice", ("input", "completion")), "input"),
        "items": Key(("choice", ("at_least", "exact", "any")), "at_least"),
        "error_threshold": Key(THRESHOLD, 0),
        "mini_batch_error_threshold": Key(THRESHOLD, -1),
        "allowed_failed_percent": Key(("number", 0, 100), 100.0),
        "run_invocation_timeout": Key(DURATION, 60.0),
        "init_timeout": Key(DURATION, 600.0),
        "progress_update_timeout": optional(DURATION),
        "run_max_try": Key(("whole", 1, 1000), 3),
        "isolate_failures": Key(FLAG, True),
        "workers": optional(("whole", 1, 4096)),
        "nodes": Key(("whole", 1, None), 1),
        "side_inputs": optional(TEXTS),
        "arguments": Key(TEXTS, []),
        "environment_variables": Key(("table", ("text", None, None, VARIABLE_PATTERN), TEXT), {}),
        "logging_level": Key(("choice", ("WARNING", "INFO", "DEBUG")), "INFO"),
        "max_items_per_worker": optional(("whole", 1, None)),
        "worker_memory": optional(SIZE),
        "allow_reuse": Key(FLAG, True),
        "durability": Key(("choice", ("full", "process")), "full"),
        "max_result_size": Key(SIZE, 1 << 28),
        "gpus_per_worker": Key(("whole", 0, 64), 0),
        "failed_to": optional(TEXT),
        "receipt_to": optional(TEXT),
    },
)
STEP: Shape[schema.StepShape] = Shape(
    "StepShape",
    {
        "help": Key(TEXT, ""),
        "run": optional(ANY),
        "call": optional(("text", None, None, CALL_PATTERN)),
        "inputs": Key(("table", NAME, FILLED), {}),
        "outputs": Key(("table", NAME, FILLED), {}),
        "after": Key(TEXTS, []),
        "args": Key(("table", TEXT, ANY), {}),
        "parallel": optional(("shape", PARALLEL)),
    },
)
HEAD: Shape[schema.HeadShape] = Shape(
    "HeadShape",
    {
        "schema": Key(("choice", (1,)), 1, "format"),
        "name": optional(NAME),
        "default": optional(("list", FILLED, 1)),
    },
)
