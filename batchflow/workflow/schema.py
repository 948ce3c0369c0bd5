"""The shape of a workflow file: pydantic models, strict, and the JSON Schema that editors complete from.

The models see a tree whose references are already filled in.  They know nothing of paths, names or other steps, and
convert durations, sizes and thresholds to the values of ``quantities``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    PlainValidator,
    StringConstraints,
    WithJsonSchema,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError

from batchflow.workflow import quantities
from batchflow.workflow.names import CALL_PATTERN, NAME_PATTERN, PARAMETER_PATTERN, SHA256_PATTERN, VARIABLE_PATTERN
from batchflow.workflow.values import Threshold

REFERENCE_SCHEMA = {"type": "string", "pattern": r"^\$\{[^{}]+\}$", "description": "a reference such as ${params.x}"}


class Referable:
    """In the JSON Schema the value may also be a string that is only a reference."""

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"anyOf": [handler(schema), REFERENCE_SCHEMA]}


def _quantity(parse: Callable[[object], Any]) -> PlainValidator:
    def validate(value: object) -> object:
        try:
            return parse(value)
        except quantities.QuantityError as error:
            raise PydanticCustomError(error.code, "{message}", {"message": error.message, "hint": error.hint}) from None

    return PlainValidator(validate)


def _lower(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


Duration: TypeAlias = Annotated[
    float,
    _quantity(quantities.parse_duration),
    WithJsonSchema(
        {"anyOf": [{"type": "number", "exclusiveMinimum": 0}, {"type": "string"}], "examples": [60, "2 min"]}
    ),
]
Size: TypeAlias = Annotated[
    int,
    _quantity(quantities.parse_size),
    WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 1}, {"type": "string"}], "examples": ["256 MiB"]}),
]
Count: TypeAlias = Annotated[
    Threshold,
    _quantity(quantities.parse_threshold),
    WithJsonSchema({"anyOf": [{"type": "integer", "minimum": -1}, {"type": "string"}], "examples": [0, -1, "1%"]}),
]
Amount: TypeAlias = Annotated[
    quantities.Amount,
    _quantity(quantities.parse_amount),
    WithJsonSchema(
        {
            "anyOf": [{"type": "integer", "minimum": 1, "maximum": quantities.COUNT_MAX}, {"type": "string"}],
            "examples": [10, "1 MiB", "10_000 rows"],
        }
    ),
]
Sources: TypeAlias = Annotated[
    Any,
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "minLength": 1},
                {"type": "array", "minItems": 1, "items": {"type": "string", "minLength": 1}},
            ]
        }
    ),
]
Flag: TypeAlias = Annotated[bool, Referable()]
Name: TypeAlias = Annotated[str, StringConstraints(pattern=NAME_PATTERN)]
ParameterName: TypeAlias = Annotated[str, StringConstraints(pattern=PARAMETER_PATTERN)]
VariableName: TypeAlias = Annotated[str, StringConstraints(pattern=VARIABLE_PATTERN)]
Text: TypeAlias = Annotated[str, StringConstraints(min_length=1)]
Character: TypeAlias = Annotated[str, StringConstraints(min_length=1, max_length=1)]
CharacterOrNone: TypeAlias = Annotated[str, StringConstraints(max_length=1)]
Columns: TypeAlias = Annotated[list[Text], Field(min_length=1)]
Scalar: TypeAlias = Annotated[
    Any, WithJsonSchema({"anyOf": [{"type": kind} for kind in ("boolean", "integer", "number", "string")]})
]


class Shape(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, protected_namespaces=())


class ParameterShape(Shape):
    """A parameter: typed, documented, overridable with --set."""

    type: Literal["bool", "int", "float", "str", "path", "list"] | None = Field(
        None, description="Type of the value; left out, it is that of the default."
    )
    default: Annotated[
        Any,
        WithJsonSchema({"anyOf": [{"type": kind} for kind in ("boolean", "integer", "number", "string", "array")]}),
    ] = Field(None, description="Value when none is given; without it the parameter is required.")
    min: Annotated[Any, WithJsonSchema({"type": "number"})] = Field(None, description="Smallest allowed number.")
    max: Annotated[Any, WithJsonSchema({"type": "number"})] = Field(None, description="Largest allowed number.")
    choices: list[Scalar] | None = Field(None, min_length=1, description="The only allowed values.")
    pattern: str | None = Field(None, description="Regular expression that the whole text must match.")
    help: str = Field("", description="One line for `batchflow list`.")


class DatasetShape(Shape):
    """Named data, found when the step runs: files, or tables whose items are the records in them."""

    model_config = ConfigDict(json_schema_extra={"oneOf": [{"required": ["files"]}, {"required": ["table"]}]})

    files: Sources = Field(
        None,
        description="A pattern (`**` for any depth), a folder with `/` at the end, the output of a step, or a list of "
        "these: the items are files.",
    )
    table: Sources = Field(
        None,
        description="The same, of csv, jsonl, parquet or arrow files: the items are the records in them; run() gets "
        "data frames.",
    )
    format: Annotated[Literal["csv", "jsonl", "parquet", "arrow"], Referable()] | None = Field(
        None,
        description="Of a table; default: by the extension, .csv .tsv .txt .jsonl .ndjson .parquet .arrow .feather, "
        "text also with .gz or .zst behind it.",
    )
    delimiter: Character | None = Field(
        None, description="Between the fields of csv; default: a comma, a tab in .tsv files."
    )
    quote: CharacterOrNone | None = Field(None, description='Around fields of csv; default: `"`; empty: none.')
    escape: CharacterOrNone | None = Field(
        None, description="Takes the meaning off the next character in csv; default: none, quotes are doubled."
    )
    header: Flag = Field(
        True, description="Whether the first record of each csv file names the columns; without it they are 0, 1, …"
    )
    encoding: Text | None = Field(None, description="Of csv and jsonl; default: utf-8.")
    null_values: list[str] | None = Field(
        None,
        description="What means a missing value in csv where it is not quoted; default: empty, NA, NaN, null, …",
    )
    columns: Columns | None = Field(None, description="The columns to read, in this order; default: all.")
    types: dict[Text, Text] | None = Field(
        None,
        alias="schema",
        description="Column → type (int64, double, bool, string, date32[day], timestamp[us], …; `?` behind it: values "
        "may be missing); the others are inferred from the first records of every file.",
    )
    sample_rows: Annotated[int, Field(ge=1, le=1_000_000_000), Referable()] | None = Field(
        None, description="Records of each file that types are inferred from; default: 10,000."
    )
    field_size_max: Size | None = Field(
        None,
        description='Largest field of csv and line of jsonl; default: "64 MiB"; a quote that is never closed is '
        "noticed by it.",
    )
    partition_format: Text | None = Field(
        None, description="Finds keys in the ends of the paths of files: `{user}/{season}/{genre}.wav`."
    )


class ModelShape(Shape):
    """A named model: one local file or folder."""

    path: Text = Field(description="The file or folder.")
    sha256: Annotated[str, StringConstraints(pattern=SHA256_PATTERN)] | None = Field(
        None, description="SHA-256 of the file's content, 64 hexadecimal digits."
    )
    version: str | None = Field(None, description="For the record.")
    tags: dict[str, str] = Field(default_factory=dict, description="For the record.")


class ParallelShape(Shape):
    """Makes the step a parallel step: an entry script with `init()` and `run(mini_batch)`, in a pool of workers."""

    entry_script: Text = Field(description="Python file that defines run(mini_batch) and, if needed, init().")
    source_directory: Text | None = Field(None, description="Folder of the entry script; default: the workflow's.")
    over: Sources = Field(
        None, description="The input that is split, or a list of inputs, each split on its own; default: the only one."
    )
    mini_batch_size: Amount | None = Field(
        None,
        description="What one run() call gets: a number of files (default: 10); of a table about so many bytes (1024, "
        '"1 MiB", the default) or exactly so many records ("10_000 rows"), of one file.',
    )
    partition_keys: Columns | None = Field(
        None,
        description="Mini-batches are all items with the same keys: columns of a table, or names in the "
        "`partition_format` of files.",
    )
    frame: Annotated[Literal["pandas", "arrow", "polars"], Referable()] = Field(
        "pandas",
        alias="as",
        description="What run() gets of a table: a frame of pandas or polars, or a pyarrow.Table.",
    )
    append_row_to: str | None = Field(None, description="The output that takes the rows; default: the only file.")
    append_row_file_name: str | None = Field(
        None, description="Name of the file in `append_row_to` when that is a folder; default: parallel_run_step.txt."
    )
    output_action: Annotated[Literal["append_row", "summary_only"], BeforeValidator(_lower), Referable()] = Field(
        "append_row", description="append_row: run() returns rows; summary_only: it writes its own files."
    )
    output_format: Annotated[Literal["text", "csv", "jsonl", "parquet", "arrow"], Referable()] | None = Field(
        None, description="Format of the rows; default: by the extension of the output."
    )
    header: Flag = Field(True, description="Whether csv begins with a header.")
    delimiter: Character | None = Field(
        None, description="Between the fields; default: a space for text, a comma for csv."
    )
    newline: Annotated[Literal["error", "keep"], Referable()] = Field(
        "error", description="What to do with a newline inside a text row."
    )
    order: Annotated[Literal["input", "completion"], Referable()] = Field("input", description="Order of the rows.")
    items: Annotated[Literal["at_least", "exact", "any"], Referable()] = Field(
        "at_least", description="How the number of returned rows is compared with the number of items."
    )
    error_threshold: Count = Field(
        default_factory=lambda: Threshold(count=0), description="Failed items tolerated; -1: any number; or a %."
    )
    mini_batch_error_threshold: Count = Field(
        default_factory=lambda: Threshold(count=-1), description="The same for failed mini-batches; default: -1."
    )
    allowed_failed_percent: Annotated[float, Field(ge=0, le=100, allow_inf_nan=False), Referable()] = Field(
        100.0, description="Failed items tolerated, in percent, checked once everything was tried."
    )
    run_invocation_timeout: Duration = Field(60.0, description="For one run() call; then the worker is killed.")
    init_timeout: Duration = Field(600.0, description="For init().")
    progress_update_timeout: Duration | None = Field(
        None, description="The step is aborted when nothing completes for so long."
    )
    run_max_try: Annotated[int, Field(ge=1, le=1000), Referable()] = Field(3, description="Attempts of a mini-batch.")
    isolate_failures: Flag = Field(
        True,
        description="Halve a mini-batch after its second failed attempt (after the first with run_max_try = 1) until "
        "the bad items are known, and deliver the others; false: all its items have failed after run_max_try attempts.",
    )
    workers: Annotated[int, Field(ge=1, le=4096), Referable()] | None = Field(
        None, description="Worker processes; default: as many as CPUs this process may use."
    )
    nodes: Annotated[int, Field(ge=1), Referable()] = Field(1, description="Machines.")
    side_inputs: list[str] | None = Field(None, description="Other inputs, for `arguments` as ${inputs.NAME}.")
    arguments: list[str] = Field(default_factory=list, description="sys.argv[1:] of the entry script.")
    environment_variables: dict[VariableName, str] = Field(
        default_factory=dict, description="Set in the workers before the entry script is imported."
    )
    logging_level: Annotated[Literal["WARNING", "INFO", "DEBUG"], Referable()] = Field(
        "INFO", description="Level of the log of the step."
    )
    max_items_per_worker: Annotated[int, Field(ge=1), Referable()] | None = Field(
        None, description="A worker makes room for a fresh one after so many items and the rest of its mini-batch."
    )
    worker_memory: Size | None = Field(
        None,
        description="A worker that holds more makes room for a fresh one between mini-batches; one that holds 1.5 "
        "times as much in the middle of run() is killed, and the attempt has failed.",
    )
    allow_reuse: Flag = Field(True, description="false: run the step every time.")
    durability: Annotated[Literal["full", "process"], Referable()] = Field(
        "full", description="full: nothing done is lost, whatever happens; process: a power loss may undo the tail."
    )
    max_result_size: Size = Field(256 * 1024 * 1024, description="For one mini-batch; above it the attempt has failed.")
    gpus_per_worker: Annotated[int, Field(ge=0, le=64), Referable()] = Field(0, description="GPUs for each worker.")
    failed_to: str | None = Field(None, description="The output that takes a copy of failed.jsonl.")
    receipt_to: str | None = Field(None, description="The output that takes a copy of receipt.json.")


class StepShape(Shape):
    """One step: exactly one of `run`, `call` and `parallel`."""

    model_config = ConfigDict(
        json_schema_extra={"oneOf": [{"required": [kind]} for kind in ("run", "call", "parallel")]}
    )

    help: str = Field("", description="One line for `batchflow list`.")
    run: Annotated[
        Any,
        WithJsonSchema(
            {
                "anyOf": [
                    {"type": "string", "minLength": 1},
                    {"type": "array", "minItems": 1, "items": {"type": "string"}},
                ]
            }
        ),
    ] = Field(
        None,
        description="A command: a string for the shell (bash -e -o pipefail, or sh -e where there is no bash: the "
        "first command that fails ends it), a list without one.",
    )
    call: Annotated[str, StringConstraints(pattern=CALL_PATTERN)] | None = Field(
        None, description="A Python function, `module:function`, called with (inputs, outputs, args)."
    )
    inputs: dict[Name, Text] = Field(default_factory=dict, description="What the step reads, by name.")
    outputs: dict[Name, Text] = Field(
        default_factory=dict, description="What the step writes, by name; a folder has `/` at the end."
    )
    after: list[str] = Field(default_factory=list, description="Steps that must be finished before, for side effects.")
    args: dict[str, Any] = Field(default_factory=dict, description="Values for the function of `call`.")
    parallel: ParallelShape | None = None


class HeadShape(Shape):
    """The keys of the file that are not tables."""

    format: Literal[1] = Field(1, alias="schema", description="Version of this format.")
    name: Name | None = Field(None, description="Name of the workflow; default: that of the file.")
    default: Annotated[list[Text], Field(min_length=1)] | None = Field(
        None, description="Steps or outputs that are built when no target is named."
    )


class FileShape(HeadShape):
    """A batchflow workflow."""

    model_config = ConfigDict(title="batchflow workflow")

    params: dict[ParameterName, ParameterShape] = Field(
        default_factory=dict, description="Typed values; a plain value is a parameter with this default."
    )
    datasets: dict[Name, DatasetShape] = Field(default_factory=dict, description="Named data.")
    models: dict[Name, ModelShape] = Field(default_factory=dict, description="Named models.")
    steps: dict[Name, StepShape] = Field(min_length=1, description="The steps, in any order.")


def json_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of a workflow file."""
    schema = FileShape.model_json_schema()
    ((pattern, full),) = schema["properties"]["params"]["patternProperties"].items()
    short = [{"type": kind} for kind in ("boolean", "number", "string", "array")]
    schema["properties"]["params"]["patternProperties"][pattern] = {"anyOf": [full, *short]}
    _close(schema)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def _close(schema: object) -> None:
    """Refuse keys that no pattern of a table matches, as the models do."""
    if isinstance(schema, dict):
        if "patternProperties" in schema:
            schema["additionalProperties"] = False
        for one in schema.values():
            _close(one)
    elif isinstance(schema, list):
        for one in schema:
            _close(one)
